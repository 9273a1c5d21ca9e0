import json
import shutil

import pytest
from safetensors.numpy import load_file

from xwinjax.core.errors import UserError


def tensors(folder):
  return {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}


def same_bits(a, b):
  a, b = tensors(a), tensors(b)
  return a.keys() == b.keys() and all(
    a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a
  )


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_there_and_back_gives_the_same_bits(run, tiny_folder, tmp_path, dtype):
  start = tmp_path / "start"
  run("convert", tiny_folder, start, "--dtype", dtype)
  run("convert", start, tmp_path / "ours", "--to", "orbax")
  run("convert", tmp_path / "ours", tmp_path / "back", "--dtype", dtype)
  assert same_bits(start, tmp_path / "back")
  assert (start / "config.json").read_text() == (tmp_path / "back" / "config.json").read_text()
  assert (tmp_path / "back" / "tokenizer.model").exists()


def test_precision_is_kept_unless_another_is_asked_for(run, tiny_folder, tmp_path):
  run("convert", tiny_folder, tmp_path / "half", "--dtype", "bf16")
  said = json.loads(run("convert", "--json", tmp_path / "half", tmp_path / "again"))
  assert said["dtype"] == "bf16"
  assert same_bits(tmp_path / "half", tmp_path / "again")
  assert not same_bits(tiny_folder, tmp_path / "half")  # the comparison sees a precision


def test_a_checkpoint_remembers_the_precision_it_was_made_from(run, tiny_folder, tmp_path):
  run("convert", tiny_folder, tmp_path / "half", "--dtype", "bf16")
  said = json.loads(run("convert", "--json", tmp_path / "half", tmp_path / "ours", "--to", "orbax"))
  assert said["dtype"] == "f32"
  run("convert", tmp_path / "ours", tmp_path / "back")
  assert same_bits(tmp_path / "half", tmp_path / "back")
  run("convert", tmp_path / "ours", tmp_path / "wide", "--dtype", "f32")
  assert not same_bits(tmp_path / "half", tmp_path / "wide")


def test_shards_hold_the_same(run, tiny_folder, tmp_path):
  run("convert", tiny_folder, tmp_path / "shards", "--max_shard", "10KB")
  assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
  assert same_bits(tiny_folder, tmp_path / "shards")


def test_damaged_checkpoint_is_refused(run, tiny_folder, tmp_path):
  run("convert", tiny_folder, tmp_path / "ours", "--to", "orbax")
  data = max((tmp_path / "ours").rglob("d/*"), key=lambda p: p.stat().st_size)
  whole = data.read_bytes()
  data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  with pytest.raises(UserError, match="is damaged"):
    run("convert", tmp_path / "ours", tmp_path / "back")
  assert [p.name for p in tmp_path.iterdir()] == ["ours"]


def test_sizes_of_another_model_are_refused(run, tiny_folder, tmp_path):
  run("convert", tiny_folder, tmp_path / "ours", "--to", "orbax")
  other = tmp_path / "other"
  shutil.copytree(tiny_folder, other)
  config = json.loads((other / "config.json").read_text())
  (other / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
  with pytest.raises(UserError, match="its parameters are not of the sizes in"):
    run("convert", tmp_path / "ours", tmp_path / "back", "--like", other)


def test_nothing_is_overwritten(run, tiny_folder, tmp_path):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "thesis.tex").write_text("all of it")
  with pytest.raises(UserError, match="is there already; name a new folder"):
    run("convert", tiny_folder, tmp_path / "out")


def test_one_bit_is_seen_by_the_comparison(tiny_folder, tmp_path):
  shutil.copytree(tiny_folder, tmp_path / "copy")
  path = tmp_path / "copy" / "model.safetensors"
  whole = bytearray(path.read_bytes())
  whole[-1] ^= 1
  path.write_bytes(whole)
  assert not same_bits(tiny_folder, tmp_path / "copy")


def test_what_stands_beside_the_weights_goes_along(run, tiny_folder, tmp_path):
  start = shutil.copytree(tiny_folder, tmp_path / "start")
  (start / "chat_template.jinja").write_text("{{ messages }}")
  (start / "tokenizer.json").write_text("{}")
  settings = {"bos_token_id": 1, "eos_token_id": [2, 7], "do_sample": True, "temperature": 0.6}
  (start / "generation_config.json").write_text(json.dumps(settings))
  run("convert", start, tmp_path / "ours", "--to", "orbax")
  run("convert", tmp_path / "ours", tmp_path / "back", "--like", start)
  run("convert", start, tmp_path / "half", "--dtype", "bf16")
  for folder in (tmp_path / "back", tmp_path / "half"):
    assert json.loads((folder / "generation_config.json").read_text()) == settings
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
      assert (folder / name).read_bytes() == (start / name).read_bytes()
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
