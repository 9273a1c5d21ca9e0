"""A look at data before a run: what is kept, what is lost, and what training would see.

`Look` reads a data set once; each entry of `CHECKS` turns what it saw into lines. A new check is a
function and its place in that list.
"""

from __future__ import annotations

import array
import dataclasses
import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import fitting, formats, items
from xwinjax.data.items import Items
from xwinjax.data.records import UNUSED, Counts, Example, Messages, Pair
from xwinjax.data.templates import BOS, Renderer

NAMED = 3  # rows that are told by their ids
READERS = {
  "example": formats.read_examples,
  "pair": formats.read_pairs,
  "prompt": formats.read_prompts,
}


@dataclasses.dataclass(frozen=True)
class Line:
  """One thing found; `bad` where someone should look at it before training."""

  name: str
  text: str
  bad: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
  """How the data is read and cut: as the stage that will use it does."""

  kind: str  # example, pair or prompt
  format: str = "auto"
  bad_rows: str = "stop"
  max_length: int = 2048
  too_long: str = "turns"
  loss_on: str = "all"
  limit: int = 0  # rows the stage will read; 0: all
  leaves: int = 0  # tokens that are kept free for an answer
  heldout: bool = False  # not to be trained on

  def within(self, length: int) -> Settings:
    """The same for a model of so many tokens."""
    room = min(self.max_length, length) - min(self.leaves, length // 2)
    return dataclasses.replace(self, max_length=room, leaves=0)


class Found:
  """Records that something was found of: how many, and the first by their ids."""

  def __init__(self) -> None:
    self.count, self.first = 0, []

  def add(self, id: str) -> None:
    self.count += 1
    if self.count <= NAMED:
      self.first.append(id)

  def __str__(self) -> str:
    return ", ".join(self.first) + (", …" if self.count > NAMED else "")


class Look:
  """A data set read once, record by record; of each, numbers are kept and no text.

  Args:
    renderer: makes tokens of the records; None looks at rows alone.
    rows: stop behind so many records; 0 reads all.
    sample: make tokens of records of so many characters together; 0 of all.
  """

  def __init__(
    self,
    path: str | Path,
    settings: Settings,
    renderer: Renderer | None,
    *,
    rows: int = 0,
    sample: int = 0,
  ):
    if settings.kind not in READERS:
      raise UserError(f"--as={settings.kind}: expected one of {', '.join(READERS)}")
    self.path, self.settings, self.renderer = path, settings, renderer
    self.rows, self.tokens = Counts(), Counts()  # what became of rows, and of tokens
    self.lengths = array.array("l")  # of the items, in tokens
    self.longest: list[tuple[int, str]] = []
    self.taken = 0  # records of which tokens were made
    self.supervised = self.answers = 0
    self.lossy = Found()  # answers that do not come back from their tokens
    self.endless = Found()  # whose last answer carries no end token
    self.starts = Counts()  # BOS tokens in an item
    self.unopened = Found()  # that do not begin with BOS
    self.prompts, self.wholes = array.array("Q"), array.array("Q")  # digests
    reader = READERS[settings.kind](path, settings.format, self.rows, settings.bad_rows)
    most = min(filter(None, (rows, settings.limit)), default=None)
    self.whole = most is None  # whether all rows were read
    characters = 0
    for record in itertools.islice(reader, most):
      prompt, answers = split(record, settings.kind)
      self.prompts.append(_digest(prompt))
      self.wholes.append(_digest(prompt, answers))
      if renderer is not None and (not sample or characters < sample):
        self._tokens(record, answers, renderer)
        characters += sum(len(m.content) for m in prompt) + sum(map(len, answers))
        self.taken += 1
    self.whole = self.whole or len(self.prompts) < (most or 0)

  def _tokens(self, record: Example | Pair, answers: list[str], renderer: Renderer) -> None:
    for text in answers:
      self.answers += 1
      if not renderer.round_trips(text):
        self.lossy.add(record.id)
    made = self._items(record, renderer)
    self.tokens.update(
      {k: n for k, n in made.counts.items() if k not in ("kept", "turns") and items.LOST not in k}
    )
    self.supervised += int(made.mask.sum())
    bos = renderer.tokenizer.bos_id
    for id, start, end in zip(made.ids, made.offsets[:-1], made.offsets[1:], strict=True):
      at, n = slice(start, end), int(end - start)
      ids, mask, branches = made.tokens[at], made.mask[at], made.branches[at]
      self.lengths.append(n)
      heapq.heappush(self.longest, (n, id))
      if len(self.longest) > NAMED:
        heapq.heappop(self.longest)
      if self.settings.kind != "prompt" and not _ends(ids, mask, branches, renderer.stop_ids()):
        self.endless.add(id)
      self.starts[str(int((ids == bos).sum()))] += 1
      if renderer.tokenizer.adds_bos and ids[0] != bos:
        self.unopened.add(id)

  def _items(self, record: Example | Pair, renderer: Renderer) -> Items:
    s = self.settings
    if isinstance(record, Pair):
      return items.tokenize_pairs([record], renderer, s.max_length)
    if s.kind == "example":
      return items.tokenize_examples(
        [record], renderer, s.max_length, too_long=s.too_long, loss_on=s.loss_on
      )
    return prompt_items(record, renderer, s.max_length)

  def repeats(self) -> dict[str, int]:
    """How many rows, and how many prompts, repeat an earlier one."""
    seen = {"rows": self.wholes, "prompts": self.prompts}
    return {name: len(digests) - len(set(digests)) for name, digests in seen.items()}


def prompt_items(prompt: Example, renderer: Renderer, max_length: int) -> Items:
  """A prompt as an item of which nothing is supervised."""
  counts, builder = Counts(), items.Builder()
  ids = items.fit_prompt(prompt.messages, renderer, max_length, counts)
  if ids is not None:
    builder.sequence(prompt.id, ids, [0] * len(ids))
    counts["kept"] += 1
  return builder.build(counts, branched=False)


def split(record: Example | Pair, kind: str) -> tuple[Messages, list[str]]:
  """What is asked, and what is said in answer."""
  if isinstance(record, Pair):
    return record.prompt, [record.chosen, record.rejected]
  if kind == "prompt":
    return record.messages, []
  return record.messages[:-1], [m.content for m in record.messages if m.role == "assistant"]


def _digest(prompt: Messages, answers: Iterable[str] = ()) -> int:
  parts = [part for m in prompt for part in (m.role, m.content.strip())]
  text = "\0".join([*parts, "", *answers])
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _ends(
  tokens: np.ndarray, mask: np.ndarray, branches: np.ndarray, stop_ids: tuple[int, ...]
) -> bool:
  """Whether the last supervised token of every answer's branch is an end token."""
  for branch in np.unique(branches[mask == 1]):
    trained = tokens[(mask == 1) & (branches == branch)]
    if int(trained[-1]) not in stop_ids:
      return False
  return True


def rows_read(look: Look) -> Iterator[Line]:
  part = "" if look.whole else ", the first ones"
  text = f"{look.rows['read']} read{part}, {look.rows['kept']} kept"
  yield Line("rows", text, not look.rows["kept"])
  for name, n in sorted(look.rows.items()):
    if name not in ("read", "kept") and not name.startswith(UNUSED):
      told = name.startswith(("as ", "changed"))  # a choice; the rest is a loss, or looks wrong
      yield Line("rows", f"{name}: {n}", not told)
  unused = sorted(name.removeprefix(UNUSED) for name in look.rows if name.startswith(UNUSED))
  if unused:
    yield Line("unused columns", ", ".join(unused))


def tokens_made(look: Look) -> Iterator[Line]:
  for name, n in sorted(look.tokens.items()):
    yield Line("tokens", f"{name}: {n}", name not in (fitting.SPLIT, fitting.BLOCKS))
  if look.renderer is None:
    return
  if not look.lengths:
    yield Line("tokens", "nothing is left to train on", True)
    return
  total, sizes = sum(look.lengths), np.asarray(look.lengths)
  share = f", {look.supervised} supervised ({look.supervised / total:.0%})"
  text = f"{total} in {len(sizes)} items" + (share if look.settings.kind != "prompt" else "")
  yield Line("tokens", text, look.settings.kind != "prompt" and not look.supervised)
  middle, most = np.percentile(sizes, (50, 95))
  yield Line("length", f"median {middle:.0f}, 95% {most:.0f}, longest {sizes.max()}")
  longest = ", ".join(f"{id} ({n})" for n, id in sorted(look.longest, reverse=True))
  yield Line("longest", longest)


def answers_come_back(look: Look) -> Iterator[Line]:
  if look.answers:
    text = f"{look.lossy.count} of {look.answers} are not what their tokens decode to"
    named = f": {look.lossy}" if look.lossy.count else ""
    yield Line("answers", text + named, bool(look.lossy.count))


def ends_and_starts(look: Look) -> Iterator[Line]:
  n = len(look.lengths)
  if n and look.settings.kind != "prompt":
    text = f"supervised at the end of {n - look.endless.count} of {n}"
    bad = f"; not of {look.endless}" if look.endless.count else ""
    yield Line("end token", text + bad, bool(look.endless.count))
  if look.renderer is not None and n:
    most = max(map(int, look.starts))
    once_a_turn = BOS in look.renderer.template.turn_start
    bad = bool(look.unopened.count) or (most > 1 and not once_a_turn)
    found = ", ".join(f"{n} in {look.starts[n]}" for n in sorted(look.starts, key=int))
    yield Line("BOS", f"{found} items" + (", one a turn by the template" * once_a_turn), bad)


def duplicates(look: Look) -> Iterator[Line]:
  for name, again in look.repeats().items():
    yield Line("duplicates", f"{again} of {len(look.prompts)} {name} repeat another", again > 0)


CHECKS: tuple[Callable[[Look], Iterator[Line]], ...] = (
  rows_read,
  tokens_made,
  answers_come_back,
  ends_and_starts,
  duplicates,
)


def common_prompts(heldout: Look, trained: Iterable[Look]) -> int:
  """How many held-out prompts are trained on."""
  seen = set[int]().union(*(look.prompts for look in trained))
  return sum(digest in seen for digest in heldout.prompts)


def overlap(heldout: Look, trained: Iterable[Look]) -> Line:
  """What `common_prompts` finds, as a line."""
  both = common_prompts(heldout, trained)
  text = f"{both} of {len(heldout.prompts)} held-out prompts are among those trained on"
  return Line("overlap", text, both > 0)


def short(look: Look) -> list[str]:
  """The gist of a look in one line, and one more for each thing that someone should look at."""
  kept, n = look.rows["kept"], len(look.lengths)
  parts = [f"{kept} of {look.rows['read']} rows kept" + ("" if look.whole else " (the first ones)")]
  of = "" if look.taken == kept else f" of the first {look.taken}"
  if n:
    sizes = np.asarray(look.lengths)
    parts.append(f"tokens{of}: median {np.median(sizes):.0f}, longest {sizes.max()}")
    if look.settings.kind != "prompt":
      parts.append(f"{look.supervised / sizes.sum():.0%} supervised")
  if split := look.tokens[fitting.SPLIT]:
    parts.append(f"{split} conversations split into {look.tokens[fitting.BLOCKS]} blocks{of}")
  bad = [line for line in lines(look) if line.bad]
  return [f"{look.path}: {', '.join(parts)}", *(f"  ! {line.name}: {line.text}" for line in bad)]


def lines(look: Look) -> list[Line]:
  """Everything found, in the order of `CHECKS`."""
  return [line for check in CHECKS for line in check(look)]


def figures(look: Look) -> dict[str, Any]:
  """The numbers behind the lines, as JSON can hold them."""
  sizes = np.asarray(look.lengths if len(look.lengths) else [0])
  return {
    "rows": dict(look.rows),
    "tokens": {"total": int(sizes.sum()), "supervised": look.supervised, **look.tokens},
    "length": {"median": float(np.median(sizes)), "longest": int(sizes.max())},
    "answers": {"all": look.answers, "not_decoded": look.lossy.count},
    "without_end_token": look.endless.count,
    "bos": dict(look.starts),
    "duplicates": look.repeats(),
  }
