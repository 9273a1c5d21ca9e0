"""A judge against people's rankings of the same answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from xwinjax.core.bounds import Within
from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import jsonl
from xwinjax.data.records import CandidateSet
from xwinjax.eval import judge_metrics
from xwinjax.stages.stage import Context, Stage


@dataclasses.dataclass(frozen=True)
class JudgeMetricsConfig:
  """Which scores of a file of candidates are compared with which."""

  score: str = "self"  # the judge's scores, by their name in `scores`
  people: str = "human"  # people's, higher is better: ranks from the last, votes, stars
  top: Annotated[float, Within(1e-6, 1e6)] = 5.0  # the best score of the judge's scale


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


def make(
  context: Context, config: JudgeMetricsConfig, folder: Path, candidates: Path
) -> dict[str, Any]:
  """Writes metrics.json."""
  sets = list(candidate_files.read(candidates))
  if not any(config.score in c.scores for s in sets for c in s.candidates):
    raise UserError(
      f"{candidates}: no answer has a score {config.score!r}; run the judge stage first"
    )
  figures = measure(sets, config.score, config.people, top=config.top, seed=context.seed)
  jsonl.write_json(folder / "metrics.json", figures)
  return figures


STAGE = Stage(
  "judge_metrics",
  JudgeMetricsConfig,
  make,
  {"candidates": "judged candidates, as the score stage writes them"},
  ("metrics.json",),
  uses=("seed",),
)
