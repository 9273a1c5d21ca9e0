"""Tries of a model before a run: is the sampler the trainer's, is DPO's first loss log 2?

Loading it says whether its weights are finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from xwinjax.core.types import Mean, Params
from xwinjax.data import batching
from xwinjax.data.batching import BatchConfig
from xwinjax.data.preflight import Line
from xwinjax.data.records import Example, Pair
from xwinjax.judge.score import sequence_logps
from xwinjax.sample.scheduler import Request
from xwinjax.sharding.place import put_batch
from xwinjax.stages.common import Model
from xwinjax.stages.reference import reference_logps
from xwinjax.stages.reward import pair_items
from xwinjax.stages.sample import GenerateConfig, make_sampler
from xwinjax.train import objectives

BATCH = BatchConfig(batch_size=4, buckets=1)
NEAR = 1e-2  # nats, of a text of a few tokens in float32


def sampler_agrees(model: Model, prompt: Example, tokens: int = 8) -> Line:
  """The log-prob of a few sampled tokens by the sampler's cache, and by the trainer's pass."""
  ids = model.renderer.encode_prompt(prompt.messages)
  sampler = make_sampler(model, GenerateConfig(samples=1, max_new=tokens), 0)
  ((completion,), _) = sampler.sample([Request(prompt.id, ids, 1, tokens)])[0]
  score = sequence_logps(model.config, model.params, model.renderer, batch=BATCH, branches=1)
  answers: Any = [[completion.ids]]  # ids, as sampled: another text might be cut into others
  ours, theirs = float(np.sum(completion.logps)), score([prompt], answers)[0][0]
  text = f"log-prob of {len(completion.ids)} tokens: {ours:.4f} sampling, {theirs:.4f} training"
  return Line("sampler", text, not abs(ours - theirs) < NEAR)


def first_dpo_loss(model: Model, pairs: Sequence[Pair], max_length: int) -> Line:
  """DPO's loss before its first step, against the model's own log-probs: log 2."""
  items = pair_items(list(pairs), model, max_length)
  if not len(items):
    return Line("DPO", "none of the first pairs fits", True)
  logps = reference_logps(model.config, model.params, items, BATCH, None)
  items = items.with_fields(reference=logps)
  plan = batching.make_plan(items, BATCH, seed=0, epochs=1.0)

  def loss(params: Params, batch: dict[str, Any]) -> jax.Array:
    mean, _ = objectives.dpo(model.config)(params, batch, None)
    assert isinstance(mean, Mean)
    return mean.value()

  batch = put_batch(batching.build_batch(items, plan, 0), None)
  value = float(jax.jit(loss)(model.params, batch))
  text = f"first loss {value:.4f}, log 2 is {math.log(2):.4f}"
  return Line("DPO", text, not abs(value - math.log(2)) < 1e-3)
