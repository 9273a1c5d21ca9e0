"""Published folders as they come: what is read of them, and what stands in ours afterwards."""

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from xwinjax.checkpoint import huggingface
from xwinjax.core import system
from xwinjax.core.errors import UserError
from xwinjax.data.records import Message
from xwinjax.stages import add_tokens, common
from xwinjax.stages.add_tokens import AddTokensConfig
from xwinjax.stages.common import ModelConfig
from xwinjax.stages.stage import Context
from xwinjax.testing.tiny import tiny_config, tiny_params

LLAMA2 = (
  "{% for m in messages %}{% if m['role'] == 'user' %}"
  "{{ bos_token + '[INST] ' + m['content'] | trim + ' [/INST]' }}"
  "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}"
  "{% endif %}{% endfor %}"
)


@pytest.fixture
def published(tiny_folder, tmp_path):
  """published(rows, name=fields, …) -> a model of so many rows beside these JSON files."""

  def make(more_rows=0, **files):
    size = json.loads((tiny_folder / "config.json").read_text())["vocab_size"]
    config = tiny_config(vocab_size=size + more_rows)
    folder = huggingface.save(tmp_path / "published", config, tiny_params(config))
    shutil.copyfile(tiny_folder / "tokenizer.model", folder / "tokenizer.model")
    for name, fields in files.items():
      (folder / f"{name}.json").write_text(json.dumps(fields))
    return folder

  return make


@pytest.fixture
def size(tiny_folder):
  return json.loads((tiny_folder / "config.json").read_text())["vocab_size"]


def saved(folder, tmp_path, **config):
  """The folder as it is written after training."""
  model = common.open_model(ModelConfig(str(folder), **config), None)
  return common.save_model(tmp_path / "trained", model, model.params), model


def decoder(size, *names):
  return {"added_tokens_decoder": {str(size + i): {"content": n} for i, n in enumerate(names)}}


def test_tokens_of_the_config_alone_keep_their_rows(published, size, tmp_path):
  names = ("[PAD]", "<|im_start|>", "<|im_end|>")
  folder = published(3, tokenizer_config={**decoder(size, *names), "eos_token": "<|im_end|>"})
  model = common.open_model(ModelConfig(str(folder), template="chatml"), None)
  assert model.renderer.stop_ids() == (size + 2, 2)
  stage = add_tokens.STAGE.run(Context(), tmp_path / "t", AddTokensConfig(), {"model": folder})
  assert stage["added"] == {"<|eot|>": size + 3}
  rows = [load_file(f / "model.safetensors") for f in (folder, tmp_path / "t" / "model")]
  old, new = (tensors["model.embed_tokens.weight"] for tensors in rows)
  assert np.array_equal(new[: size + 3], old)
  assert len(new) == size + 4


def test_twin_undeclared_rows_are_free_and_a_line_says_so(published, size, tmp_path, capsys):
  folder = published(3)
  stage = add_tokens.STAGE.run(Context(), tmp_path / "t", AddTokensConfig(), {"model": folder})
  assert stage["added"] == {"<|eot|>": size}
  assert (
    "the last 3 embedding rows have no token; new ones take them first" in capsys.readouterr().err
  )


def test_a_pad_token_without_a_row_is_named_and_left(published, size, tmp_path, capsys):
  folder = published(added_tokens={"<pad>": size})
  trained, model = saved(folder, tmp_path)
  assert (
    f"no embedding row for '<pad>' (id {size}); nothing here needs it" in capsys.readouterr().err
  )
  assert model.config.vocab_size == size
  fields = json.loads((trained / "tokenizer_config.json").read_text())
  assert fields["pad_token"] == "<unk>"
  names = {"<|im_start|>": size, "<|im_end|>": size + 1}  # the twin: these are needed
  with pytest.raises(UserError, match=r"'<\|im_start\|>' is needed"):
    common.open_model(ModelConfig(str(published(added_tokens=names)), template="chatml"), None)


def test_a_known_chat_template_is_used_and_said(published, tmp_path, capsys):
  folder = published(tokenizer_config={"chat_template": LLAMA2})
  trained, model = saved(folder, tmp_path)
  assert model.renderer.template.name == "llama2"
  assert "its chat_template is llama2" in capsys.readouterr().err
  assert json.loads((trained / "xwinjax.json").read_text())["template"] == "llama2"


def test_an_unknown_one_is_said_not_to_be_read(published, tmp_path, capsys):
  folder = published(tokenizer_config={"chat_template": LLAMA2.replace("INST", "ASK")})
  _, model = saved(folder, tmp_path)
  assert model.renderer.template.name == "vicuna"
  said = capsys.readouterr().err
  assert "its chat_template is none of ours and not read; vicuna is used" in said
  assert "--config.model.template=model" in said


def test_a_stale_template_does_not_stay(published, tmp_path):
  folder = published(tokenizer_config={"chat_template": LLAMA2, "model_max_length": 77})
  (folder / "chat_template.jinja").write_text(LLAMA2)
  trained, _ = saved(folder, tmp_path, template="vicuna")
  fields = json.loads((trained / "tokenizer_config.json").read_text())
  for text in (fields["chat_template"], (trained / "chat_template.jinja").read_text()):
    assert "USER: " in text
    assert "[INST]" not in text
  assert (fields["model_max_length"], fields["legacy"]) == (77, True)
  again = common.open_model(ModelConfig(str(trained)), None)
  assert again.renderer.template.name == "vicuna"


def test_the_models_own_template_goes_on_with_it(published, tmp_path):
  source = LLAMA2.replace("INST", "ASK")
  folder = published(tokenizer_config={"chat_template": source, "legacy": True})
  trained, model = saved(folder, tmp_path, template="model")
  assert (trained / "chat_template.jinja").read_text() == source
  again = common.open_model(ModelConfig(str(trained)), None)
  talk = (Message("user", "Hi?"), Message("assistant", "So."))
  assert again.renderer.encode(talk) == model.renderer.encode(talk)


def test_settings_stay_and_files_are_for_all(published, tmp_path):
  settings = {"do_sample": True, "temperature": 0.6, "eos_token_id": [2, 7]}
  folder = published(generation_config=settings)
  old = os.umask(0o022)
  try:
    trained, _ = saved(folder, tmp_path)
  finally:
    os.umask(old)
  kept = json.loads((trained / "generation_config.json").read_text())
  assert (kept["do_sample"], kept["temperature"], kept["eos_token_id"]) == (True, 0.6, [2, 7])
  assert {oct(f.stat().st_mode & 0o777) for f in trained.iterdir()} == {"0o644"}


def test_only_the_first_process_writes_the_tokenizer(tiny_folder, tmp_path):
  """It hashes what it wrote while the others are still at it."""
  system.set_process(1)
  try:
    folder, _ = saved(tiny_folder, tmp_path)
  finally:
    system.set_process(0)
  assert [p.name for p in folder.iterdir()] == ["model.safetensors"]
