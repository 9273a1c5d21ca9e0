"""Training rows: whole steps (collation, forward, backward, clipping, AdamW) over real batches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark import work as works
from benchmark.machine import Company, Compilations, peak_memory, reset_peak_memory
from benchmark.work import Work
from xwinjax.core.types import Params
from xwinjax.data import batching, pipeline
from xwinjax.data.batching import BatchConfig, Plan, PlannedBatch
from xwinjax.data.items import Items
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig
from xwinjax.sharding.place import put_batch
from xwinjax.stages import reference
from xwinjax.train import objectives
from xwinjax.train.optim import OptimConfig, make_optimizer
from xwinjax.train.step import init_state, make_train_step

RATES = {"train_sft": 5e-4, "train_reward": 1e-4, "train_dpo_cached": 5e-5}  # the peer's defaults
CURVE = 0.1  # of them for curves: AdamW's first steps are signs, and a large one magnifies rounding


@dataclasses.dataclass(frozen=True)
class Opened:
  """A model ready to be measured; `params` are never given away."""

  config: LlamaConfig
  params: Params
  tokenizer: Any


@dataclasses.dataclass
class Sample:
  """One timed run of a row."""

  value: float
  seconds: float
  facts: dict[str, Any]


def optimizer_config(name: str, scale: float = 1.0) -> OptimConfig:
  """AdamW as the peer's: constant rate, no warm-up, betas 0.9 and 0.999, clipping at 1."""
  return OptimConfig(lr=scale * RATES[name], schedule="constant", warmup=0.0, beta2=0.999)


def spread(plan: Plan, count: int) -> Plan:
  """`count` of a plan's batches, evenly spread over their row lengths, in the plan's order."""
  if not 0 < count < len(plan.batches):
    return plan
  order = sorted(range(len(plan.batches)), key=lambda i: plan.batches[i].length)
  places = (np.arange(count) + 0.5) * len(order) / count
  chosen = sorted(order[int(p)] for p in places)
  return dataclasses.replace(plan, batches=tuple(plan.batches[i] for i in chosen))


def objective_of(name: str, config: LlamaConfig) -> objectives.Objective:
  return {
    "train_sft": objectives.sft,
    "train_reward": objectives.reward,
    "train_dpo_cached": objectives.dpo,
  }[name](config)


def items_of(name: str, opened: Opened, work: Work) -> Items:
  if name == "train_sft":
    return works.sft_items(works.rows_of(work.sft), opened.tokenizer, work.max_length)
  return works.pair_items(works.rows_of(work.pairs), opened.tokenizer)


class Training:
  """One training row, made ready once and timed as often as asked."""

  def __init__(
    self,
    name: str,
    opened: Opened,
    work: Work,
    batch: BatchConfig,
    steps: int,
    items: Items | None = None,
  ):
    self.name, self.config = name, opened.config
    self.items = items_of(name, opened, work) if items is None else items
    self.reference_s = 0.0  # seconds a pair
    self.compiled = Compilations()
    reset_peak_memory()
    with self.compiled:
      if name == "train_dpo_cached" and "reference" not in self.items.fields:
        self._reference(opened, batch)
      self.plan = spread(batching.make_plan(self.items, batch, seed=0), steps)
      params = opened.params
      if name == "train_reward":
        params = llama.with_reward_head(params)
      optimizer = make_optimizer(optimizer_config(name), len(self.plan.batches))
      self.step = make_train_step(objective_of(name, self.config), optimizer)
      self.state = init_state(jax.tree.map(jnp.copy, params), optimizer)
      self.losses: list[float] = []
      self._warm()
    self.chosen = [i for b in self.plan.batches for row in b.rows for i in row]

  def _reference(self, opened: Opened, batch: BatchConfig) -> None:
    """Log-probs under the reference, as its stage computes them, and the seconds of a pair."""
    run = lambda: reference.reference_logps(opened.config, opened.params, self.items, batch, None)
    run()
    start = time.perf_counter()
    logps = run()
    self.reference_s = (time.perf_counter() - start) / len(self.items)
    self.items = self.items.with_fields(reference=logps)

  def _warm(self) -> None:
    """One step of every shape."""
    first = {b.length: i for i, b in reversed(list(enumerate(self.plan.batches)))}
    for i in first.values():
      arrays = put_batch(batching.build_batch(self.items, self.plan, i), None)
      self.state, _ = self.step(self.state, arrays)
    jax.block_until_ready(self.state)

  def run(self) -> Sample:
    """Times every batch of the plan, from the first one's collation to the last one's update."""
    stream, waited, scalars = pipeline.batches(self.items, self.plan), 0.0, []
    with Company() as company, Compilations() as new:
      start = time.perf_counter()
      for _ in self.plan.batches:
        asked = time.perf_counter()
        batch = next(stream)
        waited += time.perf_counter() - asked
        self.state, metrics = self.step(self.state, put_batch(batch, None))
        scalars.append(metrics["loss"])
      jax.block_until_ready(self.state)
      seconds = time.perf_counter() - start
    self.losses = [float(x) for x in jax.device_get(scalars)]
    count = len(self.chosen)
    targets = int(self.items.targets[self.chosen].sum())
    facts = {
      "others": company.others,
      "compiles_while_timed": new.requests,
      "tokens": self.tokens(),
      "supervised_tokens": targets,
      "steps": len(self.plan.batches),
      "items": count,
      "wait_share": round(waited / seconds, 4),
      "padding_share": round(self.padding(), 4),
      "flops": 3
      * works.flops(self.config, self.items, self.chosen, head=self.name != "train_reward"),
    }
    value = (targets if self.name == "train_sft" else count) / seconds
    return Sample(value, seconds, facts)

  def tokens(self) -> int:
    return int(self.items.lengths[self.chosen].sum())

  def padding(self) -> float:
    return 1 - self.plan.fill(self.items.lengths)

  def charged(self, value: float) -> float:
    """Pairs/s of one epoch that pays for the reference pass."""
    return 1 / (1 / value + self.reference_s)

  def facts(self) -> dict[str, Any]:
    return {
      "compiles": self.compiled.new,
      "compile_seconds": round(self.compiled.seconds, 2),
      "peak_memory": peak_memory(),
      "shapes": sorted({b.length for b in self.plan.batches}),
    }


def in_order(items: Items, batch: int, steps: int) -> Plan:
  """Batches of the first items as they stand, for a loss curve to lay beside another's."""
  steps = min(steps, len(items) // batch)
  length = -(-int(items.lengths[: steps * batch].max()) // 16) * 16
  rows = [tuple((i,) for i in range(k * batch, (k + 1) * batch)) for k in range(steps)]
  planned = tuple(PlannedBatch(length, r) for r in rows)
  return Plan(planned, {length: batch}, {length: batch * length}, 1, 1, steps)


def curve(name: str, opened: Opened, work: Work, batch: int, steps: int) -> dict[str, Any]:
  """Losses of the first steps on rows in the file's order, in f32, with what they were made of."""
  opened = dataclasses.replace(opened, config=opened.config.replace(dtype="float32", operands=""))
  items = items_of(name, opened, work)
  plan = in_order(items, batch, steps)
  chosen = range(len(plan.batches) * batch)
  params = opened.params
  if name == "train_reward":
    params = llama.with_reward_head(params)
  if name == "train_dpo_cached":
    logps = reference.reference_logps(opened.config, params, items, BatchConfig(batch), None)
    items = items.with_fields(reference=logps)
  optimizer = make_optimizer(optimizer_config(name, CURVE), len(plan.batches))
  step = make_train_step(objective_of(name, opened.config), optimizer)
  state, losses = init_state(jax.tree.map(jnp.copy, params), optimizer), []
  for i in range(len(plan.batches)):
    state, scalars = step(state, put_batch(batching.build_batch(items, plan, i), None))
    losses.append(float(scalars["loss"]))
  return {"losses": losses, **_made_of(items, chosen)}


def _made_of(items: Items, chosen: Sequence[int]) -> dict[str, int]:
  """Tokens as separate sequences have them, and supervised ones."""
  shared = 0
  if items.branched:
    shared = sum(
      int((items.branches[items.offsets[i] : items.offsets[i + 1]] == 0).sum()) for i in chosen
    )
  return {
    "tokens": int(items.lengths[chosen].sum()) + shared,
    "targets": int(items.targets[chosen].sum()),
  }
