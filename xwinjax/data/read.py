"""Whole files of pairs or prompts, and what became of their rows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

from xwinjax.core.errors import UserError
from xwinjax.data import formats
from xwinjax.data.records import Counts, Example, Pair, counted

Say = Callable[[str], None]


def pairs(
  path: str | Path, format: str = "auto", limit: int = 0, *, say: Say | None = None
) -> tuple[list[Pair], Counts]:
  """The preference pairs of a file, and what was read, kept and dropped.

  Args:
    format: a name from data/formats.py, or "auto".
    limit: keep at most so many; 0 keeps all.
    say: gets a line with the counts.
  """
  counts = Counts()
  kept = list(itertools.islice(formats.read_pairs(path, format, counts), limit or None))
  if say is not None:
    say(counted(str(path), counts))
  return kept, counts


def prompts(
  path: str | Path, format: str = "auto", limit: int = 0, *, say: Say | None = None
) -> list[Example]:
  """The prompts of a file, with distinct ids; the arguments are those of `pairs`.

  Raises: UserError for a file without any.
  """
  counts = Counts()
  kept = list(itertools.islice(formats.read_prompts(path, format, counts), limit or None))
  if say is not None:
    say(counted(str(path), counts))
  if not kept:
    raise UserError(f"{path}: holds no prompts")
  seen = Counts()
  for i, p in enumerate(kept):
    seen[p.id] += 1
    if seen[p.id] > 1:
      kept[i] = dataclasses.replace(p, id=f"{p.id}#{seen[p.id]}")
  return kept
