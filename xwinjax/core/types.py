"""Types shared by every room of the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

Params = Any  # a nested dict of arrays, as Flax Linen makes it
Batch = Mapping[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean kept as its sum and its weight, so that parts add up exactly.

  Micro-batches, packed rows and devices each give a Mean; adding them and dividing once
  gives the mean over everything, whatever the parts weighed. A mean of means would not.

  >>> float((Mean(jnp.array(6.0), jnp.array(3.0)) + Mean(jnp.array(1.0), jnp.array(1.0))).value())
  1.75
  """

  total: jax.Array
  weight: jax.Array

  def __add__(self, other: Mean) -> Mean:
    return Mean(self.total + other.total, self.weight + other.weight)

  def value(self) -> jax.Array:
    """total / weight, and 0 where nothing was weighed."""
    return self.total / jnp.where(self.weight == 0, 1.0, self.weight)

  @staticmethod
  def of(values: jax.Array, weights: jax.Array) -> Mean:
    """The weighted mean of `values`; entries of weight 0 may be anything, NaN included."""
    safe = jnp.where(weights == 0, 0.0, values)
    return Mean(jnp.sum(safe * weights), jnp.sum(weights))


Metrics = dict[str, Mean]
