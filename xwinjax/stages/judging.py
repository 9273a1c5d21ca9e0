"""What a model is worth as a judge, and what it thinks of its own answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Natural
from xwinjax.core.errors import UserError
from xwinjax.data import candidates
from xwinjax.data.records import CandidateSet
from xwinjax.eval import judge_metrics, statistics
from xwinjax.stages.judge_metrics import measure
from xwinjax.stages.score import Judge, check_writes, get_prompt, judge_sets
from xwinjax.stages.stage import Context, Stage


@dataclasses.dataclass(frozen=True)
class JudgingConfig:
  """One model as judge: of answers that people have valued, and of its own."""

  mode: str = "both"  # how it scores: sampled, expected, both
  people: str = "human"  # the name of people's values
  own_answers: Natural = 2  # of each prompt are judged by the model itself, and by the fixed model


def of_people(
  context: Context, config: JudgingConfig, mine: Judge, judged: Path, folder: Path
) -> dict[str, Any]:
  """The judge against people, written and by expected score; writes judged.jsonl."""
  sets = list(candidates.read(judged))
  sets, _, figures = judge_sets(context, mine, sets, folder / "people", "judge people's")
  candidates.write(folder / "judged.jsonl", sets)
  names = {"written": "self", "expected": "self_expected"}
  if mine.config.mode != "both":
    names = {"expected" if mine.config.mode == "expected" else "written": "self"}
  high = get_prompt(mine.config).high
  return figures | {
    how: measure(sets, name, config.people, top=high, seed=context.seed)
    for how, name in names.items()
  }


def own_sets(config: JudgingConfig, own: Path) -> list[CandidateSet]:
  return [
    dataclasses.replace(s, candidates=s.candidates[: config.own_answers])
    for s in candidates.read(own)
  ]


def figures_of_own(sets: Sequence[CandidateSet], seed: int) -> dict[str, Any]:
  """Mean self-score with its interval, and how far it lies above gold where there is gold."""
  rows = [[c.scores["self"] for c in s.candidates if "self" in c.scores] for s in sets]
  means = np.array([np.mean(r) for r in rows if r])
  figures: dict[str, Any] = {
    "answers": sum(len(s.candidates) for s in sets),
    "judged": sum(map(len, rows)),
    "self_mean": float(means.mean()) if len(means) else None,
    "self_ci": list(statistics.bootstrap(means, seed=seed)) if len(means) else None,
  }
  both = [[c for c in s.candidates if {"self", "gold"} <= set(c.scores)] for s in sets]
  both = [candidates for candidates in both if candidates]
  if both:
    selfs, golds = ([[c.scores[name] for c in cs] for cs in both] for name in ("self", "gold"))
    figures["inflation"] = judge_metrics.inflation(selfs, golds, seed=seed)
    figures["against_gold"] = judge_metrics.summary(selfs, golds, seed=seed)
  return figures


def check(config: JudgingConfig, *, judged=None, own=None, **others) -> None:
  if judged is None and own is None:
    raise UserError("config.judged and config.own are empty; there is nothing to judge")


def make(
  context: Context,
  config: JudgingConfig,
  folder: Path,
  judged: Path | None = None,
  own: Path | None = None,
  fixed: Path | None = None,
  *,
  judge: Judge,
) -> dict[str, Any]:
  """Writes judged.jsonl and own.jsonl: the candidates with this judge's scores."""
  check_writes(judge)
  mine = judge.but(name="", mode=config.mode)
  figures: dict[str, Any] = {}
  if judged is not None:
    figures["people"] = of_people(context, config, mine, judged, folder)
  if own is not None:
    sampled = mine.but(mode="sampled") if mine.config.mode == "both" else mine
    sets, _, how = judge_sets(
      context, sampled, own_sets(config, own), folder / "own", "judge its own"
    )
    if fixed is not None:
      other = sampled.but(inputs={"model": fixed}, name="fixed")
      sets, _, _ = judge_sets(context, other, sets, folder / "fixed", "judge by the fixed model")
    candidates.write(folder / "own.jsonl", sets)
    figures["own"] = how | figures_of_own(sets, context.seed)
  return figures


STAGE = Stage(
  "judging",
  JudgingConfig,
  make,
  {
    "judged?": "candidates with people's values",
    "own?": "candidates.jsonl of this model's evaluation",
    "fixed?": "a language model that judges the model's own answers too, the same for all",
  },
  ("judged.jsonl?", "own.jsonl?"),
  check=check,
)
