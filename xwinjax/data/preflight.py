"""A look at data before a run: what is kept, what is lost, and what training would see.

`Look` reads a data set once; each entry of `CHECKS` turns what it saw into lines. A new check is a
function and its place in that list.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import formats, items
from xwinjax.data.items import Items
from xwinjax.data.records import UNUSED, Counts, Example, Messages, Pair
from xwinjax.data.templates import BOS, Renderer

LONGEST = 3  # rows that are named
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
  """How the data is read and cut: as the stage that will train on it does."""

  kind: str  # example, pair or prompt
  format: str = "auto"
  bad_rows: str = "stop"
  max_length: int = 2048
  too_long: str = "turns"
  loss_on: str = "all"


class Look:
  """A data set read once, record by record; in memory is a digest of each prompt and answer."""

  def __init__(self, path: str | Path, settings: Settings, renderer: Renderer):
    if settings.kind not in READERS:
      raise UserError(f"--as={settings.kind}: expected one of {', '.join(READERS)}")
    self.settings, self.renderer = settings, renderer
    self.rows, self.tokens = Counts(), Counts()  # what became of rows, and of tokens
    self.lengths: list[int] = []
    self.longest: list[tuple[int, str]] = []
    self.supervised = self.answers = 0
    self.lossy: list[str] = []  # ids of answers that do not come back from their tokens
    self.endless: list[str] = []  # ids whose last answer carries no end token
    self.starts = Counts()  # BOS tokens in an item
    self.unopened: list[str] = []  # ids that do not begin with BOS
    self.prompts = Counts()
    self.wholes = Counts()
    reader = READERS[settings.kind]
    for record in reader(path, settings.format, self.rows, settings.bad_rows):
      self._record(record)
      self._tokens(record)

  def _record(self, record: Example | Pair) -> None:
    prompt, answers = _split(record, self.settings.kind)
    self.prompts[_digest(prompt)] += 1
    self.wholes[_digest(prompt, answers)] += 1
    self.answers += len(answers)
    self.lossy += [record.id for text in answers if not self.renderer.round_trips(text)]

  def _tokens(self, record: Example | Pair) -> None:
    made = self._items(record)
    self.tokens.update(
      {name: n for name, n in made.counts.items() if name not in ("kept", "turns")}
    )
    if not len(made):
      return
    ids, n = made.tokens, int(made.lengths[0])
    self.lengths.append(n)
    self.supervised += int(made.mask.sum())
    heapq.heappush(self.longest, (n, record.id))
    if len(self.longest) > LONGEST:
      heapq.heappop(self.longest)
    if self.settings.kind != "prompt" and not _ends(made, self.renderer.stop_ids()):
      self.endless.append(record.id)
    bos = self.renderer.tokenizer.bos_id
    self.starts[str(int((ids == bos).sum()))] += 1
    if ids[0] != bos:
      self.unopened.append(record.id)

  def _items(self, record: Example | Pair) -> Items:
    s, renderer = self.settings, self.renderer
    if isinstance(record, Pair):
      return items.tokenize_pairs([record], renderer, s.max_length)
    if s.kind == "example":
      return items.tokenize_examples(
        [record], renderer, s.max_length, too_long=s.too_long, loss_on=s.loss_on
      )
    return prompt_items(record, renderer, s.max_length)


def prompt_items(prompt: Example, renderer: Renderer, max_length: int) -> Items:
  """A prompt as an item of which nothing is supervised."""
  counts, builder = Counts(), items.Builder()
  ids = items.fit_prompt(prompt.messages, renderer, max_length, counts)
  if ids is not None:
    builder.sequence(prompt.id, ids, [0] * len(ids))
    counts["kept"] += 1
  return builder.build(counts, branched=False)


def _split(record: Example | Pair, kind: str) -> tuple[Messages, list[str]]:
  """What is asked, and what is said in answer."""
  if isinstance(record, Pair):
    return record.prompt, [record.chosen, record.rejected]
  if kind == "prompt":
    return record.messages, []
  return record.messages[:-1], [m.content for m in record.messages if m.role == "assistant"]


def _digest(prompt: Messages, answers: Iterable[str] = ()) -> str:
  parts = [part for m in prompt for part in (m.role, m.content.strip())]
  return hashlib.sha256("\0".join([*parts, "", *answers]).encode()).hexdigest()[:24]


def _ends(made: Items, stop_ids: tuple[int, ...]) -> bool:
  """Whether the last supervised token of every answer's branch is an end token."""
  for branch in np.unique(made.branches[made.mask == 1]):
    trained = made.tokens[(made.mask == 1) & (made.branches == branch)]
    if int(trained[-1]) not in stop_ids:
      return False
  return True


def _named(ids: list[str]) -> str:
  return ", ".join(ids[:LONGEST]) + (", …" if len(ids) > LONGEST else "")


def rows_read(look: Look) -> Iterator[Line]:
  yield Line("rows", f"{look.rows['read']} read, {look.rows['kept']} kept", not look.rows["kept"])
  for name, n in sorted(look.rows.items()):
    if name not in ("read", "kept") and not name.startswith(UNUSED):
      told = name.startswith(("as ", "changed"))  # a choice; the rest is a loss, or looks wrong
      yield Line("rows", f"{name}: {n}", not told)
  unused = sorted(name.removeprefix(UNUSED) for name in look.rows if name.startswith(UNUSED))
  if unused:
    yield Line("unused columns", ", ".join(unused))


def tokens_made(look: Look) -> Iterator[Line]:
  for name, n in sorted(look.tokens.items()):
    yield Line("tokens", f"{name}: {n}", True)
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
    text = f"{len(look.lossy)} of {look.answers} are not what their tokens decode to"
    yield Line(
      "answers", text + (f": {_named(look.lossy)}" if look.lossy else ""), bool(look.lossy)
    )


def ends_and_starts(look: Look) -> Iterator[Line]:
  if look.lengths and look.settings.kind != "prompt":
    text = (
      f"supervised at the end of {len(look.lengths) - len(look.endless)} of {len(look.lengths)}"
    )
    bad = f"; not of {_named(look.endless)}" if look.endless else ""
    yield Line("end token", text + bad, bool(look.endless))
  if look.lengths:
    most = max(map(int, look.starts))
    once_a_turn = BOS in look.renderer.template.turn_start
    bad = bool(look.unopened) or (most > 1 and not once_a_turn)
    found = ", ".join(f"{n} in {look.starts[n]}" for n in sorted(look.starts, key=int))
    yield Line("BOS", f"{found} items" + (", one a turn by the template" * once_a_turn), bad)


def duplicates(look: Look) -> Iterator[Line]:
  for name, seen in (("rows", look.wholes), ("prompts", look.prompts)):
    again = sum(n - 1 for n in seen.values())
    yield Line("duplicates", f"{again} of {seen.total()} {name} repeat another", again > 0)


CHECKS: tuple[Callable[[Look], Iterator[Line]], ...] = (
  rows_read,
  tokens_made,
  answers_come_back,
  ends_and_starts,
  duplicates,
)


def overlap(look: Look, heldout: Look) -> Line:
  """How many held-out prompts are trained on."""
  both = sum(n for prompt, n in heldout.prompts.items() if prompt in look.prompts)
  text = f"{both} of {heldout.prompts.total()} held-out prompts are among those trained on"
  return Line("overlap", text, both > 0)


def lines(look: Look) -> list[Line]:
  """Everything found, in the order of `CHECKS`."""
  return [line for check in CHECKS for line in check(look)]


def figures(look: Look) -> dict[str, Any]:
  """The numbers behind the lines, as JSON can hold them."""
  sizes = np.asarray(look.lengths or [0])
  return {
    "rows": dict(look.rows),
    "tokens": {"total": int(sizes.sum()), "supervised": look.supervised, **look.tokens},
    "length": {"median": float(np.median(sizes)), "longest": int(sizes.max())},
    "answers": {"all": look.answers, "not_decoded": len(look.lossy)},
    "without_end_token": len(look.endless),
    "bos": dict(look.starts),
    "duplicates": {
      "rows": sum(n - 1 for n in look.wholes.values()),
      "prompts": sum(n - 1 for n in look.prompts.values()),
    },
  }
