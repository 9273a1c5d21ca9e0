"""Supervised fine-tuning on conversations, and rejection-sampling fine-tuning on chosen answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import batching, formats, items
from xwinjax.data.items import Items
from xwinjax.data.records import Counts
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, Model, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import loop, objectives


@dataclasses.dataclass(frozen=True)
class SFTConfig:
  """SFT of one model on one file."""

  model: ModelConfig = group(ModelConfig)
  data: str = plumbing("")  # conversations: any format of data/formats.py
  format: str = "auto"  # a name from there, or auto
  heldout: str = plumbing("")  # conversations whose loss is measured before and after
  limit: int = 0  # read at most so many rows; 0 reads all
  max_length: int = 2048  # tokens a conversation may have
  too_long: str = "turns"  # turns: leave out its last exchanges; cut: cut its text; drop
  loss_on: str = "all"  # answers: all, or the last
  z_loss: float = 0.0  # weight of logsumexp², 0 in all three papers
  train: TrainConfig = group(TrainConfig)
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


def read_items(config: SFTConfig, path: str, field: str, model: Model) -> Items:
  """The conversations of a file as items."""
  file = common.input_file(path, field)
  counts = Counts()
  examples = common.take(formats.read_examples(file, config.format, counts), config.limit)
  length = min(config.max_length, model.config.max_length)
  made = items.tokenize_examples(
      examples, model.renderer, length, too_long=config.too_long, loss_on=config.loss_on
  )
  total = made.counts + Counts(
      {k: n for k, n in counts.items() if k.startswith(("dropped", "changed"))}
  )
  common.say(common.counted(str(file), total))
  if not len(made):
    raise UserError(common.counted(f"{file}: no row is left", total))
  return made


def mean_nll(model: Model, params, data: Items, batch: batching.BatchConfig, mesh) -> float:
  """Mean cross-entropy of the supervised tokens, in nats."""
  config = dataclasses.replace(batch, microbatches=1)
  shards = 1 if mesh is None else common.meshes.data_shards(mesh)
  plan = batching.make_plan(data, config, seed=0, shards=shards)
  objective = objectives.sft(model.config)
  step = jax.jit(lambda p, b: objective(p, b, None)[0])
  total = weight = 0.0
  for i in range(len(plan.batches)):
    mean = step(params, loop.put_batch(batching.build_batch(data, plan, i), mesh))
    total, weight = total + float(mean.total), weight + float(mean.weight)
  return total / max(weight, 1.0)


def run(
    config: SFTConfig, folder: Path, *, name: str = "sft", redo: bool = False
) -> dict[str, Any]:
  """Trains config.model on config.data; writes model/, metrics.jsonl and manifest.json."""
  inputs = {
      "model": common.input_file(config.model.path, "model.path"),
      "data": common.input_file(config.data, "data"),
  }
  if config.heldout:
    inputs["heldout"] = common.input_file(config.heldout, "heldout")

  def body() -> dict[str, Any]:
    mesh = common.make_mesh(config.mesh)
    model = common.open_model(config.model, mesh, reward=False)
    data = read_items(config, config.data, "data", model)
    heldout = read_items(config, config.heldout, "heldout", model) if config.heldout else None
    before = {}
    if heldout is not None:
      before["heldout_nll_before"] = mean_nll(
          model, model.params, heldout, config.train.batch, mesh
      )
    params, figures = train(
        folder, name, model, model.params, data,
        objectives.sft(model.config, z_loss=config.z_loss), config.train,
        seed=config.seed, mesh=mesh,
    )  # fmt: skip
    figures |= before
    if heldout is not None:
      figures["heldout_nll"] = mean_nll(model, params, heldout, config.train.batch, mesh)
    common.save_model(folder / "model", model, params)
    return {
        k: round(v, 6) if isinstance(v, (float, np.floating)) else v for k, v in figures.items()
    }

  return run_stage(folder, name, config, inputs, ("model", "metrics.jsonl"), body, redo=redo)
