"""Whole data sets of pairs or prompts, what became of their rows, and what they hold."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

from xwinjax.core.errors import UserError
from xwinjax.data import fields, formats, rows
from xwinjax.data.records import Counts, Example, Pair, counted

Say = Callable[[str], None]


def pairs(
  path: str | Path,
  format: str = "auto",
  limit: int = 0,
  bad_rows: str = "stop",
  *,
  say: Say | None = None,
) -> tuple[list[Pair], Counts]:
  """The preference pairs of a data set, and what was read, kept and dropped.

  Args:
    path: as `rows.files` takes it.
    format: a name from data/formats.py, or "auto".
    limit: keep at most so many; 0 keeps all.
    bad_rows: what malformed rows do: "stop", or be left out with "skip".
    say: gets a line with the counts.
  """
  counts = Counts()
  kept = list(itertools.islice(formats.read_pairs(path, format, counts, bad_rows), limit or None))
  if say is not None:
    say(counted(str(path), counts))
  return kept, counts


def prompts(
  path: str | Path,
  format: str = "auto",
  limit: int = 0,
  bad_rows: str = "stop",
  *,
  counts: Counts | None = None,
  say: Say | None = None,
) -> list[Example]:
  """The prompts of a data set, with distinct ids; the arguments are those of `pairs`.

  `counts` receives what was read, kept and dropped.

  Raises: UserError for a data set without any.
  """
  counts = Counts() if counts is None else counts
  kept = list(itertools.islice(formats.read_prompts(path, format, counts, bad_rows), limit or None))
  if say is not None:
    say(counted(str(path), counts))
  if not kept:
    raise UserError(f"{path}: holds no prompts")
  names = Names(p.id for p in kept)
  return [dataclasses.replace(p, id=names.give(p.id)) for p in kept]


def kind_of(path: str | Path, format: str = "auto", bad_rows: str = "stop") -> tuple[str, str]:
  """("pair", "example" or "prompt", the format's name) of a data set's first row that is good.

  Raises: UserError where there is none.
  """
  bad = rows.BadRows(bad_rows, Counts())
  for file, line, row in rows.read(path, bad):
    try:
      name = formats.detect(row) if format == "auto" else format
      if formats.is_pair(name):
        return "pair", name
      last = formats.parse_conversation(row, name)[-1]
      return "prompt" if last.role == "user" else "example", name
    except fields.MISTAKES as e:
      bad.add(file, line, str(e))
      if not bad.skip:
        break
  bad.end()
  raise UserError(f"{path}: no row can be read")


class Names:
  """Makes ids distinct: the second "a" becomes "a#2", unless that is another's."""

  def __init__(self, taken: Iterable[str]):
    self.taken, self.given, self.seen = set(taken), set(), Counts()

  def give(self, id: str) -> str:
    self.seen[id] += 1
    name = id if self.seen[id] == 1 else f"{id}#{self.seen[id]}"
    while name in self.given or (name != id and name in self.taken):
      self.seen[id] += 1
      name = f"{id}#{self.seen[id]}"
    self.given.add(name)
    return name
