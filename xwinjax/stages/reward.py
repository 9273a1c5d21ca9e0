"""A pairwise Bradley-Terry reward model from a language model and preference pairs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.core.types import Params
from xwinjax.data import formats, items, jsonl, parallel
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.data.records import Counts, Pair
from xwinjax.eval import reward_metrics
from xwinjax.forward.over_items import jitted, over_items
from xwinjax.forward.values import pair_rewards
from xwinjax.model import llama
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, Model, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives


@dataclasses.dataclass(frozen=True)
class RewardConfig:
  """A reward model from one model and one file of pairs."""

  model: ModelConfig = group(ModelConfig)
  data: str = plumbing("")  # pairs: any pair format of data/formats.py
  heldout: str = plumbing("")  # pairs on which accuracy is measured
  format: str = "auto"  # a name from there, or auto
  limit: int = 0  # read at most so many rows; 0 reads all
  max_length: int = 2048  # tokens of a prompt with its longer answer
  use_margin: bool = False  # subtract each pair's margin inside the loss
  centring: float = 0.0  # weight of (r_chosen + r_rejected)²
  lm_weight: float = 0.0  # weight of the chosen answers' cross-entropy, as a regulariser
  train: TrainConfig = group(TrainConfig)
  score_batch: BatchConfig = plumbing(BatchConfig)  # rows scored at once when measuring
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


def read_pairs(config, path: str, field: str) -> tuple[list[Pair], Counts]:
  """The pairs of a file; what was dropped is printed."""
  file, counts = common.input_file(path, field), Counts()
  pairs = list(common.take(formats.read_pairs(file, config.format, counts), config.limit))
  common.say(common.counted(str(file), counts))
  return pairs, counts


def pair_items(pairs: list[Pair], model: Model, max_length: int) -> Items:
  length = min(max_length, model.config.max_length)
  tokenize = functools.partial(items.tokenize_pairs, renderer=model.renderer, max_length=length)
  made = parallel.tokenize(tokenize, pairs)
  common.say(common.counted("pairs", made.counts))
  return made


def over_pairs(
  forward: Callable[..., Any],
  params: Params,
  data: Items,
  batch: BatchConfig,
  mesh: Mesh | None,
  title: str,
) -> np.ndarray:
  """forward(params, batch) [B, E, 2] of all pairs, in the order of the data: [n, 2] f32."""
  numbered = data.with_fields(number=np.arange(len(data), dtype=np.int32))
  values = np.full((len(data), 2), np.nan, np.float32)
  with Progress(title, len(data), "pairs") as progress:
    say = lambda answers, tokens: progress.advance(answers // 2, tokens=tokens)
    for arrays, values_BE2 in over_items(forward, params, numbered, batch, mesh, say):
      present = arrays["example_weight"] > 0
      values[arrays["number"][present]] = values_BE2[present]
  if not np.isfinite(values).all():
    raise UserError(f"{title}: the model gives numbers that are not finite")
  return values


def measure(
  config: RewardConfig, model: Model, params, pairs: list[Pair], data: Items, mesh, folder: Path
) -> dict[str, Any]:
  """Accuracy and calibration on held-out pairs; their scores go to heldout_scores.jsonl."""
  rewards = jitted(pair_rewards, model.config)
  scores = over_pairs(rewards, params, data, config.score_batch, mesh, "held-out pairs")
  jsonl.write_rows(
    folder / "heldout_scores.jsonl",
    [
      {"id": p.id, "chosen": round(float(c), 5), "rejected": round(float(r), 5), **p.meta}
      for p, (c, r) in zip(pairs, scores, strict=True)
    ],
  )
  return reward_metrics.summary(scores.tolist(), [p.meta for p in pairs], seed=config.seed)


def heldout_pairs(config: RewardConfig, model: Model) -> tuple[list[Pair], Items]:
  """The held-out pairs that fit, with their tokens: what does not is left out and counted."""
  pairs, _ = read_pairs(config, config.heldout, "heldout")
  numbered = [dataclasses.replace(p, id=str(i)) for i, p in enumerate(pairs)]
  data = pair_items(numbered, model, config.max_length)
  if not len(data):
    raise UserError(common.counted(f"{config.heldout}: no held-out pair is left", data.counts))
  return [pairs[int(i)] for i in data.ids], data


def run(config: RewardConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Trains a reward model; writes model/, metrics.jsonl, heldout_scores.jsonl, manifest.json."""
  inputs = {
    "model": common.input_file(config.model.path, "model.path"),
    "data": common.input_file(config.data, "data"),
    **({"heldout": common.input_file(config.heldout, "heldout")} if config.heldout else {}),
  }

  def body() -> dict[str, Any]:
    mesh = common.make_mesh(config.mesh)
    model = common.open_model(config.model, mesh, reward=False)
    pairs, _ = read_pairs(config, config.data, "data")
    heldout = heldout_pairs(config, model) if config.heldout else None
    params, figures = train(
      folder,
      "reward",
      model,
      llama.with_reward_head(model.params, keep=config.lm_weight > 0),
      pair_items(pairs, model, config.max_length),
      objectives.reward(
        model.config,
        use_margin=config.use_margin,
        centring=config.centring,
        lm_weight=config.lm_weight,
      ),
      config.train,
      seed=config.seed,
      mesh=mesh,
    )
    params = {name: value for name, value in params.items() if name != "head"}
    if heldout is not None:
      figures |= measure(config, model, params, *heldout, mesh, folder)
    common.save_model(folder / "model", model, params)
    return figures

  outputs = ("model", "metrics.jsonl", *(["heldout_scores.jsonl"] if config.heldout else []))
  return run_stage(folder, "reward", config, inputs, outputs, body, redo=redo)
