"""Scorers: `score(prompts, candidates) -> scores`, whoever judges.

A scorer takes n prompts and, for each, its candidate answers, and returns as many scores. The
reward model, the gold scorer of the sandbox and judges all have this signature, so any of them can
drive selection and evaluation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.types import Params
from xwinjax.data import items
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Example
from xwinjax.data.templates import Renderer
from xwinjax.forward.over_items import OnRows, jitted, over_items
from xwinjax.forward.values import branch_logps, branch_rewards
from xwinjax.model.config import LlamaConfig

Scores = list[list[float]]
Scorer = Callable[[Sequence[Example], Sequence[Sequence[str]]], Scores]


def reward_model(
  config: LlamaConfig,
  params: Params,
  renderer: Renderer,
  *,
  batch: BatchConfig,
  branches: int = 8,
  mesh=None,
  on_rows: OnRows | None = None,
) -> Scorer:
  """Scores by a reward model: the head's value at each answer's last token.

  Answers to one prompt share it: `branches` of them lie in a row.
  """
  return _branch_scorer(branch_rewards, config, params, renderer, batch, branches, mesh, on_rows)


def sequence_logps(
  config: LlamaConfig,
  params: Params,
  renderer: Renderer,
  *,
  batch: BatchConfig,
  branches: int = 8,
  mesh=None,
  on_rows: OnRows | None = None,
) -> Scorer:
  """The log-prob (nats) of each answer under a language model, its end token included."""
  return _branch_scorer(branch_logps, config, params, renderer, batch, branches, mesh, on_rows)


def _branch_scorer(values, config, params, renderer, batch, branches, mesh, on_rows) -> Scorer:
  # A row is one prompt with its answers.
  batch = dataclasses.replace(batch, packing=0)
  forward = jitted(values, config, branches=branches)

  def score(prompts: Sequence[Example], candidates: Sequence[Sequence]) -> Scores:
    triples = [(p.id, p.messages, c) for p, c in zip(prompts, candidates, strict=True)]
    made = items.tokenize_answers(triples, renderer, config.max_length, branches)
    scores = [np.full(len(c), np.nan) for c in candidates]
    if not len(made):
      return [[] for _ in candidates]
    for arrays, values_BR in over_items(forward, params, made, batch, mesh, on_rows):
      _store(scores, arrays, values_BR)
    return [s.tolist() for s in scores]

  return score


def _store(scores: list[np.ndarray], arrays: dict[str, np.ndarray], values_BR: np.ndarray) -> None:
  if not np.isfinite(values_BR).all():
    raise UserError("the model gives scores that are not finite; its weights or dtype are at fault")
  for b in np.flatnonzero(arrays["example_weight"][:, 0]):
    record, first = int(arrays["record"][b, 0]), int(arrays["first"][b, 0])
    here = scores[record][first : first + values_BR.shape[1]]
    here[:] = values_BR[b, : len(here)]
