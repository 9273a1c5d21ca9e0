"""The fields of a row, checked: what is wrong is a ValueError that names the field."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

Row = dict[str, Any]
QUESTION = ("instruction", "prompt", "question", "query")
# What others call our columns: taken where a row has all of a line, and nothing of our names.
OTHERS = (
  {"chosen_response": "chosen", "rejected_response": "rejected"},
  {"response_j": "chosen", "response_k": "rejected"},
  {"accepted": "chosen", "rejected": "rejected"},
  {"preferred": "chosen", "dispreferred": "rejected"},
  {"preferred_output": "chosen", "non_preferred_output": "rejected"},
  {"user": "question", "assistant": "answer"},
  {"human": "question", "assistant": "answer"},
  {"human": "question", "gpt": "answer"},
  {"user": "question", "bot": "answer"},
  {"history": "prompt", "human_ref_a": "human_ref_a", "human_ref_b": "human_ref_b"},
  {"context": "prompt", "response1": "response1", "response2": "response2"},
  {"inputs": "question", "targets": "answer"},
  {"instruction": "instruction", "target": "output"},
)
# What a malformed row may raise; readers turn it into a line that names file and row.
MISTAKES = (ValueError, TypeError, KeyError, AttributeError, OverflowError)


class Cells(dict[str, Any]):
  """A row without its nulls, which remembers what was read of it: the rest is unused."""

  def __init__(self, row: Row):
    super().__init__({k: v for k, v in row.items() if v is not None and v == v})  # no NaN either
    self.nulls = [k for k in row if k not in self] if len(self) < len(row) else []
    if names := _ours(tuple(self)):
      cells = [(names.get(k, k), v) for k, v in self.items()]
      self.clear()
      self.update(cells)
    self.full = {k for k, v in self.items() if not is_empty(v)}
    self.used: set[str] = set()
    self.blank_too = False  # whether a column that holds nothing is there, for `there`
    self.memo: dict[Any, Any] = {}  # what was found out by looking

  def get(self, key: str, default: Any = None) -> Any:
    self.used.add(key)
    return super().get(key, default)

  def __getitem__(self, key: str) -> Any:
    self.used.add(key)
    return super().__getitem__(key)

  def peek(self, key: str) -> Any:
    """A value that is looked at, but not read."""
    return super().get(key)

  def filled(self, *keys: str) -> str:
    """The first of these columns that holds something, or ""."""
    for key in keys:
      if key in self.full:
        return key
    return ""

  def there(self, *keys: str) -> str:
    """The first that holds something; where `blank_too`, else the first there is, or ""."""
    found = self.filled(*keys)
    if found or not self.blank_too:
      return found
    return next((key for key in keys if key in self), "")


@functools.lru_cache(maxsize=4096)
def _ours(columns: tuple[str, ...]) -> dict[str, str]:
  """Columns in capitals, and those of OTHERS, by the names they have here."""
  names = {c: c.lower() for c in columns}
  if len(set(names.values())) < len(names):
    names = {c: c for c in columns}
  there = set(names.values())
  for line in OTHERS:
    new = {theirs: ours for theirs, ours in line.items() if theirs != ours}
    if line.keys() <= there and there.isdisjoint(new.values()):
      names = {c: new.get(n, n) for c, n in names.items()}
      break
  there = set(names.values())
  if "input" in there and there.isdisjoint(QUESTION):
    names = {c: "question" if n == "input" else n for c, n in names.items()}
  return {c: n for c, n in names.items() if c != n}


def is_empty(value: Any) -> bool:
  """Whether a cell holds nothing: null, or a blank text or an empty list in its place."""
  if isinstance(value, str):
    return not value or value.isspace()
  return value is None or (isinstance(value, (list, dict)) and not value)


def found(value: Any) -> str:
  """What is there in place of what was expected."""
  return "nothing" if value is None else type(value).__name__


def text(row: Row, key: str, *, optional: bool = False) -> str:
  value = row.get(key)
  if value is None and optional:
    return ""
  if not isinstance(value, str):
    raise ValueError(f"field {key!r}: found {found(value)}, expected text")
  return value


def a_list(row: Row, key: str) -> list:
  value = row.get(key)
  if not isinstance(value, list):
    raise ValueError(f"field {key!r}: found {found(value)}, expected a list")
  return value


def number(row: Row, key: str, default: float = 0.0, *, text: bool = True) -> float:
  """A finite number; people's files have it as a text, too, ours (not `text`) never."""
  value = row.get(key)
  if value is None:
    return default
  wrong = isinstance(value, bool) or (isinstance(value, str) and not text)
  try:
    given = math.nan if wrong else float(value)
  except (TypeError, ValueError):
    given = math.nan
  if not math.isfinite(given):
    raise ValueError(f"field {key!r}: found {value!r:.40}, expected a number")
  return given


def row_id(row: Row, path: Path, line: int) -> str:
  given = row.get("id", row.get("question_id"))
  return str(given) if isinstance(given, (str, int)) else f"{path.name.split('.')[0]}-{line}"


def meta(row: Row) -> dict[str, Any]:
  meta = row.get("meta", {})
  if not isinstance(meta, dict):
    raise ValueError(f"field 'meta': found {type(meta).__name__}, expected an object")
  return meta
