"""What a stage reads is what an earlier one wrote, or it is refused; `verify` sees all of it."""

import fcntl
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.recipes import verify
from xwinjax.stages import common, manifest


def write_model(folder):
  for name in ("config.json", "weights"):
    jsonl.write_atomic(folder / "model" / name, f"the {name}")
  seal.seal_part(jsonl.write_rows(folder / "parts" / "00000.jsonl", [{"a": 1}]))
  return {"loss": 1.5}


@pytest.fixture
def run(tmp_path):
  """Two stages: the second reads what the first wrote."""
  root = tmp_path / "run"
  manifest.run_stage(
    root / "one", "one", {"lr": 0.1}, {}, ("model",), lambda: write_model(root / "one")
  )
  read_one(root)
  return root


def read_one(root, folder=None):
  folder = folder or root / "two"
  write = lambda: jsonl.write_atomic(folder / "out.txt", "out") and {}
  return manifest.run_stage(
    folder, "two", {}, {"model": root / "one" / "model"}, ("out.txt",), write
  )


def found(root):
  return [f"{f.file.relative_to(root)}: {f.problem}" for f in verify.verify(root).findings]


def test_a_whole_run_has_no_findings(run):
  verdict = verify.verify(run)
  assert (verdict.findings, verdict.done, verdict.links) == ([], ["one", "two"], 1)
  assert verdict.unchecked == []
  assert verify.verify(run / "one").findings == []
  assert verify.verify(run / "one" / "model").findings == []


@pytest.mark.parametrize(
  "name", ["one/model/weights", "one/manifest.json", "one/settings.json", "one/parts/00000.jsonl",
           "one/parts/00000.sha256", "two/out.txt", "two/manifest.json"],
)  # fmt: skip
@pytest.mark.parametrize("change", ["flip", "delete"])
def test_every_damage_is_named(run, name, change):
  path = run / name
  if change == "delete":
    path.unlink()
  else:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
  if name.endswith("manifest.json") and change == "delete":  # a stage that is not done
    assert verify.verify(run).begun == [name.split("/")[0]]
    return
  stem = name.rpartition(".")[0] or name
  assert any(line.startswith(stem) for line in found(run)), found(run)


def test_an_added_file_is_named_and_a_foreign_one_is_told(run):
  (run / "one" / "model" / "more").write_text("")
  (run / "notes.txt").write_text("mine")
  assert found(run) == [
    "one/model/more: is not as its stage wrote it",
    "one/model: is not what two read as model",
  ]
  assert verify.verify(run).unchecked == ["notes.txt"]


def test_a_stage_made_again_with_another_result_breaks_the_chain(run):
  manifest_of_two = (run / "two" / "manifest.json").read_bytes()
  jsonl.write_atomic(run / "one" / "model" / "weights", "others")
  record = json.loads((run / "one" / "manifest.json").read_text())
  record["outputs"]["model"] = manifest.fingerprint(run / "one" / "model")
  record["files"] = manifest.in_folders(run / "one", ("model",))
  jsonl.write_json(run / "one" / "manifest.json", seal.sealed(record))
  assert (run / "two" / "manifest.json").read_bytes() == manifest_of_two
  assert found(run) == [
    "one/model: is not what two read as model",
    "one/model: two read another model than one wrote",
  ]


def test_a_run_that_was_moved_is_still_a_chain(run, tmp_path):
  moved = run.rename(tmp_path / "elsewhere")
  verdict = verify.verify(moved)
  assert (verdict.findings, verdict.links, verdict.absent) == ([], 1, [])


def test_a_stage_alone_refuses_a_model_that_its_manifest_does_not_know(run, tmp_path):
  (run / "one" / "model" / "weights").write_text("thE weights")
  with pytest.raises(
    UserError, match=r"one/model/weights: changed since the stage in .*/one wrote"
  ):
    read_one(run, tmp_path / "alone")


def test_twin_without_the_check_it_is_believed(run, tmp_path, monkeypatch):
  (run / "one" / "model" / "weights").write_text("thE weights")
  monkeypatch.setattr(manifest, "_check_input", lambda path: None)
  read_one(run, tmp_path / "alone")


def test_a_model_of_no_stage_is_read_and_cannot_be_verified(tmp_path):
  jsonl.write_atomic(tmp_path / "model" / "weights", "w")
  jsonl.write_atomic(tmp_path / "manifest.json", '{"name": "a web page"}')  # not ours
  assert manifest.writer(tmp_path / "model") is None
  with pytest.raises(UserError, match="nothing here says what it should hold"):
    verify.verify(tmp_path / "model")


def test_a_later_format_is_refused_with_its_version(run):
  path = run / "one" / "manifest.json"
  record = json.loads(path.read_text())
  record["format"] = seal.FORMAT + 1
  path.write_text(json.dumps({**record, "sha256": seal.digest(record)}))
  with pytest.raises(
    UserError, match=r"is of format 2; this version reads formats up to 1: use the"
  ):
    manifest.read(run / "one")


def test_a_kept_step_is_sealed(tmp_path):
  step = tmp_path / "steps" / "0000004"
  jsonl.write_atomic(step / "weights", "w")
  seal.seal_part(step)
  assert common.kept_steps(tmp_path) == [step]
  (step / "weights").write_text("v")
  with pytest.raises(UserError, match="0000004: changed since the training wrote it"):
    common.kept_steps(tmp_path)
  seal.beside(step).unlink()  # nor is one without its seal left out
  with pytest.raises(UserError, match="0000004: changed"):
    common.kept_steps(tmp_path)


def test_a_stage_alone_and_the_recipe_keep_each_other_out(run):
  jsonl.write_json(run / manifest.RECIPE, {"recipe": "xwin", "config": {}})
  for first, second in ((run, run / "one"), (run / "one", run)):
    with manifest.lock(first):
      entered = manifest.lock(second)
      with pytest.raises(UserError, match="another run works here"):
        entered.__enter__()
  with (run / ".lock").open() as f:  # and both are free again
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
