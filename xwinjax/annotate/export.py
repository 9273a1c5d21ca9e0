"""Votes as rows for people and for xwinjax.eval.votes: a JSON object or a CSV line each.

id, prompt            the prompt's id and its text
a, b                  the systems whose answers were compared; b is missing for a single answer
annotator             who judged
label                 "A" (a is better), "B" or "tie"
shown                 which was on the page as A: "a" or "b"
usefulness            {"a": 5, "b": 2}
grades                {"a": ["pass", "excellent"], …}: each turn
scores                {"rm": [1.3, 0.2]}: what scored candidate files say of a and b
check                 for attention checks: whether it was passed; such rows are no votes
seconds, at, revision how long it took, when, and how often the annotator had voted on it
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xwinjax.annotate.store import Store, readable
from xwinjax.annotate.study import SIDES, Item
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import prompt_text

Row = dict[str, Any]
NAMES = ("a", "b")
COLUMNS = (
  "id",
  "a",
  "b",
  "annotator",
  "label",
  "shown",
  "usefulness_a",
  "usefulness_b",
  "grades_a",
  "grades_b",
  "check",
  "seconds",
  "at",
  "revision",
)


def rows(store: Store) -> list[Row]:
  """Every vote that counts, in terms of systems rather than of places on the page."""
  with readable(store.path):
    return [_row(name, item, swapped, row) for name, item, swapped, row in store.votes()]


def read(path: str | Path) -> list[Row]:
  """The same of a study's file."""
  store = Store(path)
  votes = rows(store)
  store.close()
  return votes


def _row(annotator: str, item: Item, swapped: bool, vote: Any) -> Row:
  choices = json.loads(vote.choices)
  count = len(item.answers)
  # side on the page -> system: swapped, A is the item's second answer
  names = dict(zip(SIDES, NAMES[:count][:: -1 if swapped else 1], strict=False))
  row: Row = {"id": item.prompt_id, "prompt": prompt_text(item.prompt)}
  row |= {name: answer.system for name, answer in zip(NAMES, item.answers, strict=False)}
  row["annotator"] = annotator
  if count == 2:
    row["shown"] = names["A"]
  if "verdict" in choices:
    verdict = choices["verdict"]
    row["label"] = "tie" if verdict == "tie" else names[verdict].upper()
  for side, name in sorted(names.items(), key=lambda pair: pair[1]):
    if f"usefulness {side}" in choices:
      row.setdefault("usefulness", {})[name] = int(choices[f"usefulness {side}"])
    turns = sum(q.startswith(f"grade {side} ") for q in choices)
    if turns:
      grades = [choices[f"grade {side} {n}"] for n in range(1, turns + 1)]
      row.setdefault("grades", {})[name] = grades
  if item.expected is None:
    shared = set.intersection(*(set(a.scores) for a in item.answers))
    if shared:
      row["scores"] = {k: [a.scores[k] for a in item.answers] for k in sorted(shared)}
  else:
    row["check"] = choices == item.expected
  return row | {"seconds": vote.seconds, "at": vote.at, "revision": vote.revision}


def write(store: Store, path: str | Path) -> Path:
  """Writes all votes as .jsonl or .csv, by the file's name."""
  kind = Path(path).suffix
  if kind == ".jsonl":
    return jsonl.write_rows(path, rows(store))
  if kind == ".csv":
    return jsonl.write_atomic(path, csv_text(rows(store)))
  raise UserError(f"--export={path}: expected a name that ends in .jsonl or .csv")


def csv_text(votes: Iterable[Row]) -> str:
  """Without the prompts. A cell that a spreadsheet would compute gets an apostrophe before it."""
  out = io.StringIO()
  writer = csv.DictWriter(out, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
  writer.writeheader()
  for vote in votes:
    row: Any = dict(vote)
    for kind in ("usefulness", "grades"):
      for name, value in vote.get(kind, {}).items():
        row[f"{kind}_{name}"] = " ".join(value) if isinstance(value, list) else value
    writer.writerow(dict(zip(row, map(_plain, row.values()), strict=True)))
  return out.getvalue()


def _plain(value: Any) -> Any:
  return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
