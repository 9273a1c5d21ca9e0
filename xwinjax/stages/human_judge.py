"""People as a judge: what they said in a study of experiments.annotate of the same answers."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs
from xwinjax.data.records import Example, prompt_text
from xwinjax.eval.ballot import NAMES, Vote
from xwinjax.judge.score import Scores
from xwinjax.stages.score import Judge, Opened, Scored
from xwinjax.stages.stage import Context

Two = tuple[str, str, str]  # a prompt, an answer, another


class Said:
  """What people said of answers to a prompt, by their texts."""

  def __init__(self, path: Path):
    """Raises UserError for a file that is no study."""
    with needs("annotate"):
      from xwinjax.annotate import export
      from xwinjax.annotate.store import Store
    self.shares: dict[Two, list[float]] = defaultdict(list)
    self.grades: dict[tuple[str, str], list[int]] = defaultdict(list)
    store = Store(path)
    # Both in the order of the study's votes.
    for row, (_, item, _, _) in zip(export.rows(store), store.votes(), strict=True):
      if "check" in row:
        continue
      prompt = prompt_text(item.prompt)
      texts = [prompt_text(answer.messages) for answer in item.answers]
      for name, text in zip(NAMES, texts, strict=False):
        if name in row.get("usefulness", {}):
          self.grades[prompt, text].append(row["usefulness"][name])
      if "label" in row:
        share = Vote(prompt, row["annotator"], row["a"], row["b"], row["label"]).credit
        self.shares[prompt, texts[0], texts[1]].append(share)
        self.shares[prompt, texts[1], texts[0]].append(1 - share)
    store.close()

  def of(self, prompt: str, answers: Sequence[str]) -> list[float]:
    """Each answer's share of what it won, or its mean grade; NaN where nobody said."""
    won: list[list[float]] = [[] for _ in answers]
    for i, j in itertools.combinations(range(len(answers)), 2):
      if given := self.shares.get((prompt, answers[i], answers[j])):
        share = float(np.mean(given))
        won[i].append(share)
        won[j].append(1 - share)
    if any(won):
      return [float(np.mean(w)) if w else math.nan for w in won]
    return [float(np.mean(g)) if (g := self.grades.get((prompt, a))) else math.nan for a in answers]


def open_judge(context: Context, judge: Judge) -> Opened:
  """People's win shares on just these answers, or mean grades where only those were asked."""
  path = judge.inputs["votes"]
  said = Said(path)

  def scored(
    prompts: Sequence[Example], texts: Sequence[Sequence[str]], folder: Path, title: str
  ) -> Scored:
    asked = [prompt_text(p.messages) for p in prompts]
    scores: Scores = [said.of(p, row) for p, row in zip(asked, texts, strict=True)]
    met = sum(not math.isnan(x) for row in scores for x in row)
    if not met:
      raise UserError(
        f"{path}: holds no vote on any of these answers; the study has to be of this run's, which "
        "the same seed gives again"
      )
    figures: dict[str, Any] = {"answers_with_votes": met}
    return Scored({judge.config.score: scores}, [], figures)

  return scored
