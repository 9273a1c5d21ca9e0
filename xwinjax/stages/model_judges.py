"""Judges that score without a word: a reward model, and a language model's log-probs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xwinjax.data.batching import BatchConfig
from xwinjax.judge import score as scoring
from xwinjax.judge.score import OnRows, Scorer
from xwinjax.stages import common
from xwinjax.stages.score import Judge, Opened, by_scorer
from xwinjax.stages.stage import Context, open_model


def scorer_of(
  context: Context,
  path: Path,
  *,
  reward: bool,
  batch: BatchConfig,
  branches: int,
  template: str = "",
) -> Callable[[OnRows], Scorer]:
  """on_rows -> the scorer of a model other than the one at work: its own template, no dropout."""
  model = open_model(context, path, reward=reward, template=template, dropout=(0.0, 0.0))
  mesh = common.make_mesh(context.mesh)
  kind: Any = scoring.reward_model if reward else scoring.sequence_logps
  return lambda on_rows: kind(
    model.config,
    model.params,
    model.renderer,
    batch=batch,
    branches=branches,
    mesh=mesh,
    on_rows=on_rows,
  )


def _open(context: Context, judge: Judge, path: Path, reward: bool) -> Opened:
  c = judge.config
  made = scorer_of(
    context, path, reward=reward, batch=c.batch, branches=c.branches, template=c.template
  )
  return by_scorer(c.score, made)


def open_reward(context: Context, judge: Judge) -> Opened:
  """The reward model's value of each answer."""
  return _open(context, judge, judge.inputs["reward"], True)


def open_logps(context: Context, judge: Judge) -> Opened:
  """The log-prob (nats) of each answer's text under the model, its end token included."""
  return _open(context, judge, judge.inputs["model"], False)
