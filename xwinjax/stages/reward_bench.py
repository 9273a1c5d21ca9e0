"""How often a judge prefers the better of two answers or the best of n, by subset.

Layouts, told by a row's keys; every row is one or several pairs, or sets of n, of a prompt:

  RewardBench   {"prompt", "chosen", "rejected", "subset"}
  labelled      {"prompt", "response_a", "response_b", "label": "A" or "B"}
  RM-Bench      {"prompt", "chosen": [concise, plain, marked up], "rejected": […], "domain"}; pairs
                of like styles are normal, chosen in a plainer style hard, in a richer one easy
  LLMBar        {"input", "output_1", "output_2", "label": 1 or 2}
  JudgeBench    {"question", "response_A", "response_B", "label": "A>B" or "B>A", "source"}
  Auto-J        {"prompt", "response 1", "response 2", "label": 0 or 1, "scenario"}; no ties (2)
  PandaLM       {"instruction", "input", "response1", "response2", "annotator1", …}; the majority
  RewardBench 2 {"prompt", "chosen": [text, …], "rejected": [text, …], "subset"}; each chosen one
                has to be the best of itself and all rejected ones
  RMB           {"conversation_input", "bon_best": {"answer"}, "loser_list": [{"answer"}, …]}
  multiwise     {"prompt", "candidates": [{"text", "scores"}, …]}: the best by config.truth against
                all others
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
from xwinjax.data import candidates, fields, formats, jsonl, turns
from xwinjax.data.records import Counts, Example, Message, Messages
from xwinjax.eval import reward_metrics
from xwinjax.stages.config import later
from xwinjax.stages.score import Judge
from xwinjax.stages.stage import Context, Stage

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RewardBenchConfig:
  """Nothing of its own but how much is read: the judge's settings decide."""

  limit: Natural = 0  # read at most so many rows; 0 reads all
  truth: str = later("gold")  # of candidates: the scores that say which is the best


@dataclasses.dataclass(frozen=True)
class Question:
  """The best of two answers or more, and the others."""

  prompt: Messages
  chosen: str
  rejected: tuple[str, ...]
  subset: str = "all"

  @property
  def answers(self) -> tuple[str, ...]:
    return (self.chosen, *self.rejected)


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
  return [Question(messages, answers[better], (answers[1 - better],), str(subset or "all"))]


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
  prompt, domain = (Message("user", _text(row, "prompt")),), row.get("domain", "all")
  kind = lambda i, j: "normal" if i == j else "hard" if i < j else "easy"
  return [
    Question(prompt, chosen[i], (rejected[j],), f"{domain}/{kind(i, j)}")
    for i in range(3)
    for j in range(3)
  ]


def _many(row: Row) -> list[Question]:
  chosen, rejected = (fields.a_list(row, key) for key in ("chosen", "rejected"))
  if not rejected or not all(isinstance(text, str) for text in (*chosen, *rejected)):
    raise ValueError("fields 'chosen' and 'rejected': expected lists of texts, not empty")
  prompt, subset = (Message("user", _text(row, "prompt")),), str(row.get("subset") or "all")
  return [Question(prompt, text, tuple(rejected), subset) for text in chosen]


def _rmb(row: Row) -> list[Question]:
  prompt = turns.prompt_of(row["conversation_input"], "conversation_input", Counts())
  others = tuple(_text(other, "answer") for other in row["loser_list"])
  subset = str(row.get("category_path") or "all")
  return [Question(prompt, _text(row["bon_best"], "answer"), others, subset)]


def _multiwise(row: Row, truth: str) -> list[Question]:
  made = candidates.parse(row, Path(), 0)
  if any(truth not in c.scores for c in made.candidates):
    raise ValueError(f"a candidate has no score {truth!r}; config.truth names the one that counts")
  order = sorted({c.text: c for c in made.candidates}.values(), key=lambda c: -c.scores[truth])
  if len(order) < 2 or order[0].scores[truth] == order[1].scores[truth]:
    return []
  others = tuple(c.text for c in order[1:])
  return [Question(made.prompt, order[0].text, others, str(made.meta.get("subset") or "all"))]


def _any(row: Row) -> list[Question]:
  pair = formats.parse_pair(row)
  return [Question(pair.prompt, pair.chosen, (pair.rejected,), str(row.get("subset") or "all"))]


LAYOUTS: tuple[tuple[set[str], Callable[[Row], list[Question]]], ...] = (
  ({"prompt", "response_a", "response_b", "label"}, _labelled),
  ({"input", "output_1", "output_2", "label"}, _llmbar),
  ({"question", "response_A", "response_B", "label"}, _judgebench),
  ({"prompt", "response 1", "response 2", "label"}, _auto_j),
  ({"response1", "response2", "annotator1"}, _pandalm),
  ({"conversation_input", "bon_best", "loser_list"}, _rmb),
)


def questions(row: Row, truth: str = "gold") -> list[Question]:
  """The pairs, or sets of n, of a row. Raises ValueError and its kin where it is none."""
  for keys, read in LAYOUTS:
    if keys <= row.keys():
      return read(row)
  if {"prompt", "candidates"} <= row.keys():
    return _multiwise(row, truth)
  chosen, rejected = row.get("chosen"), row.get("rejected")
  if isinstance(chosen, list) and chosen and all(isinstance(c, str) for c in chosen):
    styles = len(chosen) == 3 and isinstance(rejected, list) and len(rejected) == 3
    # RewardBench 2 counts its answers; its ties may have three of each.
    return _rm_bench(row) if styles and "num_correct" not in row else _many(row)
  return _any(row)


def read(path: Path, limit: int, counts: Counts, truth: str = "gold") -> list[Question]:
  """All questions of a file. Raises UserError by line, and for a file without any."""
  found: list[Question] = []
  for n, (line, row) in enumerate(jsonl.read_rows(path)):
    if limit and n == limit:
      break
    counts["rows"] += 1
    try:
      made = questions(row, truth)
    except fields.MISTAKES as e:
      raise UserError(f"{path}:{line}: {e}") from None
    counts["left out: a tie"] += not made
    found += made
  if not found:
    raise UserError(f"{path}: no row says which answer is better")
  return found


def point(scores: Sequence[float]) -> float:
  """What a judge's scores are worth, the best answer's first: 1, or a share where it ties.

  Without a score of every answer it is what chance would give.

  >>> point([2, 1, 0]), point([1, 1, 0]), point([0, 1, 1]), point([1, float("nan")])
  (1.0, 0.5, 0.0, 0.5)
  """
  if any(map(math.isnan, scores)):
    return 1 / len(scores)
  best = max(scores)
  return (scores[0] == best) / list(scores).count(best)


def make(
  context: Context, config: RewardBenchConfig, folder: Path, pairs: Path, *, judge: Judge
) -> dict[str, Any]:
  """Writes what the judge gave each pair to judged.jsonl."""
  counts = Counts()
  asked = read(pairs, config.limit, counts, config.truth)
  examples = [Example(str(i), q.prompt) for i, q in enumerate(asked)]
  # The best answer stands in each place in turn, so that a place that is liked gains nothing.
  places = [i % len(q.answers) for i, q in enumerate(asked)]
  texts = [
    [*q.rejected[:at], q.chosen, *q.rejected[at:]] for q, at in zip(asked, places, strict=True)
  ]
  scored = judge.open(context, judge)(examples, texts, folder / "judge", "judge")
  by_subset: dict[str, list[float]] = defaultdict(list)
  unread, longer, rows = 0, [], []
  for q, at, given in zip(asked, places, scored.scores[judge.config.score], strict=True):
    good, others = given[at], [*given[:at], *given[at + 1 :]]
    by_subset[q.subset].append(point([good, *others]))
    unread += any(map(math.isnan, given))
    for bad, text in zip(others, q.rejected, strict=True):
      known = not (math.isnan(good) or math.isnan(bad))
      if known and good != bad and len(q.chosen) != len(text):
        longer.append(float((good > bad) == (len(q.chosen) > len(text))))
    scores = [None if math.isnan(x) else x for x in (good, *others)]
    rows.append({"subset": q.subset, "scores": scores})
  jsonl.write_rows(folder / "judged.jsonl", rows)
  subsets = {name: reward_metrics.accuracy(points) for name, points in sorted(by_subset.items())}
  every = reward_metrics.accuracy([x for points in by_subset.values() for x in points])
  return {
    **every,
    "chance": float(np.mean([1 / len(q.answers) for q in asked])),
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
  {"pairs": "answers of which one is better, two or n: RewardBench, RM-Bench, RMB, candidates, …"},
  ("judged.jsonl",),
)
