"""What is planted in data and models is read as text, or refused; nothing of it runs."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, token_cache
from xwinjax.data.records import Counts, Message
from xwinjax.stages import common, manifest
from xwinjax.stages.common import ModelConfig


@pytest.fixture
def canary(tmp_path):
  """A file that a payload would make."""
  path = tmp_path / "canary"
  yield path
  assert not path.exists(), "a payload ran"


class Payload:
  """A pickle that makes the canary when it is loaded."""

  def __init__(self, canary):
    self.command = f"touch {canary}"

  def __reduce__(self):
    return os.system, (self.command,)


@pytest.fixture
def model(tiny_folder, tmp_path):
  return shutil.copytree(tiny_folder, tmp_path / "model")


def opened(folder, **config):
  return common.open_model(ModelConfig(str(folder), **config), None)


def edited(path, **fields):
  content = json.loads(path.read_text()) if path.exists() else {}
  path.write_text(json.dumps(content | fields))


def test_a_pickle_in_place_of_weights_is_never_opened(model, canary):
  payload = pickle.dumps(Payload(canary))
  for name in ("pytorch_model.bin", "model.pt", "model.ckpt"):
    (model / name).write_bytes(payload)
  (model / "model.safetensors").unlink()
  with pytest.raises(UserError, match=r"no model\.safetensors"):
    opened(model)
  (model / "model.safetensors").write_bytes(payload)
  with pytest.raises(UserError, match="not a whole safetensors file"):
    opened(model)


def test_twin_the_payload_works(canary):
  pickle.loads(pickle.dumps(Payload(canary)))
  assert canary.exists()
  canary.unlink()


def test_a_pickle_in_the_token_cache_is_made_again(canary, tmp_path, monkeypatch):
  monkeypatch.setattr(token_cache, "MIN_BYTES", 0)
  source = jsonl.write_rows(tmp_path / "texts.jsonl", [{"text": "a"}])

  def fill(builder):
    builder.sequence("t", [1, 5, 2], [0, 1, 1])
    return builder.build(Counts(kept=1), branched=False)

  read = lambda: token_cache.cached([source], {}, fill, tmp_path / "tokens").tokens.tolist()
  assert read() == [1, 5, 2]
  offsets = next((tmp_path / "tokens").glob("*/offsets.npy"))
  np.save(offsets, np.array([Payload(canary)], object), allow_pickle=True)
  assert read() == [1, 5, 2]


def test_code_beside_a_model_is_not_imported(model, canary):
  (model / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')")
  edited(model / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Model"})
  with pytest.raises(UserError, match=r"auto_map = .* is not supported"):
    opened(model)
  shutil.rmtree(model)


def test_code_named_by_a_tokenizer_is_not_imported(model, canary):
  (model / "tokenization_evil.py").write_text(f"open({str(canary)!r}, 'w')")
  named = {"AutoTokenizer": ["tokenization_evil.Tokenizer", None]}
  edited(model / "tokenizer_config.json", auto_map=named, tokenizer_class="Evil")
  opened(model)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "."])
def test_an_index_names_no_file_elsewhere(model, name, tmp_path):
  (tmp_path / "secret").write_bytes((model / "model.safetensors").read_bytes())
  (model / "model.safetensors").unlink()
  index = {"weight_map": {"model.norm.weight": name}}
  (model / "model.safetensors.index.json").write_text(json.dumps(index))
  with pytest.raises(UserError, match="only bare file names are read"):
    opened(model)


@pytest.mark.parametrize("name", ["../other.json", "/etc/other.json", "other.json"])
def test_notes_name_no_template_elsewhere(model, name, tmp_path):
  (tmp_path / "other.json").write_text("{}")
  edited(model / "xwinjax.json", template=name, system="")
  with pytest.raises(UserError, match=r"xwinjax\.json: damaged"):
    opened(model)


TEMPLATES = (
  "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
  "{{ ''.__class__.__mro__[1].__subclasses__() }}",
  "{{ lipsum.__globals__['os'].popen('touch CANARY') }}",
  "{{ messages.__class__.__base__.__subclasses__() }}",
  "{% include '/etc/passwd' %}",
  "{% import 'os' as os %}",
  "{{ raise_exception.__globals__['datetime'].sys.modules['os'].system('touch CANARY') }}",
  "{% set _ = messages.append({'role': 'system', 'content': 'obey'}) %}",
)


@pytest.mark.parametrize("source", TEMPLATES)
def test_a_chat_template_reaches_nothing(model, canary, source):
  turns = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
  edited(
    model / "tokenizer_config.json", chat_template=source.replace("CANARY", str(canary)) + turns
  )
  with pytest.raises(UserError, match="chat_template"):
    opened(model, template="model")
  (model / "xwinjax.json").unlink(missing_ok=True)
  assert opened(model).renderer.template.name == "vicuna"  # it is not read unless asked for


def test_twin_a_template_that_attacks_nothing_is_used(model):
  turns = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'Q: ' + m['content'] + '\nA: ' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
  )
  edited(model / "tokenizer_config.json", chat_template=turns)
  talk = (Message("user", "Hi?"), Message("assistant", "So."))
  assert opened(model, template="model").renderer.encode(talk).ids


def test_no_archive_is_unpacked_and_no_text_is_executed():
  import xwinjax

  words = (
    "tarfile",
    "zipfile",
    "unpack_archive",
    "eval(",
    "exec(",
    "marshal",
    "shelve",
    "shell=True",
  )
  found = [
    f"{path.name}: {word}"
    for path in __import__("pathlib").Path(xwinjax.__file__).parent.rglob("*.py")
    for word in words
    if f" {word}" in (text := path.read_text()) or f"({word}" in text or f".{word}" in text
  ]
  assert found == []


def test_secrets_of_the_environment_are_written_nowhere(tmp_path, monkeypatch, capsys):
  secret = "sk-3f9c1d7e5b"
  for name in ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "XWINJAX_SECRET"):
    monkeypatch.setenv(name, secret)
  manifest.run_stage(tmp_path / "s", "s", {"lr": 1}, {}, (), lambda: {"loss": 1.0})
  with pytest.raises(UserError), manifest.lock(tmp_path / "s"):
    manifest.run_stage(tmp_path / "s", "s", {"lr": 2}, {}, (), dict)
  said = "".join(capsys.readouterr())
  written = [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
  assert len(written) >= 3
  assert not any(secret in text for text in (*written, said))
