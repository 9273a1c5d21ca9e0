"""Data sets of one or several files: which files, in which order, and what to do about bad rows."""

from __future__ import annotations

import functools
import glob
import itertools
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from xwinjax.core.errors import UserError
from xwinjax.data import fields, jsonl
from xwinjax.data.records import Counts

T = TypeVar("T")
_PLAIN = (".jsonl", ".json", ".ndjson", ".csv", ".tsv")
ENDINGS = (*_PLAIN, ".parquet", ".arrow", *(e + p for e in _PLAIN for p in jsonl.PACKED))
BAD_ROWS = ("stop", "skip")
FOREIGN = (".feather", ".zip", ".xlsx", ".pkl", ".pickle", ".tar", ".yaml", ".yml", ".pt")
SAY_EVERY = 10.0  # seconds
SHOWN = 3  # bad rows that are told by file and line

# What the Hub and `datasets` write beside the rows.
_ABOUT = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\..*")
_SPLIT = re.compile(r"(train|test|valid(?:ation)?|val|dev|eval|held-?out)(?![a-z])", re.IGNORECASE)


class Drop(Exception):
  """A well-formed row of no use; the message is the reason it is counted under."""


def files(spec: str | Path) -> list[Path]:
  """The files of a data set, in a fixed order.

  Args:
    spec: a file; a folder, whose files are taken by name, as those of a pattern are; or several
      of these, parted by commas, in the order given.

  Raises: UserError for what is not there, and for a folder that holds more than one data set:
    several splits, several kinds of files, or a part of its shards.
  """
  text = str(spec)
  path = Path(text)
  if path.is_dir():
    return _folder(path)
  if path.exists():
    if path.suffix in FOREIGN:
      raise UserError(f"{path}: a {path.suffix} file; save its rows as {', '.join(ENDINGS[:3])}")
    return [path]
  if "," in text:
    parts = [files(part.strip()) for part in text.split(",") if part.strip()]
    together = [file for part in parts for file in part]
    twice = next((f for f in together if together.count(f) > 1), None)
    if twice is not None:
      raise UserError(f"{text}: {twice} is named twice")
    return together
  if glob.has_magic(text):
    found = sorted(Path(p) for p in glob.glob(text, recursive=True) if Path(p).is_file())
    if found:
      return found
    raise UserError(f"{text}: no file fits this pattern")
  raise UserError(f"{text}: no such file")


def is_several(spec: str | Path) -> bool:
  """Whether a text is a pattern or a list, rather than the path of one file or folder."""
  return "," in str(spec) or glob.has_magic(str(spec))


def _folder(folder: Path) -> list[Path]:
  """The files of a folder, as the Hub or its cache has them."""
  snapshots = folder / "snapshots"
  if snapshots.is_dir():  # huggingface_hub's cache
    revisions = sorted(p for p in snapshots.iterdir() if p.is_dir())
    if len(revisions) != 1:
      raise UserError(f"{folder}: holds {len(revisions)} snapshots; name one of {snapshots}/…")
    folder = revisions[0]
  every = [
    p
    for p in sorted(folder.rglob("*"))
    if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
  ]
  found = [p for p in every if p.name.endswith(ENDINGS) and p.name not in _ABOUT]
  if not found:
    held = ", ".join(sorted({p.suffix or p.name for p in every})) or "nothing"
    raise UserError(f"{folder}: holds no data files ({held}); expected {', '.join(ENDINGS)}")
  for what, of in (("kinds of files", _ending), ("splits", _split)):
    there = sorted({of(p.relative_to(folder)) for p in found})
    if len(there) > 1:
      names = ", ".join(name or "others" for name in there)
      place, file = found[-1].parent, found[-1].name
      pattern = f"*{of(Path(file))}" if of is _ending else re.split(r"[-.]", file)[0] + "*"
      raise UserError(
        f"{folder}: holds several {what} ({names}); name one by a pattern, such as "
        f"'{place / pattern}'"
      )
  _check_shards(folder, found)
  return found


def _ending(path: Path) -> str:
  return next(e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.endswith(e))


def _split(path: Path) -> str:
  """What a file's name, or else a folder above it, says about train, test, …; the Hub's way."""
  for part in reversed(path.parts):
    shard = _SHARD.fullmatch(part)
    if shard:
      return shard[1]
    named = _SPLIT.match(part)
    if named:
      return named[0].lower()
  return ""


def _check_shards(folder: Path, found: list[Path]) -> None:
  """Raises UserError where a shard of several is missing."""
  shards: dict[tuple[Path, str, str], set[str]] = {}
  for path in found:
    match = _SHARD.fullmatch(path.name)
    if match:
      shards.setdefault((path.parent, match[1], match[3]), set()).add(match[2])
  for (place, name, total), there in shards.items():
    if len(there) != int(total):
      raise UserError(
        f"{place}: holds {len(there)} of {int(total)} shards of {name!r}; fetch the others, or "
        "name those that are wanted by a pattern"
      )


class BadRows:
  """Rows that cannot be used: the first ones by file and line, and a count by reason."""

  def __init__(self, what: str, counts: Counts):
    if what not in BAD_ROWS:
      raise UserError(f"bad_rows {what!r} is not one of {', '.join(BAD_ROWS)}")
    self.skip, self.counts = what == "skip", counts
    self.first: list[tuple[str, str]] = []  # place, what is wrong there
    self.reasons: Counter[str] = Counter()

  def add(self, path: Path, line: int, why: str) -> None:
    why = " ".join(why.split())
    if len(self.first) < SHOWN:
      self.first.append((f"{path}:{line}", why))
    self.reasons[_reason(why)] += 1

  def unreadable(self, path: Path, line: int, why: str) -> None:
    """A line that is no object."""
    self.counts["read"] += 1
    self.add(path, line, why)

  def end(self) -> None:
    """Says what was left out. Raises UserError where bad rows are to stop the run."""
    if not self.reasons:
      return
    if not self.skip:
      raise UserError(f"{self.line()}. Mend, or leave out with bad_rows=skip")
    for reason, count in self.reasons.items():
      self.counts[f"skipped: {reason}"] += count
    print(f"left out: {self.line()}", file=sys.stderr, flush=True)

  def line(self) -> str:
    """The first bad rows, and how many there are of each kind."""
    parts: list[str] = []
    for why, places in itertools.groupby(self.first, key=lambda at: at[1]):
      first, *more = (place for place, _ in places)
      also = f" (also {', '.join(more)})" if more else ""
      parts.append(f"{first}: {why}{also}")
    n = self.reasons.total()
    if len(self.reasons) > 1:
      parts.append(f"{n} bad rows: {_by_reason(self.reasons)}")
    elif n > len(self.first):
      parts.append(f"{n} bad rows")
    return "; ".join(parts)


def _reason(why: str) -> str:
  """What many rows' mistakes have in common: places and values left out."""
  return re.sub(r"\[\d+\]|found '.*?', | at column \d+| \(byte \d+\)", "", why)[:100]


def _by_reason(reasons: Counter[str]) -> str:
  most = reasons.most_common(5)
  rest = reasons.total() - sum(n for _, n in most)
  return ", ".join([f"{reason} {n}" for reason, n in most] + [f"others {rest}"] * bool(rest))


def read(spec: str | Path, bad: BadRows) -> Iterator[tuple[Path, int, dict[str, Any]]]:
  """(file, line, row) of all files; says now and then how far it is."""
  said = time.perf_counter()
  number, every = 0, files(spec)
  for path in every:
    on_bad = functools.partial(bad.unreadable, path)
    for line, row in jsonl.read_rows(path, on_bad, may_be_empty=len(every) > 1):
      number += 1
      if number % 4096 == 0 and time.perf_counter() - said > SAY_EVERY:
        said = time.perf_counter()
        print(f"reading {path}: {number} rows so far", file=sys.stderr, flush=True)
      yield path, line, row
  if not number and not bad.reasons:
    raise UserError(f"{spec}: holds no rows")


def each(
  spec: str | Path,
  counts: Counts,
  parse: Callable[[dict[str, Any], Path, int, Counts], T],
  bad_rows: str = "stop",
) -> Iterator[T]:
  """What `parse(row, file, line, notes)` makes of the rows that are of use.

  Args:
    spec: as `files` takes it.
    counts: receives what was read, kept, changed, dropped and skipped.
    parse: raises Drop for a row of no use, and one of fields.MISTAKES for one that is wrong;
      what it notes is counted of the rows that are kept.
    bad_rows: "stop" refuses a data set with wrong rows, once all of them are known; "skip" leaves
      them out and says so.

  Raises: UserError, one line, with the first wrong rows by file and line and a count by reason.
  """
  bad, notes = BadRows(bad_rows, counts), Counts()
  for path, line, row in read(spec, bad):
    counts["read"] += 1
    if notes:
      notes = Counts()
    try:
      record = parse(row, path, line, notes)
    except Drop as reason:
      counts[f"dropped: {reason}"] += 1
      continue
    except fields.MISTAKES as e:
      bad.add(path, line, str(e))
      continue
    if bad.reasons and not bad.skip:
      continue  # the run ends here; what follows is read for the sake of the line alone
    counts["kept"] += 1
    if notes:
      counts.update(notes)
    yield record
  bad.end()
