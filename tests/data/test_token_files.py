"""Tokens are declared in four files; all of them count."""

import json
import shutil

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import token_files
from xwinjax.data.tokenizer import Tokenizer


@pytest.fixture
def folder(tiny_folder, tmp_path):
  """folder(name=content, …) -> a folder with the tiny tokenizer.model and these JSON files."""

  def make(**files):
    shutil.copyfile(tiny_folder / "tokenizer.model", tmp_path / "tokenizer.model")
    for name, content in files.items():
      (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path

  return make


@pytest.fixture
def size(tiny_folder):
  return Tokenizer(tiny_folder / "tokenizer.model").vocab_size


def token(text, special=True):
  return {"content": text, "special": special}


def test_the_union_of_all_places(folder, size):
  made = Tokenizer.load(
    folder(
      added_tokens={"[PAD]": size},
      tokenizer_config={"added_tokens_decoder": {str(size + 1): token("<|im_start|>")}},
      tokenizer={"added_tokens": [{"id": size + 2, **token("<|im_end|>")}]},
      special_tokens_map={"additional_special_tokens": ["<|eot|>"], "pad_token": "[PAD]"},
    )
  )
  names = ["[PAD]", "<|im_start|>", "<|im_end|>", "<|eot|>"]
  assert made.added == {name: size + i for i, name in enumerate(names)}
  new = made.with_special(["<|new|>"])
  assert new.special("<|new|>") == size + 4
  assert made.pad_id(size + 4, ()) == size


@pytest.mark.parametrize("left_out", ["added_tokens", "tokenizer_config", "tokenizer"])
def test_twin_each_place_counts(left_out, folder, size):
  files = {
    "added_tokens": {"[PAD]": size},
    "tokenizer_config": {"added_tokens_decoder": {str(size + 1): token("<|im_start|>")}},
    "tokenizer": {"added_tokens": [{"id": size + 2, **token("<|im_end|>")}]},
  }
  del files[left_out]
  assert len(Tokenizer.load(folder(**files)).added) == 2


def test_eos_is_the_one_named(folder, size):
  config = {"eos_token": "<|im_end|>", "added_tokens_decoder": {str(size): token("<|im_end|>")}}
  made = Tokenizer.load(folder(tokenizer_config=config))
  assert made.special("eos") == size
  assert made.ends == (size, 2)


@pytest.mark.parametrize(
  ("files", "says"),
  [
    (
      {"added_tokens": {"<a>": 900}, "tokenizer": {"added_tokens": [{"id": 901, **token("<a>")}]}},
      "token '<a>' has the id 900 in added_tokens.json and 901 in tokenizer.json",
    ),
    ({"added_tokens": {"<a>": 900, "<b>": 900}}, "tokens '<a>' and '<b>' both have the id 900"),
    ({"tokenizer_config": {"added_tokens_decoder": {"x": token("<a>")}}}, "holds 'x'"),
    ({"tokenizer_config": []}, "tokenizer_config.json: found list, expected an object"),
    ({"tokenizer": {"added_tokens": [{"id": "7"}]}}, "expected id and content"),
  ],
)
def test_files_that_contradict_each_other_get_a_line(files, says, folder):
  with pytest.raises(UserError) as e:
    Tokenizer.load(folder(**files))
  assert says in str(e.value)
  assert "\n" not in str(e.value)


def test_a_chat_template_lies_in_one_of_three_places(folder):
  read = lambda **files: token_files.read(folder(**files)).chat_template
  assert read(tokenizer_config={"chat_template": "a"}) == "a"
  named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
  assert read(tokenizer_config={"chat_template": named}) == "d"
  (folder() / "chat_template.jinja").write_text("j")
  assert read(tokenizer_config={"chat_template": "a"}) == "j"
