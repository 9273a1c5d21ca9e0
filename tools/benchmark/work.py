"""The work that is measured: one model, rows of conversations, rows of pairs, as text and items.

Texts are laid out as `USER: question ASSISTANT: answer</s>` and encoded as one piece, so that a
peer which is given the same rows sees the same tokens.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xwinjax.checkpoint import huggingface
from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl
from xwinjax.data.items import Builder, Items
from xwinjax.data.records import Counts, Messages
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig
from xwinjax.sandbox.tokenizer import tiny_tokenizer
from xwinjax.sandbox.world import World

Row = dict[str, str]
SHAPES = {  # name: sizes of a random model
  "tiny": {
    "dim": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "ffn_dim": 64,
    "max_length": 512,
  },
  "1b": {
    "dim": 2048,
    "num_layers": 16,
    "num_heads": 32,
    "num_kv_heads": 8,
    "head_dim": 64,
    "ffn_dim": 8192,
    "max_length": 4096,
    "vocab_size": 32000,
  },
  "7b": {
    "dim": 4096,
    "num_layers": 32,
    "num_heads": 32,
    "num_kv_heads": 32,
    "head_dim": 128,
    "ffn_dim": 11008,
    "max_length": 4096,
    "vocab_size": 32000,
  },
}


@dataclasses.dataclass(frozen=True)
class Work:
  """Where everything lies, and what of it a row takes."""

  model: Path
  sft: Path  # prompt, completion
  pairs: Path  # prompt, chosen, rejected
  source: Path  # the conversations as they came, for the loading row
  max_length: int
  shape: str = ""  # a random model of this shape instead of the folder's weights


def _plain(text: str) -> str:
  """Runs of blanks as one: some tokenizers of one and the same model keep them, some do not."""
  return re.sub(" {2,}", " ", text.strip())


def _prompt_text(messages: Messages) -> str:
  names = {"user": "USER: ", "assistant": "ASSISTANT: ", "system": ""}
  return " ".join(names[m.role] + _plain(m.content) for m in messages) + " ASSISTANT:"


def _encode(tokenizer: Tokenizer, prompt: str, answer: str) -> tuple[list[int], list[int]] | None:
  """Ids of the prompt (BOS first) and of the answer (EOS last); None where they do not part."""
  opening = tokenizer.encode(prompt)
  whole = tokenizer.encode(f"{prompt} {answer}")
  if whole[: len(opening)] != opening:
    return None
  return [*tokenizer.opening, *opening], [*whole[len(opening) :], tokenizer.eos_id]


def _sft_rows(path: Path, tokenizer: Tokenizer, max_length: int) -> list[Row]:
  rows = []
  for example in formats.read_examples(path, counts=Counts()):
    prompt, answer = _prompt_text(example.messages[:-1]), _plain(example.messages[-1].content)
    encoding = _encode(tokenizer, prompt, answer)
    if encoding is not None and len(encoding[0]) < max_length - 1:
      rows.append({"prompt": prompt, "completion": answer})
  return rows


def _pair_rows(path: Path, tokenizer: Tokenizer, max_length: int) -> list[Row]:
  rows = []
  for pair in formats.read_pairs(path, counts=Counts()):
    prompt, answers = _prompt_text(pair.prompt), (_plain(pair.chosen), _plain(pair.rejected))
    encodings = [_encode(tokenizer, prompt, answer) for answer in answers]
    if answers[0] != answers[1] and all(
      f and len(f[0]) + len(f[1]) <= max_length for f in encodings
    ):
      rows.append({"prompt": prompt, "chosen": answers[0], "rejected": answers[1]})
  return rows


def prepare(
  folder: Path, model: Path, sft: Path, pairs: Path, *, max_length: int, rows: tuple[int, int]
) -> Work:
  """Writes at most `rows` = (conversations, pairs) that fit, drawn at random, into `folder`."""
  tokenizer = Tokenizer.load(model)
  candidates = (_sft_rows(sft, tokenizer, max_length), _pair_rows(pairs, tokenizer, max_length))
  paths = (folder / "sft.jsonl", folder / "pairs.jsonl")
  for path, kept, count, source in zip(paths, candidates, rows, (sft, pairs), strict=True):
    if not kept:
      raise UserError(f"{source}: no row fits {max_length} tokens; raise --max_length")
    random.Random(0).shuffle(kept)
    jsonl.write_rows(path, kept[:count])
  return Work(model, *paths, sft, max_length)


def sandbox(folder: Path, *, rows: tuple[int, int], max_length: int, shape: str = "tiny") -> Work:
  """The same from nothing: a random model, and questions and answers of the sandbox world."""
  tokenizer = tiny_tokenizer(folder / "tokenizer")
  world, rng = World(0, 16), random.Random(0)
  tasks = [world.task(rng) for _ in range(max(rows))]
  chats = [{"prompt": m.prompt, "completion": world.answer(m, rng, 1.0)} for m in tasks[: rows[0]]]
  pairs = [
    {"prompt": m.prompt, "chosen": world.answer(m, rng, 1.0), "rejected": world.answer(m, rng, 0.2)}
    for m in tasks[: rows[1]]
  ]
  for name, made in (("chats", chats), ("choices", pairs)):
    plain = [
      {**r, "prompt": [{"role": m.role, "content": m.content} for m in r["prompt"]]} for r in made
    ]
    jsonl.write_rows(folder / f"{name}.jsonl", plain)
  config = shape_config(shape, tokenizer.vocab_size)
  small = config if shape == "tiny" else shape_config("tiny", tokenizer.vocab_size)
  huggingface.save(
    folder / "model",
    small,
    llama.init(small, jax.random.key(0)),
    tokenizer_from=folder / "tokenizer",
    bos_id=tokenizer.bos_id,
    eos_ids=Renderer(get_template("vicuna"), tokenizer).stop_ids(),
  )
  work = prepare(
    folder,
    folder / "model",
    folder / "chats.jsonl",
    folder / "choices.jsonl",
    max_length=max_length,
    rows=rows,
  )
  return dataclasses.replace(work, shape="" if shape == "tiny" else shape)


def shape_config(shape: str, vocab_size: int = 0) -> LlamaConfig:
  if shape not in SHAPES:
    raise UserError(f"--shape {shape!r} is not one of {', '.join(SHAPES)}")
  sizes: dict[str, Any] = {"vocab_size": vocab_size, "tied": shape == "tiny"} | SHAPES[shape]
  return LlamaConfig(**sizes)


def rows_of(path: Path) -> list[Row]:
  return [row for _, row in jsonl.read_rows(path)]


def sft_items(rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Items:
  """Conversations with the answer supervised, cut at `max_length`."""
  builder = Builder()
  for i, row in enumerate(rows):
    encoding = _encode(tokenizer, row["prompt"], row["completion"])
    assert encoding is not None
    mask = [0] * len(encoding[0]) + [1] * len(encoding[1])
    builder.sequence(str(i), (encoding[0] + encoding[1])[:max_length], mask[:max_length])
  return builder.build(Counts(), branched=False)


def pair_items(rows: Sequence[Row], tokenizer: Tokenizer) -> Items:
  """Pairs on their shared prompt."""
  builder = Builder()
  for i, row in enumerate(rows):
    chosen = _encode(tokenizer, row["prompt"], row["chosen"])
    rejected = _encode(tokenizer, row["prompt"], row["rejected"])
    assert chosen is not None
    assert rejected is not None
    builder.tree(str(i), chosen[0], (chosen[1], rejected[1]))
  return builder.build(Counts(), branched=True, margin=np.zeros(len(rows), np.float32))


def separate_tokens(items: Items) -> int:
  """The tokens of all sequences, were every answer to have its prompt to itself."""
  return len(items.tokens) + (int((items.branches == 0).sum()) if items.branched else 0)


def flops(config: LlamaConfig, items: Items, chosen: Sequence[int], *, head: bool = True) -> float:
  """Operations of one forward pass over these items that any program must do: no padding, no
  scores that causality hides, logits at supervised places alone. A backward pass takes twice that.
  """
  c = config
  layer = c.dim * c.head_dim * (2 * c.num_heads + 2 * c.num_kv_heads) + 3 * c.dim * c.ffn_dim
  total = 0.0
  for i in chosen:
    here = slice(items.offsets[i], items.offsets[i + 1])
    seen = float(items.positions[here].sum()) + items.lengths[i]
    total += 2 * c.num_layers * layer * float(items.lengths[i])
    total += 4 * c.num_layers * c.num_heads * c.head_dim * seen
    total += 2 * c.dim * c.vocab_size * float(items.targets[i]) if head else 0.0
  return total
