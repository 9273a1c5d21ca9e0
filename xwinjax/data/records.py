"""The records that travel between stages: conversations, pairs, candidates."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

ROLES = ("system", "user", "assistant")

# What a data function did with its rows: {"kept": 9812, "dropped: empty answer": 57, …}
Counts = Counter[str]


@dataclasses.dataclass(frozen=True)
class Message:
  role: str  # system, user or assistant
  content: str
  train: bool = True  # of an answer: whether it is a target, or context alone


Messages = tuple[Message, ...]


@dataclasses.dataclass(frozen=True)
class Example:
  """A conversation. As training data it ends with an answer, as a prompt with a question."""

  id: str
  messages: Messages
  meta: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two answers to one prompt. `margin` says how much better the chosen one is, where known."""

  id: str
  prompt: Messages
  chosen: str
  rejected: str
  margin: float = 0.0
  meta: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One sampled answer.

  `logp` is the sum of the model's log-probs of its tokens (nats, temperature 1, end token
  included); `finish` is why it ended: "stop", "stop_string" or "length". `ids` are the sampled
  tokens, which a re-encoding of the text may not give back; empty where nobody sampled.
  """

  text: str
  logp: float = 0.0
  tokens: int = 0
  finish: str = "stop"
  scores: dict[str, float] = dataclasses.field(default_factory=dict, hash=False, compare=False)
  ids: tuple[int, ...] = dataclasses.field(default=(), repr=False)


@dataclasses.dataclass(frozen=True)
class CandidateSet:
  """All candidates of one prompt: a row of the multiwise set.

  `repeats` says how many repeats of a candidate were met on the way, where that is known.
  """

  id: str
  prompt: Messages
  candidates: tuple[Candidate, ...]
  meta: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False, compare=False)
  repeats: int | None = dataclasses.field(default=None, compare=False)


def messages_json(messages: Messages) -> list[dict[str, Any]]:
  left_out = lambda m: {} if m.train else {"weight": 0}
  return [{"role": m.role, "content": m.content, **left_out(m)} for m in messages]


def prompt_text(prompt: Messages) -> str:
  """A prompt as one text, which tells it from others: the question, or all turns with roles."""
  if len(prompt) == 1:
    return prompt[0].content
  return "\n\n".join(f"{m.role}: {m.content}" for m in prompt)


def example_json(example: Example) -> dict[str, Any]:
  return {"id": example.id, "messages": messages_json(example.messages), **meta_json(example)}


def pair_json(pair: Pair) -> dict[str, Any]:
  answer = lambda text: [{"role": "assistant", "content": text}]
  return {
    "id": pair.id,
    "prompt": messages_json(pair.prompt),
    "chosen": answer(pair.chosen),
    "rejected": answer(pair.rejected),
    "margin": pair.margin,
    **meta_json(pair),
  }


def meta_json(record: Example | Pair | CandidateSet) -> dict[str, Any]:
  """The record's meta as a part of its row; nothing where it is empty."""
  return {"meta": record.meta} if record.meta else {}


UNUSED = "unused column: "  # opens the key that counts a column's values that nobody reads


def counted(title: str, counts: Counts) -> str:
  """`read 100 · kept 97 · dropped: equal answers 3 · unused columns: id, source`."""
  order = sorted(counts, key=lambda k: (k not in ("read", "kept"), k != "read", k))
  parts = [f"{name} {counts[name]}" for name in order if not name.startswith(UNUSED)]
  unused = [name.removeprefix(UNUSED) for name in order if name.startswith(UNUSED)]
  return f"{title}: " + " · ".join(parts + [f"unused columns: {', '.join(unused)}"] * bool(unused))
