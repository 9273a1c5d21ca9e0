"""AdamW with the schedules of the papers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import optax

from xwinjax.core.bounds import Amount, OneOf, Part, Within, later
from xwinjax.core.errors import UserError
from xwinjax.model import parameters

SCHEDULES = ("constant", "linear", "cosine")

Schedule = Annotated[str, OneOf(SCHEDULES)]
Rate = Annotated[float, Within(0, 10)]
STEPS = "for N of M steps give N/M, as 0.05 for 100 of 2000"
MuDtype = Annotated[str, OneOf(("float32", "bfloat16"))]
Warmup = Annotated[float, Within(0, below=1, advice=STEPS)]


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """AdamW, its schedule and its clipping."""

  lr: Annotated[float, Within(1e-12, 10)] = 1e-5  # peak
  final_lr: Rate = 0.0  # at the last step, for linear and cosine
  schedule: Schedule = "cosine"  # constant, linear or cosine from lr to final_lr
  warmup: Warmup = 0.03  # share of all steps over which lr rises from 0
  beta1: Part = 0.9
  beta2: Part = 0.95
  eps: Annotated[float, Within(1e-30, 1)] = 1e-8
  weight_decay: Rate = 0.0  # on matrices, not on norms: see model.parameters
  clip: Amount = 1.0  # global gradient norm; 0 leaves gradients alone
  mu_dtype: MuDtype = later("float32")  # of the first moment; bfloat16 takes half its memory


def schedule(config: OptimConfig, steps: int) -> optax.Schedule:
  """The learning rate at each step: a linear rise over the warm-up, then the named decay."""
  if config.schedule not in SCHEDULES:
    raise UserError(f"schedule {config.schedule!r} is not one of {', '.join(SCHEDULES)}")
  warmup = min(round(config.warmup * steps), steps - 1)
  rest = max(steps - warmup, 1)
  after = {
    "constant": lambda: optax.constant_schedule(config.lr),
    "linear": lambda: optax.linear_schedule(config.lr, config.final_lr, rest),
    "cosine": lambda: optax.cosine_decay_schedule(
      config.lr, rest, alpha=config.final_lr / config.lr if config.lr else 0.0
    ),
  }[config.schedule]()
  if not warmup:
    return after
  rise = optax.linear_schedule(config.lr / (warmup + 1), config.lr, warmup)
  return optax.join_schedules([rise, after], [warmup])


def decay_mask(params: Any) -> Any:
  """True for the parameters that weight decay shrinks, as the table of parameters says.

  Raises: KeyError for a parameter without a row.
  """

  def decayed(path, _) -> bool:
    place = tuple(str(key.key) for key in path)
    if place not in parameters.BY_PATH:
      raise KeyError(f"no parameter {'/'.join(place)}; add a row to model/parameters.py")
    return parameters.BY_PATH[place].decayed

  return jax.tree_util.tree_map_with_path(decayed, params)


def make_optimizer(
  config: OptimConfig, steps: int, *, decayed: Callable[[Any], Any] = decay_mask
) -> optax.GradientTransformation:
  """Clipping by global norm, then AdamW (Loshchilov & Hutter 2019).

  `decayed` gives of parameters the tree that says which of them weight decay shrinks; a model of
  one's own is in no table, and needs its own.
  """
  adamw = optax.adamw(
    schedule(config, steps),
    config.beta1,
    config.beta2,
    config.eps,
    mu_dtype=None if config.mu_dtype == "float32" else config.mu_dtype,  # None: the parameters'
    weight_decay=config.weight_decay,
    mask=decayed,
  )
  if not config.clip:
    return adamw
  return optax.chain(optax.clip_by_global_norm(config.clip), adamw)
