"""LIMA's end-of-turn token: in tokenizer, embedding, template and what is exported."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from xwinjax.checkpoint import huggingface
from xwinjax.core.errors import UserError
from xwinjax.data.records import Message
from xwinjax.data.templates import TEMPLATES
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.stages import add_tokens, common
from xwinjax.stages.add_tokens import AddTokensConfig
from xwinjax.stages.common import ModelConfig
from xwinjax.stages.stage import Context

EOT = "<|eot|>"
ASKED = (Message("user", "What colour is it?"), Message("assistant", "It is red."))


def add(model: Path, folder: Path, **changes):
  """The stage on a model; returns its figures."""
  return add_tokens.STAGE.run(Context(), folder, AddTokensConfig(**changes), {"model": model})


@pytest.fixture
def added(tiny_folder, tmp_path) -> Path:
  add(tiny_folder, tmp_path / "tokens")
  return tmp_path / "tokens" / "model"


def test_every_utterance_ends_with_the_token_and_its_row_is_the_mean(added, tiny_folder):
  model = common.open_model(ModelConfig(str(added)), None, reward=False)
  eot = model.tokenizer.special(EOT)
  _, before = huggingface.load(tiny_folder)
  assert eot == model.config.vocab_size - 1 == before["embed"]["embedding"].shape[0]
  np.testing.assert_allclose(
    model.params["embed"]["embedding"][eot], np.mean(before["embed"]["embedding"], 0), atol=1e-6
  )
  assert model.renderer.template.name == "lima"
  ids = model.renderer.encode(ASKED).ids
  assert [i for i, x in enumerate(ids) if x == eot] == [ids.index(eot), len(ids) - 1]
  assert ids[0] == model.tokenizer.bos_id
  assert model.renderer.stop_ids() == (eot, model.tokenizer.eos_id)


def test_special_tokens_that_templates_need():
  assert TEMPLATES["lima"].specials() == (EOT,)
  assert TEMPLATES["vicuna"].specials() == ()  # BOS and EOS every tokenizer has
  assert TEMPLATES["chatml"].specials() == ("<|im_start|>", "<|im_end|>")


def test_text_never_becomes_the_token(added):
  tokenizer = Tokenizer.load(added)
  assert tokenizer.special(EOT) not in tokenizer.encode(f"say {EOT} now")


def test_export_and_import_keep_it(added, tmp_path):
  model = common.open_model(ModelConfig(str(added)), None, reward=False)
  saved = common.save_model(tmp_path / "trained", model, model.params)
  for folder in (added, saved):
    assert json.loads((folder / "added_tokens.json").read_text()) == {
      EOT: model.tokenizer.special(EOT)
    }
    fields = json.loads((folder / "tokenizer_config.json").read_text())
    told = fields["added_tokens_decoder"][str(model.tokenizer.special(EOT))]
    assert told["content"] == EOT
    assert told["special"]
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"][0] == model.tokenizer.special(EOT)
  again = common.open_model(ModelConfig(str(saved)), None, reward=False)
  assert again.renderer.encode(ASKED) == model.renderer.encode(ASKED)


def test_a_vocabulary_that_divides_over_devices(tiny_folder, tmp_path):
  figures = add(tiny_folder, tmp_path / "t", multiple=64)
  assert figures["vocab_size"] % 64 == 0 < figures["vocab_size"] - figures["rows_before"]
  common.open_model(ModelConfig(str(tmp_path / "t" / "model")), None)


def test_a_model_that_has_its_tokens_is_copied(added, tmp_path):
  figures = add(added, tmp_path / "again")
  assert figures["added"] == {}
  copy = tmp_path / "again" / "model" / "model.safetensors"
  assert copy.read_bytes() == (added / "model.safetensors").read_bytes()


def test_settings_of_the_tokenizer_stay_but_for_its_template(tiny_folder, tmp_path):
  mine = shutil.copytree(tiny_folder, tmp_path / "mine")
  path = mine / "tokenizer_config.json"
  own = {"chat_template": "{{ x }}", "model_max_length": 77}
  path.write_text(json.dumps({**json.loads(path.read_text()), **own}))
  add(mine, tmp_path / "t")
  fields = json.loads((tmp_path / "t" / "model" / "tokenizer_config.json").read_text())
  assert fields["model_max_length"] == 77
  assert EOT in fields["chat_template"]
  assert (tmp_path / "t" / "model" / "chat_template.jinja").read_text() == fields["chat_template"]
  assert EOT in fields["additional_special_tokens"]


def test_twin_without_the_token_the_template_is_refused(tiny_folder):
  with pytest.raises(UserError, match=r"needs the special token '<\|eot\|>'"):
    common.open_model(ModelConfig(str(tiny_folder), template="lima"), None)
