"""A pairwise Bradley-Terry reward model from a language model and preference pairs."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import batching, formats, items, jsonl, parallel
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.data.records import Counts, Pair
from xwinjax.eval import reward_metrics
from xwinjax.model import llama
from xwinjax.sharding.mesh import data_shards
from xwinjax.stages import common
from xwinjax.stages.common import Model
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.stage import Context, Stage, open_model
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import loop, objectives


@dataclasses.dataclass(frozen=True)
class RewardConfig:
  """A reward model from one model and one file of pairs."""

  format: str = "auto"  # a name from data/formats.py, or auto
  limit: int = 0  # read at most so many rows; 0 reads all
  max_length: int = 2048  # tokens of a prompt with its longer answer
  use_margin: bool = False  # subtract each pair's margin inside the loss
  centring: float = 0.0  # weight of (r_chosen + r_rejected)²
  lm_weight: float = 0.0  # weight of the chosen answers' cross-entropy, as a regulariser
  train: TrainConfig = group(TrainConfig)
  score_batch: BatchConfig = plumbing(BatchConfig)  # rows scored at once when measuring


def read_pairs(config, file: Path) -> list[Pair]:
  """The pairs of a file; what was dropped is said."""
  counts = Counts()
  pairs = list(common.take(formats.read_pairs(file, config.format, counts), config.limit))
  common.say(common.counted(str(file), counts))
  return pairs


def pair_items(pairs: list[Pair], model: Model, max_length: int) -> Items:
  length = min(max_length, model.config.max_length)
  tokenize = functools.partial(items.tokenize_pairs, renderer=model.renderer, max_length=length)
  made = parallel.tokenize(tokenize, pairs)
  common.say(common.counted("pairs", made.counts))
  return made


def over_pairs(values, params, data: Items, batch: BatchConfig, mesh, title: str) -> np.ndarray:
  """values(params, batch) [B, E, 2] of all pairs, in the order of the data: [n, 2] f32."""
  shards = 1 if mesh is None else data_shards(mesh)
  numbered = data.with_fields(number=np.arange(len(data), dtype=np.int32))
  plan = batching.make_plan(
    numbered, dataclasses.replace(batch, microbatches=1), seed=0, shards=shards
  )
  forward = jax.jit(values)
  found = np.full((len(data), 2), np.nan, np.float32)
  with Progress(title, len(data), "pairs") as progress:
    for i in range(len(plan.batches)):
      arrays = batching.build_batch(numbered, plan, i)
      got = np.asarray(forward(params, loop.put_batch(arrays, mesh)))
      present = arrays["pair_weight"] > 0
      found[arrays["number"][present]] = got[present]
      progress.advance(int(present.sum()), tokens=int((arrays["segments"] > 0).sum()))
  if not np.isfinite(found).all():
    raise UserError(f"{title}: the model gives numbers that are not finite")
  return found


def measure(
  context: Context,
  config: RewardConfig,
  model: Model,
  params,
  pairs: list[Pair],
  data: Items,
  folder: Path,
) -> dict[str, Any]:
  """Accuracy and calibration on held-out pairs; their scores go to heldout_scores.jsonl."""

  def rewards(params, batch):
    hidden_BTD = objectives.hidden_states(model.config, params, batch, None)
    return objectives.pair_rewards(model.config, params, hidden_BTD, batch)

  scores = over_pairs(
    rewards, params, data, config.score_batch, common.make_mesh(context.mesh), "held-out pairs"
  )
  jsonl.write_rows(
    folder / "heldout_scores.jsonl",
    [
      {"id": p.id, "chosen": round(float(c), 5), "rejected": round(float(r), 5), **p.meta}
      for p, (c, r) in zip(pairs, scores, strict=True)
    ],
  )
  return reward_metrics.summary(scores.tolist(), [p.meta for p in pairs], seed=context.seed)


def heldout_pairs(config: RewardConfig, file: Path, model: Model) -> tuple[list[Pair], Items]:
  """The held-out pairs that fit, with their tokens: what does not is left out and counted."""
  pairs = read_pairs(config, file)
  numbered = [dataclasses.replace(p, id=str(i)) for i, p in enumerate(pairs)]
  data = pair_items(numbered, model, config.max_length)
  if not len(data):
    raise UserError(common.counted(f"{file}: no held-out pair is left", data.counts))
  return [pairs[int(i)] for i in data.ids], data


def make(
  context: Context,
  config: RewardConfig,
  folder: Path,
  model: Path,
  data: Path,
  heldout: Path | None = None,
) -> dict[str, Any]:
  """Trains a reward model; writes model/, metrics.jsonl and heldout_scores.jsonl."""
  base = open_model(context, model)
  pairs = read_pairs(config, data)
  held = heldout_pairs(config, heldout, base) if heldout else None
  params, figures = train(
    folder,
    "reward",
    base,
    llama.with_reward_head(base.params, keep=config.lm_weight > 0),
    pair_items(pairs, base, config.max_length),
    objectives.reward(
      base.config,
      use_margin=config.use_margin,
      centring=config.centring,
      lm_weight=config.lm_weight,
    ),
    config.train,
    seed=context.seed,
    mesh=common.make_mesh(context.mesh),
  )
  params = {name: value for name, value in params.items() if name != "head"}
  if held is not None:
    figures |= measure(context, config, base, params, *held, folder)
  common.save_model(folder / "model", base, params)
  return figures


STAGE = Stage(
  "reward",
  RewardConfig,
  make,
  {
    "model": "the language model it is made from",
    "data": "preference pairs: any pair format of data/formats.py",
    "heldout?": "pairs on which accuracy is measured",
  },
  ("model", "metrics.jsonl", "heldout_scores.jsonl?"),
)
