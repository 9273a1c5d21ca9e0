"""Votes of people and judges: which of two answers is better, how useful one is, how it is graded.

Readers, chosen by a row's keys:

  xwinjax       rows of `experiments.annotate --export votes.jsonl`
  mt_bench      {"prompt", "model_a", "model_b", "judge", "label" or "winner", "turn"}: a vote a row
  pandalm       {"instruction", "input", "cmp_key", "annotator1", …}: a row with all its votes;
                0 is a tie, 1 and 2 the better response
  alpaca_eval   {"instruction", "generator_1", "generator_2", "annotator", "preference"}: 1 to 2

Malformed rows end in one line naming file and line.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs
from xwinjax.data import jsonl
from xwinjax.data.records import Counts

Row = dict[str, Any]
LABELS = ("A", "tie", "B")
GRADES = ("fail", "pass", "excellent")
NAMES = ("a", "b")
_SWAPPED = {"A": "B", "B": "A", "tie": "tie"}
_ANNOTATOR = re.compile(r"annotator\d+")


@dataclasses.dataclass(frozen=True)
class Vote:
  """What one annotator said of one item: system a's answer to a prompt, against b's or alone."""

  prompt: str  # its text, which is its identity
  annotator: str
  a: str
  b: str = ""  # "" where a stands alone
  label: str = ""  # "A": a is better; "B", "tie", or "" where nobody asked
  turn: int = 1
  shown: str = ""  # "a" or "b" stood first on the page, where that is known
  usefulness: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)  # by system
  grades: dict[str, list[str]] = dataclasses.field(default_factory=dict, hash=False)
  seconds: float | None = None

  @property
  def item(self) -> tuple[str, int, str, str]:
    return self.prompt, self.turn, self.a, self.b

  def swapped(self) -> Vote:
    """The same vote, told with b first."""
    return dataclasses.replace(
      self,
      a=self.b,
      b=self.a,
      label=_SWAPPED.get(self.label, ""),
      shown={"a": "b", "b": "a"}.get(self.shown, ""),
    )


@dataclasses.dataclass
class Ballot:
  """All that was read: votes, those of judges apart, and attention checks."""

  votes: list[Vote] = dataclasses.field(default_factory=list)
  judges: list[Vote] = dataclasses.field(default_factory=list)
  checks: dict[str, list[bool]] = dataclasses.field(default_factory=dict)  # annotator -> passed
  counts: Counts = dataclasses.field(default_factory=Counts)


def _get(row: Row, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
  value = row.get(key, default)
  if not isinstance(value, kind) or isinstance(value, bool):
    content = "nothing" if key not in row else f"{value!r:.40}"
    raise ValueError(f"field {key!r}: found {content}")
  return value


def _label(value: Any, meaning: dict[Any, str]) -> str:
  if isinstance(value, bool) or not isinstance(value, (int, str)) or value not in meaning:
    raise ValueError(f"label {value!r:.40} is not one of {', '.join(map(str, meaning))}")
  return meaning[value]


def _xwinjax(row: Row, ballot: Ballot) -> list[Vote]:
  annotator = _get(row, "annotator", str)
  if "check" in row:
    ballot.checks.setdefault(annotator, []).append(bool(row["check"]))
    return []
  names = {"a": _get(row, "a", str), "b": _get(row, "b", str, "")}
  label = _label(row["label"], {x: x for x in LABELS}) if "label" in row else ""
  usefulness = {names[k]: _in(range(1, 7), v) for k, v in _get(row, "usefulness", dict, {}).items()}
  grades = {names[k]: [_in(GRADES, g) for g in v] for k, v in _get(row, "grades", dict, {}).items()}
  vote = Vote(
    _get(row, "prompt", str),
    annotator,
    **names,
    label=label,
    usefulness=usefulness,
    shown=_in(("", *NAMES), row.get("shown", "")),
    grades=grades,
    seconds=_get(row, "seconds", (int, float, type(None))),
  )
  for judge, scores in _get(row, "scores", dict, {}).items():
    if len(scores) == 2:
      better = "A" if scores[0] > scores[1] else "B" if scores[0] < scores[1] else "tie"
      ballot.judges.append(Vote(vote.prompt, judge, vote.a, vote.b, better))
  return [vote]


def _in(allowed: Sequence[Any], value: Any) -> Any:
  if isinstance(value, bool) or value not in allowed:
    raise ValueError(f"found {value!r:.40}, expected one of {', '.join(map(str, allowed))}")
  return value


def _mt_bench(row: Row, ballot: Ballot) -> list[Vote]:
  judge = row.get("judge")
  if isinstance(judge, list):  # ["gpt-4", "pair-v2"]
    judge = judge[0] if judge else None
  choice = row["label"] if "label" in row else row.get("winner")
  label = _label(
    choice,
    {"A": "A", "B": "B", "tie": "tie", "model_a": "A", "model_b": "B", "tie (inconsistent)": "tie"},
  )
  prompt = row["prompt"] if "prompt" in row else str(row.get("question_id", ""))
  return [
    Vote(
      _get({"prompt": prompt}, "prompt", str),
      _get({"judge": judge}, "judge", str),
      _get(row, "model_a", str),
      _get(row, "model_b", str),
      label,
      _get(row, "turn", int, 1),
    )
  ]


def _pandalm(row: Row, ballot: Ballot) -> list[Vote]:
  prompt, extra = _get(row, "instruction", str), _get(row, "input", str, "")
  systems = _get(row, "cmp_key", str).split("_")
  if len(systems) != 2:
    raise ValueError(f"field 'cmp_key': found {row['cmp_key']!r:.60}, expected two names and one _")
  text = f"{prompt}\n{extra}" if extra.strip() else prompt
  return [
    Vote(text, name, *systems, label=_label(row[name], {0: "tie", 1: "A", 2: "B"}))
    for name in row
    if _ANNOTATOR.fullmatch(name)
  ]


def _alpaca_eval(row: Row, ballot: Ballot) -> list[Vote]:
  preference = row["preference"]
  if preference is None:
    ballot.counts["left out: a judge's reply without a verdict"] += 1
    return []
  number = _get(row, "preference", (int, float))
  if not (number == 0 or 1 <= number <= 2):
    raise ValueError(f"field 'preference': found {number}, expected 1 to 2")
  label = "tie" if number in (0, 1.5) else "A" if number < 1.5 else "B"
  return [
    Vote(
      _get(row, "instruction", str),
      _get(row, "annotator", str),
      _get(row, "generator_1", str),
      _get(row, "generator_2", str),
      label,
    )
  ]


_READERS: dict[str, Callable[[Row, Ballot], list[Vote]]] = {
  "pandalm": _pandalm,
  "mt_bench": _mt_bench,
  "alpaca_eval": _alpaca_eval,
  "xwinjax": _xwinjax,
}


def detect(row: Row) -> str:
  """The format of a row, by its keys. Raises ValueError where none fits."""
  keys = row.keys()
  if "cmp_key" in keys and any(map(_ANNOTATOR.fullmatch, keys)):
    return "pandalm"
  if {"model_a", "model_b", "judge"} <= keys:
    return "mt_bench"
  if {"preference", "generator_1", "generator_2"} <= keys:
    return "alpaca_eval"
  if {"annotator", "a"} <= keys:
    return "xwinjax"
  raise ValueError(f"no votes of a known format ({', '.join(_READERS)}); keys: {', '.join(keys)}")


def collect(
  rows: Iterable[tuple[str, Row]], judges: Sequence[str] = (), ballot: Ballot | None = None
) -> Ballot:
  """Adds (where, row) to a ballot; votes of the annotators named `judges` are kept apart.

  A pair of systems is told in the order in which it is first met. Where an annotator voted twice
  on an item, the first vote counts, and the others are counted as left out.
  """
  ballot = ballot or Ballot()
  read: list[Vote] = []
  for where, row in rows:
    ballot.counts["rows"] += 1
    try:
      read += _READERS[detect(row)](row, ballot)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as e:
      raise UserError(f"{where}: {e}") from None
  votes = ballot.votes + [v for v in read if v.annotator not in judges]
  apart = ballot.judges + [v for v in read if v.annotator in judges]
  order: dict[frozenset[str], str] = {}
  ballot.votes = _once(votes, order, ballot.counts, "left out: second vote on an item")
  ballot.judges = _once(apart, order, Counts(), "")  # a score is told with each vote
  return ballot


def _once(
  votes: Iterable[Vote], order: dict[frozenset[str], str], counts: Counts, reason: str
) -> list[Vote]:
  first_votes: dict[tuple, Vote] = {}
  for vote in votes:
    if vote.b and order.setdefault(frozenset((vote.a, vote.b)), vote.a) != vote.a:
      vote = vote.swapped()
    key = (vote.annotator, *vote.item)
    if key in first_votes:
      counts[reason] += 1
    first_votes.setdefault(key, vote)
  return list(first_votes.values())


def read(path: str | Path, judges: Sequence[str] = (), ballot: Ballot | None = None) -> Ballot:
  """The votes of a study's SQLite file, or of a .json or .jsonl file, perhaps .gz."""
  with jsonl.open_bytes(Path(path)) as file:
    study = Path(path).suffix != ".gz" and file.read(16) == b"SQLite format 3\0"
  if study:
    with needs("annotate"):
      from xwinjax.annotate import export

    return collect(((str(path), row) for row in export.read(path)), judges, ballot)
  rows = ((f"{path}:{line}", row) for line, row in jsonl.read_rows(path))
  return collect(rows, judges, ballot)
