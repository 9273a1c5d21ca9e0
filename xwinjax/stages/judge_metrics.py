"""A judge against people's rankings of the same answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl
from xwinjax.data.records import CandidateSet
from xwinjax.eval import judge_metrics
from xwinjax.stages import common
from xwinjax.stages.config import plumbing
from xwinjax.stages.manifest import run_stage


@dataclasses.dataclass(frozen=True)
class JudgeMetricsConfig:
  """Which scores of a file of candidates are compared with which."""

  candidates: str = plumbing("")  # judged candidates, as the judge stage writes them
  score: str = "self"  # the judge's scores, by their name in `scores`
  people: str = "human"  # people's, higher is better: ranks from the last, votes, stars
  top: float = 5.0  # the best score of the judge's scale
  seed: int = 0  # of the bootstrap


def measure(
  sets: Sequence[CandidateSet], score: str, people: str, *, top: float = 5.0, seed: int = 0
) -> dict[str, Any]:
  """Every figure of one judge; answers that people did not value are left out.

  Raises: UserError where no answer has people's value, or the judge's name does not occur.
  """
  scores, values = [], []
  for s in sets:
    valued = [c for c in s.candidates if people in c.scores]
    scores.append([c.scores.get(score, math.nan) for c in valued])
    values.append([c.scores[people] for c in valued])
  if not any(values):
    names = sorted({name for s in sets for c in s.candidates for name in c.scores})
    raise UserError(
      f"no answer has a score {people!r}; there are {', '.join(names) or 'none'}. "
      "Set config.people to the name of people's"
    )
  return judge_metrics.summary(scores, values, top=top, seed=seed)


def run(config: JudgeMetricsConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes metrics.json."""
  inputs = {"candidates": common.input_file(config.candidates, "candidates")}

  def body() -> dict[str, Any]:
    sets = list(formats.read_candidates(config.candidates))
    if not any(config.score in c.scores for s in sets for c in s.candidates):
      raise UserError(
        f"{config.candidates}: no answer has a score {config.score!r}; run the judge stage first"
      )
    figures = measure(sets, config.score, config.people, top=config.top, seed=config.seed)
    jsonl.write_json(folder / "metrics.json", figures)
    return figures

  return run_stage(folder, "judge_metrics", config, inputs, ("metrics.json",), body, redo=redo)
