"""Direct preference optimisation on pairs, against stored reference log-probs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any

import jax

from xwinjax.core import processes
from xwinjax.core.bounds import Natural, Tokens, Weight, Within
from xwinjax.core.errors import UserError
from xwinjax.core.types import Mean
from xwinjax.losses.preference import VARIANTS
from xwinjax.stages import common
from xwinjax.stages import reference as stored
from xwinjax.stages.config import group
from xwinjax.stages.manifest import fingerprint
from xwinjax.stages.reward import pair_items, read_pairs, rows_read
from xwinjax.stages.stage import Context, Stage, open_model
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives

Beta = Annotated[float, Within(1e-4, 1000)]
Smoothing = Annotated[float, Within(0, below=0.5)]


@dataclasses.dataclass(frozen=True)
class DPOConfig:
  """DPO of one model on one file of pairs."""

  format: str = "auto"  # a name from data/formats.py, or auto
  limit: Natural = 0  # read at most so many rows; 0 reads all
  max_length: Tokens = 2048  # tokens of a prompt with its longer answer
  beta: Beta = 0.1  # pull towards the reference; larger keeps closer
  variant: str = "sigmoid"  # sigmoid, ipo or hinge
  label_smoothing: Smoothing = 0.0  # share of labels taken to be wrong (conservative DPO)
  length_normalised: bool = False  # compare mean instead of summed log-probs
  nll_weight: Weight = 0.0  # weight of the chosen answers' cross-entropy beside the loss
  train: TrainConfig = group(TrainConfig)


def objective_of(config: DPOConfig, model) -> objectives.Objective:
  dpo = objectives.dpo(
    model,
    beta=config.beta,
    variant=config.variant,
    label_smoothing=config.label_smoothing,
    length_normalised=config.length_normalised,
  )
  if not config.nll_weight:
    return dpo
  return objectives.weighted((1.0, dpo), (config.nll_weight, objectives.nll_on_chosen(model)))


def check_starts_at_log_2(model, beta: float, file: Path):
  """Policy = reference gives log 2; anything else says the log-probs are another model's."""
  plain = objectives.dpo(model, beta=beta)

  def first_loss(params, batch):
    mean, _ = plain(params, batch, None)
    assert isinstance(mean, Mean)
    return mean.value()

  def check(params, batch) -> None:
    loss = float(jax.jit(first_loss)(params, batch))
    if not math.isfinite(loss):
      raise UserError(
        f"DPO's first loss is {loss}: the model's numbers overflow in {model.dtype}, or {file} "
        "holds log-probs that are not finite"
      )
    if abs(loss - math.log(2)) > (1e-3 if model.dtype == "float32" else 2e-2):
      raise UserError(
        f"DPO's first loss is {loss:.4f}, not log 2 = 0.6931: {file} does not hold "
        "this model's log-probs; run the reference stage again"
      )

  return check


def check(config: DPOConfig, **_) -> None:
  """Raises UserError for a loss that does not exist."""
  if config.variant not in VARIANTS:
    raise UserError(f"config.variant {config.variant!r} is not one of {', '.join(VARIANTS)}")
  if config.label_smoothing and config.variant != "sigmoid":
    raise UserError("config.label_smoothing belongs to variant 'sigmoid'; set it to 0")


def reference_of(config: DPOConfig) -> stored.ReferenceConfig:
  """How the reference stage reads the pairs of such a DPO."""
  return stored.ReferenceConfig(config.format, config.limit, config.max_length, config.train.batch)


def make(
  context: Context,
  config: DPOConfig,
  folder: Path,
  model: Path,
  data: Path,
  reference: Path,
  keep: bool = False,
) -> dict[str, Any]:
  """Trains the model on the pairs; writes model/ and metrics.jsonl.

  With `keep`, the model of every checkpoint is kept, too, as steps/STEP/.
  """
  start = open_model(context, model)
  read, rows = read_pairs(config, data, context.bad_rows)
  pairs = pair_items(read, start, config.max_length)
  wanted = stored.key(processes.on_lead(lambda: fingerprint(model)), start, pairs)
  logps = stored.read(reference, wanted, pairs)

  def keep_model(step: int, state) -> None:
    common.keep_step(folder, step, start, state.params)

  params, figures = train(
    folder,
    "dpo",
    start,
    start.params,
    pairs.with_fields(reference=logps),
    objective_of(config, start.config),
    config.train,
    seed=context.seed,
    mesh=common.make_mesh(context.mesh),
    check_first=check_starts_at_log_2(start.config, config.beta, reference),
    on_checkpoint=keep_model if keep else None,
  )
  common.save_model(folder / "model", start, params)
  return figures | {"rows": dict(rows)}


STAGE = Stage(
  "dpo",
  DPOConfig,
  make,
  {
    "model": "the start, and the reference",
    "data": "pairs",
    "reference": "logps.jsonl of the reference stage",
  },
  ("model", "metrics.jsonl"),
  check=check,
  rows=rows_read,
)
