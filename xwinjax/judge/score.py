"""Scorers: `score(prompts, candidates) -> scores`, whoever judges.

A scorer takes n prompts and, for each, its candidate answers, and returns as many scores. The
reward model, the gold scorer of the sandbox and judges all have this signature, so any of them can
drive selection and evaluation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.types import Batch, Params
from xwinjax.data import batching, items
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Example
from xwinjax.data.templates import Renderer
from xwinjax.losses import logprobs
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig
from xwinjax.sharding.mesh import data_shards
from xwinjax.train import loop, objectives

Scores = list[list[float]]
Scorer = Callable[[Sequence[Example], Sequence[Sequence[str]]], Scores]
OnRows = Callable[[int, int], None]  # (answers scored, tokens read) since the last call


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
  return _branch_scorer(_rewards, config, params, renderer, batch, branches, mesh, on_rows)


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
  return _branch_scorer(_logps, config, params, renderer, batch, branches, mesh, on_rows)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _rewards(config: LlamaConfig, branches: int, params: Params, arrays: Batch) -> jax.Array:
  rewards_BT = llama.reward(params, objectives.hidden_states(config, params, arrays, None))
  return logprobs.last_of_branch(rewards_BT, arrays["segments"], 1, branches)[:, 0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _logps(config: LlamaConfig, branches: int, params: Params, arrays: Batch) -> jax.Array:
  logps_BT, _, _ = objectives.token_logps(config, params, arrays)
  return logprobs.branch_sums(logps_BT, arrays["segments"], 1, branches)[:, 0]


def _branch_scorer(values, config, params, renderer, batch, branches, mesh, on_rows) -> Scorer:

  def score(prompts: Sequence[Example], candidates: Sequence[Sequence]) -> Scores:
    triples = [(p.id, p.messages, c) for p, c in zip(prompts, candidates, strict=True)]
    made = items.tokenize_answers(triples, renderer, config.max_length, branches)
    scores = [np.full(len(c), np.nan) for c in candidates]
    if not len(made):
      return [[] for _ in candidates]
    shards = 1 if mesh is None else data_shards(mesh)
    # A row is one prompt with its answers, and nothing is kept for a backward pass.
    plan = batching.make_plan(
      made, dataclasses.replace(batch, packing=0, microbatches=1), seed=0, shards=shards
    )
    waiting: list[tuple[dict[str, np.ndarray], jax.Array]] = []
    for i in range(len(plan.batches)):
      arrays = batching.build_batch(made, plan, i)
      waiting.append((arrays, values(config, branches, params, loop.put_batch(arrays, mesh))))
      if len(waiting) > 1:  # read while the next batch runs
        _store(scores, *waiting.pop(0), branches)
      if on_rows is not None:
        answers = sum(
          int(made.branches[made.offsets[k + 1] - 1]) for row in plan.batches[i].rows for k in row
        )
        on_rows(answers, int((arrays["segments"] > 0).sum()))
    _store(scores, *waiting.pop(), branches)
    return [s.tolist() for s in scores]

  return score


def _store(scores: list[np.ndarray], arrays: dict, values, branches: int) -> None:
  values = np.asarray(values)
  if not np.isfinite(values).all():
    raise UserError("the model gives scores that are not finite; its weights or dtype are at fault")
  for b in np.flatnonzero(arrays["pair_weight"][:, 0]):
    record, first = int(arrays["record"][b, 0]), int(arrays["first"][b, 0])
    here = scores[record][first : first + branches]
    here[:] = values[b, : len(here)]
