"""A pairwise Bradley-Terry reward model from a language model and preference pairs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from xwinjax.core.bounds import Natural, Tokens, Weight
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.core.types import Params
from xwinjax.data import items, jsonl, parallel, read
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.data.preflight import Settings
from xwinjax.data.records import Counts, Pair
from xwinjax.eval import reward_metrics
from xwinjax.forward.over_items import jitted, over_items
from xwinjax.forward.values import pair_rewards
from xwinjax.model import llama
from xwinjax.stages import common
from xwinjax.stages.common import Model
from xwinjax.stages.config import group, later, plumbing
from xwinjax.stages.lora import LoRAConfig
from xwinjax.stages.stage import Context, Stage, open_model
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives


@dataclasses.dataclass(frozen=True)
class RewardConfig:
  """A reward model from one model and one file of pairs."""

  format: str = "auto"  # a name from data/formats.py, or auto
  limit: Natural = 0  # read at most so many rows; 0 reads all
  max_length: Tokens = 2048  # tokens of a prompt with its longer answer
  use_margin: bool = False  # subtract each pair's margin inside the loss
  centring: Weight = 0.0  # weight of (r_chosen + r_rejected)²
  lm_weight: Weight = 0.0  # weight of the chosen answers' cross-entropy, as a regulariser
  train: TrainConfig = group(TrainConfig)
  lora: LoRAConfig = later(LoRAConfig)
  score_batch: BatchConfig = plumbing(BatchConfig)  # rows scored at once when measuring


def read_pairs(config, file: Path, bad_rows: str) -> tuple[list[Pair], Counts]:
  """The pairs of a data set, and what became of its rows, which is said."""
  return read.pairs(file, config.format, config.limit, bad_rows, say=common.say)


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
  answers: int = 2,
) -> np.ndarray:
  """forward(params, batch) [B, E, answers] of all pairs, in the order of the data: [n, answers]."""
  numbered = data.with_fields(number=np.arange(len(data), dtype=np.int32))
  values = np.full((len(data), answers), np.nan, np.float32)
  with Progress(title, len(data), "pairs") as progress:
    say = lambda n, tokens: progress.advance(n // answers, tokens=tokens)
    for arrays, values_BE2 in over_items(forward, params, numbered, batch, mesh, say):
      present = arrays["example_weight"] > 0
      values[arrays["number"][present]] = values_BE2[present]
  if not np.isfinite(values).all():
    raise UserError(f"{title}: the model gives numbers that are not finite")
  return values


@dataclasses.dataclass(frozen=True)
class Held:
  """Pairs to measure on."""

  pairs: list[Pair]
  data: Items
  counts: Counts


def measure(
  context: Context, config: RewardConfig, model: Model, params, held: Held, file: Path, title: str
) -> list[list[float]]:
  """The rewards of held-out pairs, chosen first, which go to a file."""
  rewards = jitted(pair_rewards, model.config)
  mesh = common.make_mesh(context.mesh)
  scores = over_pairs(rewards, params, held.data, config.score_batch, mesh, title)
  jsonl.write_rows(
    file,
    [
      {"id": p.id, "chosen": round(float(c), 5), "rejected": round(float(r), 5), **p.meta}
      for p, (c, r) in zip(held.pairs, scores, strict=True)
    ],
  )
  return scores.tolist()


def heldout_pairs(config: RewardConfig, file: Path, model: Model, bad_rows: str) -> Held:
  """The held-out pairs that fit, with their tokens: what does not is left out and counted."""
  pairs, counts = read_pairs(config, file, bad_rows)
  numbered = [dataclasses.replace(p, id=str(i)) for i, p in enumerate(pairs)]
  data = pair_items(numbered, model, config.max_length)
  if not len(data):
    raise UserError(common.counted(f"{file}: no held-out pair is left", data.counts))
  return Held([pairs[int(i)] for i in data.ids], data, counts)


def make(
  context: Context,
  config: RewardConfig,
  folder: Path,
  model: Path,
  data: Path,
  heldout: Path | None = None,
  card: Path | None = None,
) -> dict[str, Any]:
  """Trains a reward model; writes model/, metrics.jsonl and the scores of held-out pairs."""
  base = open_model(context, model, lora=config.lora)
  pairs, rows = read_pairs(config, data, context.bad_rows)
  opened = lambda path: path and heldout_pairs(config, path, base, context.bad_rows)
  held, on_card = opened(heldout), opened(card)
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
    config.lora,
    seed=context.seed,
    mesh=common.make_mesh(context.mesh),
  )
  params = {name: value for name, value in params.items() if name != "head"}
  measured = functools.partial(measure, context, config, base, params)
  if held:
    scores = measured(held, folder / "heldout_scores.jsonl", "held-out pairs")
    metas = [p.meta for p in held.pairs]
    figures |= reward_metrics.summary(scores, metas, seed=context.seed)
    figures["heldout_rows"] = dict(held.counts)
  if on_card:
    scores = measured(on_card, folder / "card_scores.jsonl", "report card")
    metas = [p.meta for p in on_card.pairs]
    figures["card"] = reward_metrics.by_subset(scores, metas)
  common.save_model(folder / "model", base, params)
  return figures | {"rows": dict(rows)}


def rows_read(config: Any) -> dict[str, Settings]:
  """How a stage reads its pairs."""
  as_data = Settings("pair", config.format, max_length=config.max_length, limit=config.limit)
  return {"data": as_data}


STAGE = Stage(
  "reward",
  RewardConfig,
  make,
  {
    "model": "the language model it is made from",
    "data": "preference pairs: any pair format of data/formats.py",
    "heldout?": "pairs on which accuracy is measured",
    "card?": "pairs on which it is measured for each of their subsets: a report card",
  },
  ("model", "metrics.jsonl", "adapter?", "heldout_scores.jsonl?", "card_scores.jsonl?"),
  rows=lambda config: {
    **(own := rows_read(config)),
    "heldout": dataclasses.replace(own["data"], heldout=True),
    "card": dataclasses.replace(own["data"], heldout=True),
  },
)
