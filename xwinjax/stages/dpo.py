"""Direct preference optimisation and its relatives, against stored reference log-probs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from xwinjax.core import processes
from xwinjax.core.bounds import Amount, Few, Finite, Natural, Tokens, Weight, Within
from xwinjax.core.errors import UserError
from xwinjax.core.types import Mean, Params
from xwinjax.losses import table
from xwinjax.model import lora
from xwinjax.stages import common, preferences
from xwinjax.stages import reference as stored
from xwinjax.stages.config import group, later
from xwinjax.stages.lora import LoRAConfig
from xwinjax.stages.manifest import fingerprint
from xwinjax.stages.stage import Context, Stage, open_model
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives

Beta = Annotated[float, Within(1e-4, 1000)]
Smoothing = Annotated[float, Within(0, below=0.5)]
Temperature = Annotated[float, Within(1e-3, 1e6)]


@dataclasses.dataclass(frozen=True)
class DPOConfig:
  """DPO of one model on one file of pairs."""

  format: str = "auto"  # a name from data/formats.py, or auto
  limit: Natural = 0  # read at most so many rows; 0 reads all
  max_length: Tokens = 2048  # tokens of a prompt with its longer answer
  beta: Beta = 0.1  # pull towards the reference; larger keeps closer
  variant: str = "sigmoid"  # a loss of losses/table.py, or a sum: sigmoid + 0.2*simpo
  label_smoothing: Smoothing = 0.0  # share of labels taken to be wrong (cDPO, robust)
  length_normalised: bool = False  # compare mean instead of summed log-probs
  nll_weight: Weight = 0.0  # weight of the chosen answers' cross-entropy beside the loss
  gap: Amount = later(0.5)  # simpo: by how much β times the mean log-probs are to differ
  penalty: Weight = later(50.0)  # dpop: of a chosen answer less likely than under the reference
  kl_weight: Weight = later(0.5)  # tdpo: of the rejected answer's divergence, token by token
  gate_margin: Finite = later(-10.0)  # cringe: the gap in nats that half closes the gate
  gate_temperature: Temperature = later(10.0)  # cringe: nats over which the gate closes
  contrast_weight: Weight = later(1.0)  # cringe: of the rejected answer's tokens
  rivals: Few = later(5)  # cringe: most probable other tokens that one is drawn from
  desirable_weight: Weight = later(1.0)  # kto: of answers that were liked
  undesirable_weight: Weight = later(1.0)  # kto: of answers that were not
  answers: stored.Answers = later(4)  # lists: so many candidates a prompt, of evenly spaced ranks
  score: str = later("rm")  # lists: the score that ranks them
  train: TrainConfig = group(TrainConfig)
  lora: LoRAConfig = later(LoRAConfig)


def settings_of(config: DPOConfig) -> dict[str, float]:
  """The settings that losses may name, which are fields of the config."""
  return {
    f.name: getattr(config, f.name) for f in dataclasses.fields(config) if table.takers(f.name)
  }


def objective_of(
  config: DPOConfig, model, reference: objectives.Reference | None = None
) -> objectives.Objective:
  """The objective; `reference` gives the start's parameters to losses that take its logits."""
  dpo = objectives.dpo(
    model,
    variant=config.variant,
    length_normalised=config.length_normalised,
    reference=reference,
    rivals=config.rivals,
    **settings_of(config),
  )
  if not config.nll_weight:
    return dpo
  return objectives.weighted((1.0, dpo), (config.nll_weight, objectives.nll_on_chosen(model)))


def check_starts_at_log_2(model, beta: float, file: Path, answers: int = 2):
  """Policy = reference gives log 2; anything else says the log-probs are another model's.

  Of lists it is the log-likelihood of a ranking by chance, log of the factorial of `answers`.
  """
  plain = objectives.dpo(model, beta=beta, variant="sigmoid" if answers == 2 else "plackett_luce")
  chance = math.lgamma(answers + 1)

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
    if abs(loss - chance) > (1e-3 if model.dtype == "float32" else 2e-2):
      raise UserError(
        f"DPO's first loss is {loss:.4f}, not log {math.factorial(answers)} = {chance:.4f}: {file} "
        "does not hold this "
        "model's log-probs; run the reference stage again"
      )

  return check


def check(config: DPOConfig, reference: Path | None = Path(), **_) -> None:
  """Raises UserError for a loss that does not exist, and settings or inputs that do not fit it."""
  try:
    needed, kind = table.needs(config.variant), table.kind_of(config.variant)
  except ValueError as e:
    raise UserError(f"config.{e}") from None
  for f in dataclasses.fields(config):
    owners = table.takers(f.name)
    if owners and f.name not in needed and getattr(config, f.name) != f.default:
      raise UserError(
        f"config.{f.name} belongs to variant {' or '.join(map(repr, owners))}; "
        f"set it to {f.default:g}"
      )
  default = DPOConfig()
  preferences.check(config, kind, default)
  if "contrast_A2" not in needed and config.rivals != default.rivals:
    raise UserError(f"config.rivals belongs to variant 'cringe'; set it to {default.rivals}")
  if "kl_A2" in needed and processes.count() > 1 and not config.lora.rank:
    raise UserError(f"config.variant {config.variant!r} runs in one process only")
  if kind == "unpaired" and config.nll_weight:
    raise UserError(
      f"config.nll_weight is for chosen answers, and {config.variant!r} has none: set it to 0"
    )
  if config.length_normalised and any(n.startswith(("policy_", "lengths_", "kl_")) for n in needed):
    raise UserError(
      f"config.length_normalised is for losses against a reference; {config.variant!r} has its own "
      "normalisation: set it to False"
    )
  if table.takes_reference(config.variant) and reference is None:
    raise UserError(
      f"config.reference is empty; {config.variant!r} needs the reference stage's logps.jsonl"
    )


def check_in_a_chain(config: DPOConfig) -> None:
  """As `check`, before a recipe's first stage; its DPO is given pairs.

  Raises: UserError for what `check` refuses, and for losses of lists.
  """
  check(config)
  if table.kind_of(config.variant) == "lists":
    raise UserError(
      f"config.dpo.variant {config.variant!r} takes lists, and a recipe makes pairs; run "
      "experiments.dpo on its scored candidates"
    )


def check_fits_in_a_step(params: Params) -> None:
  """Raises UserError for parameters that cannot be constants of a compiled step."""
  size = sum(p.nbytes for p in jax.tree.leaves(params))
  if size >= 2**31 or processes.count() > 1:
    raise UserError(
      f"config.variant: 'tdpo' holds the reference's {size / 2**30:.1f} GB inside the "
      "compiled step; that is for models of less than 2 GB, in one process"
    )


def reference_of(config: DPOConfig) -> stored.ReferenceConfig:
  """How the reference stage reads the pairs of such a DPO."""
  kind = table.kind_of(config.variant)
  return stored.ReferenceConfig(
    config.format,
    config.limit,
    config.max_length,
    kind,
    config.answers,
    config.score,
    config.train.batch,
  )


def make(
  context: Context,
  config: DPOConfig,
  folder: Path,
  model: Path,
  data: Path,
  reference: Path | None = None,
  keep: bool = False,
) -> dict[str, Any]:
  """Trains the model on the pairs; writes model/ and metrics.jsonl.

  With `keep`, the model of every checkpoint is kept, too, as steps/STEP/.
  """
  start = open_model(context, model, lora=config.lora)
  kind, check_first = table.kind_of(config.variant), None
  if config.rivals >= start.config.vocab_size and "contrast_A2" in table.needs(config.variant):
    raise UserError(
      f"config.rivals is {config.rivals}; the model has {start.config.vocab_size} tokens in all"
    )
  pairs, rows = preferences.read(config, kind, data, start, context.bad_rows)
  if reference is not None:
    wanted = stored.key(processes.on_lead(lambda: fingerprint(model)), start, pairs)
    pairs = pairs.with_fields(reference=stored.read(reference, wanted, pairs))
    check_first = check_starts_at_log_2(
      start.config, config.beta, reference, preferences.answers_of(pairs)
    )

  kept = None
  if "kl_A2" in table.needs(config.variant) and config.lora.rank:
    kept = lora.without  # the model beside the adapters is the reference
  elif "kl_A2" in table.needs(config.variant):
    check_fits_in_a_step(start.params)
    kept = jax.tree.map(jnp.copy, start.params)  # training gives away the memory of the start's own

  def keep_model(step: int, state) -> None:
    common.keep_step(folder, step, start, state.params)

  params, figures = train(
    folder,
    "dpo",
    start,
    start.params,
    pairs,
    objective_of(config, start.config, kept),
    config.train,
    config.lora,
    seed=context.seed,
    mesh=common.make_mesh(context.mesh),
    check_first=check_first,
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
    "data": "pairs; single answers for kto, scored candidates for losses of lists",
    "reference?": "logps.jsonl of the reference stage, for losses that need one",
  },
  ("model", "metrics.jsonl", "adapter?"),
  check=check,
  rows=lambda config: preferences.rows_read(config, table.kind_of(config.variant)),
)
