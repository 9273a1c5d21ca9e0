"""What transformers makes of our folders' tokenizers; collected where it and torch are installed.

pip install torch transformers && python -m pytest tests/checkpoint/test_exports_in_transformers.py
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from goldens import families

from xwinjax.checkpoint import huggingface
from xwinjax.data import formats
from xwinjax.data.records import Message
from xwinjax.data.templates import TEMPLATES
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.stages import common
from xwinjax.stages.common import ModelConfig
from xwinjax.testing.tiny import tiny_config, tiny_params

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import tokenizers_made as made

SYSTEMS = (
  "Be brief.",
  "Be brief. 🙂",
  "  Led by blanks.\n\nTwo lines.\n",
  "# Rules\n- one\n- two\n\t- three",
  "你是助手。",
  "<rules>\n  <rule>No & yes</rule>\n</rules>",
  "{{ not }} {% jinja %}",
  "x" * 300,
)
SIGNS = (
  "Hi 👩\u200d👧?",
  "🏳️\u200d🌈🇩🇪 👍🏽",
  "中文, русский: да.",
  "שלום، مرحبا",
  "e\u0301 ﬁ ½ ™ €",
  "🙂\n🙃\n\n🫠",
  "a\u00a0b\u2003c\u200bd",
  "  blanks 😀  ",
)
CODE = (
  "def f(x):\n    if x:\n\treturn [i for i in x]\n        # eight\n",
  "int main(void) {\n  return 0; /* ok */\n}\n",
  '{"a": [1, 2.5e-3, null], "b": "q\\"\\n"}',
  "for f in *.txt; do\n\techo \"$f\" | sed 's/a/b/g'\ndone",
  "| a | b |\n|---|---|\n| 1 | `2` |\n",
  "{{ x }} \"q\" 'n' \\ %}{% y %} {}",
  "<p class='x'>A &amp; B</p>\n<!-- no -->",
  "\\frac{1}{2} + x_{i}^{2} \\\\ \\end{align*}",
)


def talk(*texts, system=""):
  turns = [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]
  return (*([Message("system", system)] if system else []), *turns)


@pytest.fixture(scope="module")
def talks(shared):
  """50 conversations: 16 of LIMA's with many turns, 10 others; 8 each with system, signs, code."""
  real = [e.messages for e in formats.read_examples(shared / "lima" / "lima.json.gz")]
  many = [messages for messages in real if len(messages) > 3][:16]
  systems = [talk("Hi?", "So.", "And?", "No.", system=text) for text in SYSTEMS]
  signs = [talk(text, f"Yes: {text}") for text in SIGNS]
  code = [talk(f"What is it?\n{text}", f"```\n{text}```", "And?", text) for text in CODE]
  return [*many, *real[:10], *systems, *signs, *code]


def folder_with(tokenizer, config, folder):
  """A model folder with random weights as published: its tokenizer's files and settings."""
  made = Tokenizer.load(tokenizer)
  config = tiny_config(vocab_size=max(made.vocab_size + 6, 64), family=config)
  huggingface.save(folder, config, tiny_params(config), tokenizer_from=tokenizer)
  settings = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [made.eos_id]}
  (folder / "generation_config.json").write_text(json.dumps(settings))
  return folder


@pytest.fixture(scope="module", params=["llama2", "llama3", "qwen2", "blanks"])
def model(request, shared, tmp_path_factory):
  """A folder of each kind of tokenizer: SentencePiece, and three of tokenizer.json."""
  folder = tmp_path_factory.mktemp(request.param)
  source = shared / "llama2-tokenizer"
  if request.param != "llama2":
    source = getattr(made, request.param)(folder / "tokenizer")
  family = {"qwen2": "qwen2", "blanks": "mistral"}.get(request.param, "llama")
  return folder_with(source, family, folder / "model")


def exported(model, template, folder):
  """The model as we write it once it is trained with the template."""
  opened = common.open_model(ModelConfig(str(model)), None)
  tokenizer = opened.tokenizer.with_special(TEMPLATES[template].specials())
  renderer = common.Renderer(TEMPLATES[template], tokenizer, "You help. 🙂")
  done = common.dataclasses.replace(opened, tokenizer=tokenizer, renderer=renderer)
  common.save_model(folder, done, opened.params)
  return renderer


def rows(talk):
  return [{"role": m.role, "content": m.content} for m in talk]


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_apply_chat_template_gives_our_tokens(template, model, talks, tmp_path):
  renderer = exported(model, template, tmp_path)
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
  apply = theirs.apply_chat_template
  assert len(talks) == 50
  for talk in talks:
    assert apply(rows(talk), return_dict=False) == renderer.encode(talk).ids
    asked = apply(rows(talk[:-1]), add_generation_prompt=True, return_dict=False)
    assert asked == renderer.encode_prompt(talk[:-1])
  # The twin: a conversation that is another has other tokens.
  assert apply(rows(talks[0]), return_dict=False) != renderer.encode(talks[1]).ids
  batch = theirs(["Hi", "Hello there, you"], padding=True, return_tensors="pt")
  assert theirs.pad_token_id not in renderer.stop_ids()
  network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
  assert network(**batch).logits.shape[:2] == batch["input_ids"].shape
  settings = network.generation_config
  assert (settings.do_sample, settings.temperature, settings.top_p) == (True, 0.6, 0.9)
  ends = settings.eos_token_id
  ends = ends if isinstance(ends, list) else [ends]
  assert ends[: len(renderer.stop_ids())] == [*renderer.stop_ids()]
  config, params = huggingface.load(tmp_path)
  ids = torch.tensor([renderer.encode(talks[0]).ids[:40]])
  wanted = network(ids).logits.detach().numpy()
  hidden = huggingface_logits(config, params, ids.numpy())
  np.testing.assert_allclose(hidden, wanted, atol=2e-5)


def huggingface_logits(config, params, ids):
  from xwinjax.model import llama

  return np.asarray(llama.unembed(params, llama.apply(config, params, ids)))


@pytest.mark.parametrize("kind", ["llama3", "qwen2"])
def test_a_folder_as_published_is_read_as_transformers_reads_it(kind, talks, tmp_path):
  made_folder = getattr(made, kind)(tmp_path / "tokenizer")
  (made_folder / "config.json").write_text('{"model_type": "llama"}')
  theirs = transformers.AutoTokenizer.from_pretrained(made_folder)
  for template in ("", "model"):
    _, renderer = common.open_tokenizer(made_folder, ModelConfig(template=template), 10**6)
    for talk in talks:
      asked = theirs.apply_chat_template(
        rows(talk[:-1]), add_generation_prompt=True, return_dict=False
      )
      assert asked == renderer.encode_prompt(talk[:-1])


@pytest.mark.parametrize("name", families.CONFIGS)
def test_families_are_written_as_transformers_reads_them(name, tmp_path):
  config, params = huggingface.load(families.folder_of(name, tmp_path / "a"))
  ours = huggingface.save(tmp_path / "b", config, params)
  model = transformers.AutoModelForCausalLM.from_pretrained(ours, dtype=torch.float32)
  logits = model(torch.tensor([families.IDS])).logits[0].detach().numpy()
  stored = json.loads(families.STORED.read_text())[name]["logits"]
  np.testing.assert_allclose(logits[[7, -1], :8], stored, atol=2e-5)
