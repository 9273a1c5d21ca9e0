"""Tokenized data: what each record becomes in a row of a batch.

An item is one record laid out as it will lie in a row: ids, which of them are supervised, their
positions and, where a prompt is shared by several answers, their branches (see `core.segments`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.segments import BRANCHES
from xwinjax.data import fitting
from xwinjax.data.records import Counts, Example, Messages, Pair
from xwinjax.data.templates import Renderer


@dataclasses.dataclass(frozen=True)
class Items:
  """n items as flat arrays; item i is the slice offsets[i]:offsets[i+1] of each.

  `fields` holds further numbers of each item, first axis n: margin, reference log-probs, ….
  """

  ids: list[str]
  offsets: np.ndarray  # [n + 1] int64
  tokens: np.ndarray  # int32
  mask: np.ndarray  # uint8, 1 where a token is a supervised target
  positions: np.ndarray  # int32
  branches: np.ndarray  # uint8, 0 = the shared prompt, or everything when nothing branches
  fields: dict[str, np.ndarray]
  counts: Counts
  branched: bool  # whether items are prompts with answers, rather than single sequences

  def __len__(self) -> int:
    return len(self.ids)

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    return np.diff(self.offsets)

  @functools.cached_property
  def targets(self) -> np.ndarray:
    """Supervised tokens of each item."""
    return np.add.reduceat(self.mask, self.offsets[:-1], dtype=np.int64)

  def fingerprint(self) -> str:
    """sha256 of everything a batch is made of; the same data in the same order has the same."""
    digest = hashlib.sha256()
    for array in (self.offsets, self.tokens, self.mask, self.positions, self.branches):
      digest.update(np.ascontiguousarray(array).data)
    for name in sorted(self.fields):
      digest.update(name.encode() + np.ascontiguousarray(self.fields[name]).tobytes())
    return digest.hexdigest()

  def with_fields(self, **fields: np.ndarray) -> Items:
    return dataclasses.replace(self, fields={**self.fields, **fields})


ARRAYS = {"tokens": np.int32, "mask": np.uint8, "positions": np.int32, "branches": np.uint8}
CHUNK = 4096  # items that are merged, or written, at once


@dataclasses.dataclass
class Builder:
  """Collects items one by one, in memory or, with `to`, in a folder's files of flat arrays."""

  to: Path | None = None
  ids: list[str] = dataclasses.field(default_factory=list)
  lengths: list[int] = dataclasses.field(default_factory=list)
  rows: list[tuple[np.ndarray, ...]] = dataclasses.field(default_factory=list)  # not yet merged
  chunks: list[list[np.ndarray]] = dataclasses.field(default_factory=list)

  def sequence(self, id: str, tokens: Sequence[int], mask: Sequence[int]) -> None:
    n = len(tokens)
    self._add(id, tokens, mask, np.arange(n, dtype=np.int32), np.zeros(n, np.uint8))

  def tree(self, id: str, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> None:
    """A shared prompt with its answers; each branch opens with its own copy of the last token."""
    shared = len(prompt) - 1
    tokens, mask, positions, branches = [*prompt[:-1]], [0] * shared, [*range(shared)], [0] * shared
    for branch, answer in enumerate(answers, 1):
      tokens += [prompt[-1], *answer]
      mask += [0] + [1] * len(answer)
      positions += range(shared, shared + 1 + len(answer))
      branches += [branch] * (1 + len(answer))
    self._add(id, tokens, mask, positions, branches)

  def _add(self, id: str, *arrays: Sequence[int] | np.ndarray) -> None:
    self.ids.append(id)
    self.lengths.append(len(arrays[0]))
    self.rows.append(tuple(np.asarray(a, t) for a, t in zip(arrays, ARRAYS.values(), strict=True)))
    if len(self.rows) == CHUNK:
      self._merge()

  def _merge(self) -> None:
    merged = [np.concatenate(arrays) for arrays in zip(*self.rows, strict=True)]
    self.rows = []
    self._keep(merged)

  def _keep(self, merged: list[np.ndarray]) -> None:
    if self.to is None:
      self.chunks.append(merged)
      return
    for name, array in zip(ARRAYS, merged, strict=True):
      with (self.to / name).open("ab") as f:
        f.write(array.data)

  def extend(self, made: Items) -> None:
    """Further items, whose fields are left to the caller."""
    self.ids += made.ids
    self.lengths += made.lengths.tolist()
    if self.rows:
      self._merge()
    self._keep([getattr(made, name) for name in ARRAYS])

  def build(self, counts: Counts, *, branched: bool, **fields: np.ndarray) -> Items:
    if self.rows:
      self._merge()
    if self.to is not None and sum(self.lengths):
      flat = memory_mapped(self.to)
    else:
      chunks = [[np.zeros(0, t) for t in ARRAYS.values()], *self.chunks]
      flat = [np.concatenate(arrays) for arrays in zip(*chunks, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).astype(np.int64)
    return Items(self.ids, offsets, *flat, fields=fields, counts=counts, branched=branched)


def memory_mapped(folder: Path) -> list[np.ndarray]:
  """The arrays that a builder wrote, read from disk as they are looked at."""
  return [np.memmap(folder / name, dtype, mode="r") for name, dtype in ARRAYS.items()]


def joined(parts: Iterable[Items], builder: Builder | None = None) -> Items:
  """The items of several, one after the other, with their fields; ValueError of none."""
  counts, builder, fields, branched = Counts(), builder or Builder(), [], None
  for part in parts:
    builder.extend(part)
    counts += part.counts
    fields.append(part.fields)
    branched = part.branched
  if branched is None:
    raise ValueError("no items to join")
  together = {name: np.concatenate([f[name] for f in fields]) for name in fields[0]}
  return builder.build(_one_lost(counts), branched=branched, **together)


LOST = "text that its tokens do not give back, first in "


def count_lost(counts: Counts, id: str, texts: Iterable[str], renderer: Renderer) -> None:
  """Counts answers that the vocabulary changes, under the first one's id."""
  if renderer.tokenizer.keeps_text:
    return
  lost = sum(not renderer.round_trips(text) for text in texts)
  if lost:
    counts[next((key for key in counts if key.startswith(LOST)), LOST + id)] += lost


def _one_lost(counts: Counts) -> Counts:
  """The same with what several shares lost under the first one's id."""
  keys = [key for key in counts if key.startswith(LOST)]
  for key in keys[1:]:
    counts[keys[0]] += counts.pop(key)
  return counts


def tokenize_examples(
  examples: Iterable[Example],
  renderer: Renderer,
  max_length: int,
  *,
  too_long: str = "turns",
  loss_on: str = "all",
  builder: Builder | None = None,
) -> Items:
  """Conversations as sequences with every answer supervised, but those marked as context.

  Args:
    examples: conversations that end with an answer.
    renderer: template and tokenizer.
    max_length: tokens a sequence may have.
    too_long: what happens to a longer conversation. "turns" drops its last exchanges until it
      fits and the whole of it when the first alone does not; "blocks" makes several sequences of
      it, see `fitting.blocks`; "cut" cuts the text at max_length (as LIMA does), so that its last
      answer is trained on without an end; "drop" drops it.
    loss_on: "all" answers or the "last" alone.
    builder: collects the items; None makes one in memory.

  Returns: the items; their `counts` say what was kept, split, cut and dropped.
  """
  fitting.check(too_long, loss_on)
  counts, builder = Counts(), builder or Builder()
  for example in examples:
    fitted = fitting.fitted(example.messages, renderer, max_length, too_long, counts)
    if not fitted:
      counts[f"dropped: longer than {max_length} tokens"] += 1
      continue
    parts = []
    for messages, encoded in fitted:
      mask = encoded.mask
      if loss_on == "last":
        mask = _last_run(mask) if messages[-1].train else [0] * len(mask)
      if any(mask):
        parts.append((messages, encoded.ids, mask))
    if not parts:
      counts["dropped: no supervised token"] += 1
      continue
    if len(parts) > 1:
      counts.update({fitting.SPLIT: 1, fitting.BLOCKS: len(parts)})
    for n, (messages, ids, mask) in enumerate(parts, 1):
      builder.sequence(example.id if len(parts) == 1 else f"{example.id}, block {n}", ids, mask)
      answers = [m.content for m in messages if m.role == "assistant"]
      count_lost(counts, example.id, answers, renderer)
      counts["turns"] += len(answers)
    counts["kept"] += 1
  return builder.build(counts, branched=False)


def _last_run(mask: list[int]) -> list[int]:
  """Only the last unbroken run of ones."""
  end = len(mask) - mask[::-1].index(1) if 1 in mask else 0
  start = end
  while start and mask[start - 1]:
    start -= 1
  return [int(start <= i < end) for i in range(len(mask))]


def fit_prompt(
  messages: Messages, renderer: Renderer, room: int, counts: Counts
) -> list[int] | None:
  """A prompt's ids in at most `room` tokens: the oldest exchanges are left out until it fits.

  Returns None, and counts it, when even the last question alone is too long.
  """
  system = messages[:1] if messages[0].role == "system" else ()
  rest = messages[len(system) :]
  ids, cut = renderer.encode_prompt(system + rest), False
  while len(ids) > room and len(rest) > 2:
    rest, cut = rest[2:], True
    ids = renderer.encode_prompt(system + rest)
  if len(ids) > room:
    counts["dropped: last question too long"] += 1
    return None
  if cut:
    counts["cut: oldest exchanges of the prompt left out to fit"] += 1
  return ids


def tokenize_pairs(
  pairs: Iterable[Pair], renderer: Renderer, max_length: int, *, builder: Builder | None = None
) -> Items:
  """Pairs as a shared prompt with two branches, chosen first.

  `max_length` bounds the prompt with its longer answer. A pair that does not fit loses the oldest
  exchanges of its prompt, the same for both answers; one that still does not is dropped. Answers
  are never cut: a cut answer has no end, and would teach that.
  """
  counts, builder, margins = Counts(), builder or Builder(), []
  for pair in pairs:
    texts = (pair.chosen, pair.rejected)
    if _branches(builder, pair.id, pair.prompt, texts, renderer, max_length, counts):
      margins.append(pair.margin)
  return builder.build(counts, branched=True, margin=np.asarray(margins, np.float32))


def tokenize_lists(
  lists: Iterable[tuple[str, Messages, Sequence[tuple[str, float]]]],
  renderer: Renderer,
  max_length: int,
) -> Items:
  """(id, prompt, [(answer, score), …]) as a shared prompt with a branch an answer; else as pairs.

  All have as many answers. `fields["scores"]` are theirs, [n, answers].
  """
  counts, builder, kept = Counts(), Builder(), []
  for id, prompt, answers in lists:
    texts = [text for text, _ in answers]
    if _branches(builder, id, prompt, texts, renderer, max_length, counts):
      kept.append([score for _, score in answers])
  return builder.build(counts, branched=True, scores=np.asarray(kept, np.float32))


def _branches(
  builder: Builder,
  id: str,
  messages: Messages,
  texts: Sequence[str],
  renderer: Renderer,
  max_length: int,
  counts: Counts,
) -> bool:
  """Adds a prompt with these answers where they fit and differ; whether it did, which it counts."""
  answers = [renderer.encode_answer(text) for text in texts]
  if len({tuple(answer) for answer in answers}) < len(answers):
    counts["dropped: equal answers"] += 1
    return False
  room = max_length - max(map(len, answers))
  if room <= 0:
    counts[f"dropped: answer longer than {max_length} tokens"] += 1
    return False
  prompt = fit_prompt(messages, renderer, room, counts)
  if prompt is None:
    return False
  builder.tree(id, prompt, answers)
  count_lost(counts, id, texts, renderer)
  counts["kept"] += 1
  return True


def tokenize_answers(
  prompts: Iterable[tuple[str, Messages, Sequence[str] | Sequence[list[int]]]],
  renderer: Renderer,
  max_length: int,
  branches: int,
) -> Items:
  """Prompts with many answers each, `branches` of them a row; for scoring, never for training.

  An answer is a text, or the ids that were sampled (end token included), which need not be the
  ones its text would be encoded to. Each item's fields `record` and `first` say whose answers it
  holds: those of prompt `record` from number `first` on. An answer that does not fit is cut at
  `max_length` and counted.
  """
  if not 0 < branches < BRANCHES:
    raise ValueError(f"branches {branches} must lie between 1 and {BRANCHES - 1}")
  counts, builder, where = Counts(), Builder(), []
  for record, (id, messages, answers) in enumerate(prompts):
    prompt = fit_prompt(messages, renderer, max_length - 1, counts)
    if prompt is None:
      raise UserError(
        f"prompt {id}: longer than {max_length - 1} tokens with nothing left to leave out; "
        "raise max_length"
      )
    encoded = [renderer.encode_answer(a) if isinstance(a, str) else a for a in answers]
    for i, answer in enumerate(encoded):
      if len(prompt) + len(answer) > max_length:
        encoded[i] = answer[: max_length - len(prompt)]
        counts[f"cut: answer ends at {max_length} tokens"] += 1
    for first in range(0, len(encoded), branches):
      builder.tree(id, prompt, encoded[first : first + branches])
      where.append((record, first))
    counts["kept"] += len(encoded)
  places = np.asarray(where, np.int32).reshape(-1, 2)
  return builder.build(counts, branched=True, record=places[:, 0], first=places[:, 1])
