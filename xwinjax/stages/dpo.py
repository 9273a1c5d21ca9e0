"""Direct preference optimisation on pairs, against stored reference log-probs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax

from xwinjax.core.errors import UserError
from xwinjax.core.types import Mean
from xwinjax.losses.preference import VARIANTS
from xwinjax.stages import common, reference
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import fingerprint, run_stage
from xwinjax.stages.reward import pair_items, read_pairs
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives


@dataclasses.dataclass(frozen=True)
class DPOConfig:
  """DPO of one model on one file of pairs."""

  model: ModelConfig = group(ModelConfig)  # the start, and the reference
  data: str = plumbing("")  # pairs
  reference: str = plumbing("")  # logps.jsonl of the reference stage
  format: str = "auto"  # a name from data/formats.py, or auto
  limit: int = 0  # read at most so many rows; 0 reads all
  max_length: int = 2048  # tokens of a prompt with its longer answer
  beta: float = 0.1  # pull towards the reference; larger keeps closer
  variant: str = "sigmoid"  # sigmoid, ipo or hinge
  label_smoothing: float = 0.0  # share of labels taken to be wrong (conservative DPO)
  length_normalised: bool = False  # compare mean instead of summed log-probs
  nll_weight: float = 0.0  # weight of the chosen answers' cross-entropy beside the loss
  train: TrainConfig = group(TrainConfig)
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


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


def check_starts_at_log_2(model, config: DPOConfig):
  """Policy = reference gives log 2; anything else says the log-probs are another model's."""
  plain = objectives.dpo(model, beta=config.beta)

  def first_loss(params, batch):
    mean, _ = plain(params, batch, None)
    assert isinstance(mean, Mean)
    return mean.value()

  def check(params, batch) -> None:
    loss = float(jax.jit(first_loss)(params, batch))
    if abs(loss - math.log(2)) > (1e-3 if model.dtype == "float32" else 2e-2):
      raise UserError(
        f"DPO's first loss is {loss:.4f}, not log 2 = 0.6931: {config.reference} does not hold "
        "this model's log-probs; run the reference stage again"
      )

  return check


def run(
  config: DPOConfig, folder: Path, *, redo: bool = False, keep: bool = False
) -> dict[str, Any]:
  """Trains config.model on config.data; writes model/, metrics.jsonl and manifest.json.

  With `keep`, the model of every checkpoint is kept, too, as steps/STEP/.
  """
  inputs = {
    "model": common.input_file(config.model.path, "model.path"),
    "data": common.input_file(config.data, "data"),
    "reference": common.input_file(config.reference, "reference"),
  }
  if config.variant not in VARIANTS:
    raise UserError(f"config.variant {config.variant!r} is not one of {', '.join(VARIANTS)}")
  if config.label_smoothing and config.variant != "sigmoid":
    raise UserError("config.label_smoothing belongs to variant 'sigmoid'; set it to 0")

  def body() -> dict[str, Any]:
    mesh = common.make_mesh(config.mesh)
    model = common.open_model(config.model, mesh, reward=False)
    pairs, _ = read_pairs(config, config.data, "data")
    data = pair_items(pairs, model, config.max_length)
    wanted = reference.key(fingerprint(model.folder), model, data)
    logps = reference.read(Path(config.reference), wanted, data)

    def keep_model(step: int, state) -> None:
      common.save_model(folder / "steps" / f"{step:07d}", model, state.params)

    params, figures = train(
      folder,
      "dpo",
      model,
      model.params,
      data.with_fields(reference=logps),
      objective_of(config, model.config),
      config.train,
      seed=config.seed,
      mesh=mesh,
      check_first=check_starts_at_log_2(model.config, config),
      on_checkpoint=keep_model if keep else None,
    )
    common.save_model(folder / "model", model, params)
    return figures

  return run_stage(folder, "dpo", config, inputs, ("model", "metrics.jsonl"), body, redo=redo)
