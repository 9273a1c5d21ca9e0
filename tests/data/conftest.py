"""Fixtures of the data tests: files from rows, a tokenizer that has every special token."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from xwinjax.data.items import Builder
from xwinjax.data.records import Counts, Example, Message
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer

SPECIALS = (
  "<|start_header_id|>",
  "<|end_header_id|>",
  "<|eot_id|>",
  "<|im_start|>",
  "<|im_end|>",
  "<|eot|>",
)


@pytest.fixture
def write(tmp_path):
  """write("name.jsonl", rows or bytes) -> the file; .json holds a list, .gz is zipped."""

  def write(name: str, content: list | bytes) -> Path:
    if isinstance(content, bytes):
      blob = content
    elif ".jsonl" in name:
      blob = "".join(json.dumps(row) + "\n" for row in content).encode()
    else:
      blob = json.dumps(content, indent=1).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(blob) if name.endswith(".gz") else blob)
    return path

  return write


def with_specials(model: Path) -> Tokenizer:
  size = Tokenizer(model).vocab_size
  return Tokenizer(model, {name: size + i for i, name in enumerate(SPECIALS)})


@pytest.fixture(scope="session")
def tokenizer(tiny_folder) -> Tokenizer:
  return with_specials(tiny_folder / "tokenizer.model")


@pytest.fixture(scope="session")
def llama2_tokenizer(shared) -> Tokenizer:
  return with_specials(shared / "llama2-tokenizer" / "tokenizer.model")


@pytest.fixture(scope="session")
def vicuna(tokenizer) -> Renderer:
  return Renderer(get_template("vicuna"), tokenizer)


@pytest.fixture
def chat():
  """chat("Hi?", "Hello.", …) -> an example whose turns alternate, user first."""

  def chat(*texts: str, system: str = "", id: str = "x") -> Example:
    turns = [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]
    return Example(id, (*([Message("system", system)] if system else []), *turns))

  return chat


@pytest.fixture(scope="session")
def make_items():
  """make_items(lengths) -> sequences of these lengths, every token its own item's number + 1.

  `branched` makes items of a prompt and two answers instead.
  """

  def make(lengths, *, branched: bool = False):
    builder = Builder()
    for i, n in enumerate(lengths):
      if branched:
        builder.tree(str(i), [i + 1] * (n - 4), ([i + 1], [i + 1]))
      else:
        builder.sequence(str(i), [i + 1] * n, [0] + [1] * (n - 1))
    fields = {"margin": np.arange(len(lengths), dtype=np.float32)} if branched else {}
    return builder.build(Counts(), branched=branched, **fields)

  return make
