"""The gold scorer where stages take a judge or a grader; they know nothing of the sandbox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xwinjax.data.records import Example
from xwinjax.judge.score import OnRows, Scorer, Scores
from xwinjax.sandbox import dialogues, gold
from xwinjax.sandbox.world import Task, World
from xwinjax.stages.score import Judge, Opened, by_scorer
from xwinjax.stages.stage import Context


def gold_scores(world: World, prompts: Sequence[Example], texts: Sequence[Sequence[str]]) -> Scores:
  """Gold scores; missing (NaN) for prompts that are not known to be the world's."""
  known = [i for i, p in enumerate(prompts) if "kind" in p.meta]
  scores: Scores = [[math.nan] * len(row) for row in texts]
  rows = gold.scorer(world)([prompts[i] for i in known], [texts[i] for i in known])
  for i, row in zip(known, rows, strict=True):
    scores[i] = row
  return scores


def open_judge(context: Context, judge: Judge) -> Opened:
  """The judge `gold`."""
  world = World.load(judge.inputs["gold"])

  def scorer_of(on_rows: OnRows) -> Scorer:
    def score(prompts: Sequence[Example], texts: Sequence[Sequence[str]]) -> Scores:
      scores = gold_scores(world, prompts, texts)
      on_rows(sum(map(len, texts)), 0)
      return scores

    return score

  return by_scorer(judge.config.score, scorer_of)


def gold_judge(
  path: Path, prompts: Sequence[Example], texts: Sequence[Sequence[str]]
) -> tuple[Scores, dict[str, Any]]:
  """(gold scores, further figures) for the evaluate stage.

  Raises: UserError for prompts that are not the world's.
  """
  world = World.load(path)
  scores = gold.scorer(world)(prompts, texts)
  return scores, {"hallucination": gold.hallucination(world, prompts, texts)}


def grader(path: Path, meta: dict[str, Any], replies: Sequence[str]) -> list[str]:
  """The grade of each reply of one dialogue, for the dialogues stage."""
  world = World.load(path)
  tasks = [Task.from_meta(m) for m in meta.get("tasks", ())]
  return [dialogues.grade(world, t, r) for t, r in zip(tasks, replies, strict=False)]
