"""What the training stages share: items in, a trained model folder out."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from jax.sharding import Mesh

from xwinjax.checkpoint import peft
from xwinjax.core import host, processes
from xwinjax.core.bounds import Within
from xwinjax.core.errors import UserError
from xwinjax.core.types import Params
from xwinjax.data import batching, pipeline
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.model import parameters
from xwinjax.model.config import LlamaConfig
from xwinjax.sharding.mesh import data_shards, own_shards
from xwinjax.sharding.place import put_batch, put_state
from xwinjax.stages import common
from xwinjax.stages.config import group, identity, plumbing
from xwinjax.stages.lora import LoRAConfig, split, whole
from xwinjax.train import loop, optim, spikes
from xwinjax.train.loop import LoopConfig
from xwinjax.train.objectives import Objective
from xwinjax.train.optim import OptimConfig
from xwinjax.train.step import init_state, make_train_step


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How long and in what steps."""

  epochs: Annotated[float, Within(1e-6, 10_000)] = 1.0  # passes over the data
  optim: OptimConfig = group(OptimConfig)
  batch: BatchConfig = group(BatchConfig)
  loop: LoopConfig = plumbing(LoopConfig)


def check_items(items: Items, model: common.Model) -> None:
  """Refuses, before anything compiles, data that would train on nothing or on the wrong thing."""
  if not len(items):
    raise UserError(common.counted("no row is left to train on", items.counts))
  if (items.targets == 0).any():
    raise UserError(f"{items.ids[int((items.targets == 0).argmax())]}: no supervised token")
  starts = items.tokens[items.offsets[:-1]]
  bos = model.tokenizer.bos_id
  if model.renderer.opens_with_bos() and (starts != bos).any():
    raise UserError(f"{items.ids[int((starts != bos).argmax())]}: does not begin with BOS")
  if bos is None:
    return
  doubled = (items.tokens[:-1] == bos) & (items.tokens[1:] == bos) & (np.diff(items.positions) == 1)
  if doubled.any():
    raise UserError("some row begins with two BOS tokens; does its text already hold the template?")


def curve_ends(path: Path) -> dict[str, Any]:
  """Means over the first and the last tenth of the steps of a metrics.jsonl, and its spikes."""
  rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
  n = max(len(rows) // 10, 1)
  ends: dict[str, Any] = {"loss_spikes": spikes.found(rows)}
  for name in ("loss", "accuracy", "margin"):
    for end, part in (("first", rows[:n]), ("last", rows[-n:])):
      values = [row[name] for row in part if row.get(name) is not None]
      if values:
        ends[f"{name}_{end}"] = round(float(np.mean(values)), 6)
  return ends


def at_epoch_ends(
  on_epoch: Callable[[int, int, Params], None], steps: int
) -> Callable[[int, Any], None]:
  """Calls it where a checkpoint ends an epoch of so many steps, not where a signal made one."""

  def on_checkpoint(step: int, state: Any) -> None:
    if step % steps == 0:
      on_epoch(step // steps, step, state.params)

  return on_checkpoint


def mfu_of(model: LlamaConfig) -> Callable[[float], float] | None:
  """tokens/s -> share of the devices' peak, at 6 operations a parameter and token.

  With adapters at 4: the model's own gradients are not computed. None on devices whose peak is not
  known. Source: PaLM (Chowdhery et al. 2022), appendix B, without attention's scores.
  """
  peak = host.peak_flops(jax.devices()[0].device_kind)
  if peak is None:
    return None
  each = 6 * (parameters.count(model) - model.vocab_size * model.dim * (not model.tied))
  each = each * 4 // 6 if model.lora_rank else each
  return lambda rate: rate * each / (peak * jax.device_count())


def train(
  folder: Path,
  title: str,
  model: common.Model,
  params: Params,
  items: Items,
  objective: Objective,
  config: TrainConfig,
  lora: LoRAConfig | None = None,
  *,
  seed: int,
  mesh: Mesh | None,
  check_first: Callable[[Params, dict[str, Any]], None] | None = None,
  on_checkpoint: Callable[[int, Any], None] | None = None,
  on_epoch: Callable[[int, int, Params], None] | None = None,
) -> tuple[Params, dict[str, Any]]:
  """Trains and returns (parameters, figures). Resumes from `folder` if it was begun there.

  With `lora` adapters train in the place of `params`: what comes back, or is given to
  `on_checkpoint` and `on_epoch`, are the parameters with them merged; `folder`/adapter/ has them
  alone.

  With `on_epoch`, a checkpoint ends every epoch, and it is called with (epoch, step, parameters)
  just before; see `train.loop.fit`.
  """
  check_items(items, model)
  lora = lora or LoRAConfig()
  shards = 1 if mesh is None else data_shards(mesh)
  plan = batching.make_plan(items, config.batch, seed=seed, epochs=config.epochs, shards=shards)
  steps = len(plan.batches)
  rate = optim.schedule(config.optim, steps)
  optimizer = optim.make_optimizer(config.optim, steps)
  common.say(
    f"{title}: {len(items)} items, {int(items.targets.sum())} supervised tokens, {steps} steps, "
    f"row lengths {', '.join(map(str, sorted(plan.heights)))}, "
    f"{plan.fill(items.lengths):.0%} of places filled"
  )
  if check_first is not None and processes.on_lead(lambda: not (folder / "checkpoints").exists()):
    check_first(params, put_batch(batching.build_batch(items, plan, 0), mesh, whole=True))
  settings, share = config.loop, mfu_of(model.config)
  skips = min(settings.stop_after_skips, plan.steps_per_epoch, steps)
  settings = dataclasses.replace(settings, stop_after_skips=skips)
  if on_epoch is not None:
    settings = dataclasses.replace(settings, checkpoint_every=plan.steps_per_epoch)
    on_checkpoint = at_epoch_ends(on_epoch, plan.steps_per_epoch)
  parts = config.batch.microbatches
  trained, frozen = split(lora, model.config, params, seed)

  made = functools.partial(whole, model.config, frozen, mesh)
  stream = functools.partial(
    pipeline.batches, items, plan, shards=None if mesh is None else own_shards(mesh)
  )
  what = {"data": items.fingerprint(), "train": identity(config), "seed": seed}
  state = loop.fit(
    make_train_step(objective, optimizer, microbatches=parts, seed=seed, mesh=mesh, frozen=frozen),
    put_state(init_state(trained, optimizer), mesh),
    lambda start: stream(start=start),
    steps=steps,
    folder=folder,
    identity=what | ({"lora": identity(lora)} if lora.rank else {}),
    title=title,
    mesh=mesh,
    config=settings,
    learning_rate=rate,
    on_checkpoint=on_checkpoint and (lambda step, state: on_checkpoint(step, made(state))),
    mfu_of=share,
  )
  if state.skipped_total:
    common.say(f"{title}: {int(state.skipped_total)} of {steps} updates skipped: not finite")
  if lora.rank:
    peft.save(folder / "adapter", model.config, state.params, base=str(model.folder))
  figures = figures_of(folder / "metrics.jsonl", items, plan, share)
  return made(state).params, figures | {"skipped_updates": int(state.skipped_total)}


def figures_of(
  metrics: Path, items: Items, plan: batching.Plan, share: Callable[[float], float] | None
) -> dict[str, Any]:
  """What a training's manifest says of it; `share` is that of `mfu_of`."""
  speed, ends = processes.on_lead(lambda: (loop.tokens_per_second(metrics), curve_ends(metrics)))
  return {
    **({"mfu": round(share(speed), 4)} if share and speed else {}),
    "items": len(items),
    "supervised_tokens": int(items.targets.sum()),
    "steps": len(plan.batches),
    **ends,
    "fill": round(plan.fill(items.lengths), 4),
    "counts": dict(items.counts),
    "row_lengths": sorted(plan.heights),
  }
