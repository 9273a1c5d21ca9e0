"""Adapters in place of the model's own parameters, in the stages that train."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated

import jax
from jax.sharding import Mesh

from xwinjax.core import placed, rng
from xwinjax.core.bounds import OneOf, Within
from xwinjax.core.types import Params
from xwinjax.model import lora, parameters
from xwinjax.model.config import LlamaConfig
from xwinjax.train.step import TrainState

HEADS = ("reward",)  # what trains whole beside the adapters

Projection = Annotated[str, OneOf(parameters.PROJECTIONS)]
BaseDtype = Annotated[str, OneOf(("float32", "bfloat16"))]


@dataclasses.dataclass(frozen=True)
class LoRAConfig:
  """Adapters that train while the model stays as it is (LoRA)."""

  rank: Annotated[int, Within(0, 2**12)] = 0  # of the adapters; 0: the model itself trains
  alpha: Annotated[float, Within(1e-6, 1e6)] = 16.0  # an adapter counts alpha / rank times
  targets: tuple[Projection, ...] = tuple(parameters.PROJECTIONS)  # projections that get one
  base_dtype: BaseDtype = "float32"  # in which the model is held; bfloat16 takes half

  def __post_init__(self) -> None:
    if self.rank and not self.targets:
      raise ValueError(f"targets is empty; there are {', '.join(parameters.PROJECTIONS)}")

  def adapted(self, model: LlamaConfig) -> LlamaConfig:
    """The model's config, which then says of what rank and scale its adapters are."""
    if not self.rank:
      return model
    return model.replace(lora_rank=self.rank, lora_alpha=self.alpha)

  def numbers(self, model: LlamaConfig) -> int:
    """How many the adapters of an adapted model hold."""
    rows = [row for name in set(self.targets) for row in parameters.ADAPTERS[name]]
    return model.num_layers * sum(math.prod(row.shape(model)) for row in rows)


def split(
  config: LoRAConfig, model: LlamaConfig, params: Params, seed: int
) -> tuple[Params, Params | None]:
  """(what trains, what stays): fresh adapters and a reward head, and the rest; or all and None."""
  if not config.rank:
    return params, None
  key = jax.random.fold_in(rng.base_key(seed), 2**32 - 1)  # a number that no step has
  heads = {name: p for name, p in params.items() if name in HEADS}
  trained = lora.init(model, key, config.targets) | heads
  return trained, {name: p for name, p in params.items() if name not in HEADS}


def whole(
  model: LlamaConfig, frozen: Params | None, mesh: Mesh | None, state: TrainState
) -> TrainState:
  """The state with the parameters of the model that its own and the frozen ones make together."""
  if frozen is None:
    return state
  with placed.on(mesh):
    params = lora.merged(model, lora.joined(frozen, state.params))
  return dataclasses.replace(state, params=params)
