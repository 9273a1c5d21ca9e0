"""How often a judge prefers the better of two answers, by subset.

Layouts, told by a row's keys; every row is one or several pairs of a prompt:

  RewardBench   {"prompt", "chosen", "rejected", "subset"}
  labelled      {"prompt", "response_a", "response_b", "label": "A" or "B"}
  RM-Bench      {"prompt", "chosen": [concise, plain, marked up], "rejected": […], "domain"}; pairs
                of like styles are normal, chosen in a plainer style hard, in a richer one easy
  LLMBar        {"input", "output_1", "output_2", "label": 1 or 2}
  JudgeBench    {"question", "response_A", "response_B", "label": "A>B" or "B>A", "source"}
  Auto-J        {"prompt", "response 1", "response 2", "label": 0 or 1, "scenario"}; no ties (2)
  PandaLM       {"instruction", "input", "response1", "response2", "annotator1", …}; the majority
  any pairs     of docs/data_formats.md (HH, UltraFeedback, …)
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Natural
from xwinjax.core.errors import UserError
from xwinjax.data import fields, formats, jsonl
from xwinjax.data.records import Counts, Example, Message, Messages
from xwinjax.eval import statistics
from xwinjax.stages.score import Judge
from xwinjax.stages.stage import Context, Stage

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RewardBenchConfig:
  """Nothing of its own but how much is read: the judge's settings decide."""

  limit: Natural = 0  # read at most so many rows; 0 reads all


@dataclasses.dataclass(frozen=True)
class Question:
  """One pair, the better answer first."""

  prompt: Messages
  chosen: str
  rejected: str
  subset: str = "all"


def _text(row: Row, key: str) -> str:
  value = row.get(key)
  if not isinstance(value, str):
    found = f"{value!r:.40}" if key in row else "nothing"
    raise ValueError(f"field {key!r}: found {found}, expected a text")
  return value


def _label(row: Row, better: dict[Any, int | None]) -> int | None:
  value = row["label"]
  if isinstance(value, bool) or not isinstance(value, (int, str)) or value not in better:
    raise ValueError(f"field 'label': found {value!r:.40}, expected {', '.join(map(str, better))}")
  return better[value]


def _two(prompt: str, answers: tuple[str, str], better: int | None, subset: Any) -> list[Question]:
  if better is None:
    return []
  messages = (Message("user", prompt),)
  return [Question(messages, answers[better], answers[1 - better], str(subset or "all"))]


def _labelled(row: Row) -> list[Question]:
  answers = _text(row, "response_a"), _text(row, "response_b")
  subset = row.get("subset") or row.get("domain")
  return _two(_text(row, "prompt"), answers, _label(row, {"A": 0, "B": 1}), subset)


def _llmbar(row: Row) -> list[Question]:
  answers = _text(row, "output_1"), _text(row, "output_2")
  return _two(_text(row, "input"), answers, _label(row, {1: 0, 2: 1}), row.get("subset"))


def _judgebench(row: Row) -> list[Question]:
  answers = _text(row, "response_A"), _text(row, "response_B")
  better = _label(row, {"A>B": 0, "B>A": 1})
  return _two(_text(row, "question"), answers, better, row.get("source"))


def _auto_j(row: Row) -> list[Question]:
  answers = _text(row, "response 1"), _text(row, "response 2")
  better = _label(row, {0: 0, 1: 1, 2: None})
  return _two(_text(row, "prompt"), answers, better, row.get("scenario"))


def _pandalm(row: Row) -> list[Question]:
  said = Counter(row[k] for k in row if k.startswith("annotator"))
  (first, n), *rest = said.most_common(2)
  if (rest and rest[0][1] == n) or first not in (1, 2):
    return []
  prompt, extra = _text(row, "instruction"), row.get("input") or ""
  text = f"{prompt}\n{extra}" if extra.strip() else prompt
  return _two(text, (_text(row, "response1"), _text(row, "response2")), first - 1, None)


def _rm_bench(row: Row) -> list[Question]:
  chosen, rejected = row["chosen"], row["rejected"]
  if len(chosen) != 3 or len(rejected) != 3:
    raise ValueError("fields 'chosen' and 'rejected': expected three styles each")
  prompt, domain = (Message("user", _text(row, "prompt")),), row.get("domain", "all")
  kind = lambda i, j: "normal" if i == j else "hard" if i < j else "easy"
  return [
    Question(prompt, chosen[i], rejected[j], f"{domain}/{kind(i, j)}")
    for i in range(3)
    for j in range(3)
  ]


def _any(row: Row) -> list[Question]:
  pair = formats.parse_pair(row)
  return [Question(pair.prompt, pair.chosen, pair.rejected, str(row.get("subset") or "all"))]


LAYOUTS: tuple[tuple[set[str], Callable[[Row], list[Question]]], ...] = (
  ({"prompt", "response_a", "response_b", "label"}, _labelled),
  ({"input", "output_1", "output_2", "label"}, _llmbar),
  ({"question", "response_A", "response_B", "label"}, _judgebench),
  ({"prompt", "response 1", "response 2", "label"}, _auto_j),
  ({"response1", "response2", "annotator1"}, _pandalm),
)


def questions(row: Row) -> list[Question]:
  """The pairs of a row. Raises ValueError and its kin where it is none."""
  for keys, read in LAYOUTS:
    if keys <= row.keys():
      return read(row)
  chosen = row.get("chosen")
  if isinstance(chosen, list) and chosen and all(isinstance(c, str) for c in chosen):
    return _rm_bench(row)
  return _any(row)


def read(path: Path, limit: int, counts: Counts) -> list[Question]:
  """All pairs of a file. Raises UserError by line, and for a file without any."""
  found: list[Question] = []
  for n, (line, row) in enumerate(jsonl.read_rows(path)):
    if limit and n == limit:
      break
    counts["rows"] += 1
    try:
      made = questions(row)
    except fields.MISTAKES as e:
      raise UserError(f"{path}:{line}: {e}") from None
    counts["left out: people's tie"] += not made
    found += made
  if not found:
    raise UserError(f"{path}: no row says which answer is better")
  return found


def accuracy(points: Sequence[float]) -> Row:
  """The mean, with Wilson's interval of as many right answers; ties count half."""
  right = float(np.sum(points))
  return {
    "accuracy": right / len(points),
    "ci": list(statistics.share_interval(round(right), len(points))),
    "pairs": len(points),
  }


def make(
  context: Context, config: RewardBenchConfig, folder: Path, pairs: Path, *, judge: Judge
) -> dict[str, Any]:
  """Writes what the judge gave each pair to judged.jsonl."""
  counts = Counts()
  asked = read(pairs, config.limit, counts)
  examples = [Example(str(i), q.prompt) for i, q in enumerate(asked)]
  # The better answer stands first and last in turn, so that a place that is liked gains nothing.
  order = [(0, 1) if i % 2 == 0 else (1, 0) for i in range(len(asked))]
  texts = [[(q.chosen, q.rejected)[k] for k in o] for q, o in zip(asked, order, strict=True)]
  scored = judge.open(context, judge)(examples, texts, folder / "judge", "judge")
  by_subset: dict[str, list[float]] = defaultdict(list)
  unread, rows = 0, []
  longer = []
  for q, o, given in zip(asked, order, scored.scores[judge.config.score], strict=True):
    good, bad = (given[o.index(k)] for k in (0, 1))
    missing = math.isnan(good) or math.isnan(bad)
    unread += missing
    point = 0.5 if missing or good == bad else float(good > bad)
    by_subset[q.subset].append(point)
    if not missing and good != bad and len(q.chosen) != len(q.rejected):
      longer.append(float((good > bad) == (len(q.chosen) > len(q.rejected))))
    rows.append({"subset": q.subset, "scores": [None if math.isnan(x) else x for x in (good, bad)]})
  jsonl.write_rows(folder / "judged.jsonl", rows)
  subsets = {name: accuracy(points) for name, points in sorted(by_subset.items())}
  every = accuracy([x for points in by_subset.values() for x in points])
  return {
    **every,
    "mean_of_subsets": float(np.mean([s["accuracy"] for s in subsets.values()])),
    "subsets": subsets,
    "unread_share": unread / len(asked),
    "prefers_longer": float(np.mean(longer)) if longer else None,
    "rows": dict(+counts),
    "judge": scored.figures,
  }


STAGE = Stage(
  "reward_bench",
  RewardBenchConfig,
  make,
  {"pairs": "pairs of answers of which one is better: RewardBench, RM-Bench, LLMBar, …"},
  ("judged.jsonl",),
)
