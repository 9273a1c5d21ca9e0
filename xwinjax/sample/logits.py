"""What is done to logits before a token is drawn, and the drawing.

Filters set dropped logits to -inf and keep the rest, as the processors of `transformers` do, in
the order that `SamplingParams.filter` applies them. Thresholds are found by bisection over the bit
patterns of floats, which order as the (non-negative) floats do: exact, and without the sort of the
vocabulary that makes top-p slow on CPUs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from xwinjax.core import bounds
from xwinjax.core.bounds import Part, Within

# Below 0.001 the rounding of logits / temperature is as large as what tells tokens apart.
Temperature = Annotated[
  float, Within(0.001, 100, also=(0,), advice="0 takes the most probable token")
]
TopK = Annotated[int, Within(0, 2**24)]
Mass = Annotated[float, Within(1e-6, 1)]
Penalty = Annotated[float, Within(1e-6, 1e6)]


@dataclasses.dataclass(frozen=True)
class SamplingParams:
  """How tokens are drawn; hashable, so one compiled loop serves one setting."""

  temperature: Temperature = 1.0  # 0 takes the most probable token
  top_k: TopK = 0  # keep the k most probable; 0 keeps all
  top_p: Mass = 1.0  # keep the fewest most probable tokens that together reach this mass
  min_p: Part = 0.0  # keep tokens at least this share as probable as the most probable
  repetition_penalty: Penalty = 1.0  # of tokens in the prompt or the answer so far; 1 is none

  def __post_init__(self):
    bounds.check(self)

  @property
  def greedy(self) -> bool:
    return self.temperature == 0

  def filter(self, logits: jax.Array, seen: jax.Array | None = None) -> jax.Array:
    """Penalty, temperature, top-k, top-p, min-p, in this order; dropped logits become -inf."""
    if self.repetition_penalty != 1.0:
      if seen is None:
        raise ValueError("repetition_penalty needs `seen`")
      logits = penalise_repetition(logits, seen, self.repetition_penalty)
    if self.greedy:
      return logits
    if self.temperature != 1.0:
      logits = logits / self.temperature
    if self.top_k:
      logits = keep_top_k(logits, self.top_k)
    if self.top_p < 1.0:
      logits = keep_top_p(logits, self.top_p)
    if self.min_p:
      logits = keep_min_p(logits, self.min_p)
    return logits


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EachSlot:
  """How the tokens of each slot are drawn, in one compiled loop for all settings."""

  temperature: jax.Array | np.ndarray  # [P, S]; 0 takes the most probable token
  top_p: jax.Array | np.ndarray  # [P, S]

  def draw(self, logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """A token for each slot: of what its own temperature and top-p leave of [P, S, V]."""
    greedy = self.temperature == 0
    warm = logits / jnp.where(greedy, 1.0, self.temperature)[..., None]
    kept = jax.lax.cond(
      jnp.any(self.top_p < 1), lambda: keep_top_p_each(warm, jnp.asarray(self.top_p)), lambda: warm
    )
    return jnp.where(greedy, jnp.argmax(logits, -1), draw(kept, uniform))


def penalise_repetition(logits: jax.Array, seen: jax.Array, penalty: float) -> jax.Array:
  """Divides positive logits of seen tokens by the penalty and multiplies negative ones.

  Source: CTRL (Keskar et al. 2019), section 4.1; LIMA decodes with 1.2.
  """
  return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def _order(x: jax.Array) -> jax.Array:
  """Integers in the order of the floats x: their bits, with those of negative ones turned over."""
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
  return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _float(order: jax.Array) -> jax.Array:
  """The floats whose `_order` this is."""
  return jax.lax.bitcast_convert_type(order ^ ((order >> 31) & 0x7FFFFFFF), jnp.float32)


def _least(
  holds: Callable[[jax.Array], jax.Array], low: jax.Array, high: jax.Array, steps: int = 32
) -> jax.Array:
  """The least float t of each row for which `holds(t)`, which is monotone.

  It is above that of order `low` and at most that of order `high`, fewer than 2**steps apart.
  """

  def halve(_, bounds):
    low, high = bounds  # holds(high) and not holds(low)
    middle = (low & high) + ((low ^ high) >> 1)  # their mean, without overflow
    good = holds(_float(middle))
    return jnp.where(good, low, middle), jnp.where(good, middle, high)

  return _float(jax.lax.fori_loop(0, steps, halve, (low, high), unroll=4)[1])


def keep_top_k(logits: jax.Array, k: int) -> jax.Array:
  """Keeps the k largest logits, and those equal to the k-th."""
  order = _order(logits)
  low, high = jnp.min(order, -1) - 1, jnp.max(order, -1)
  cut = _least(lambda t: jnp.sum(logits > t[..., None], -1) < k, low, high)
  return jnp.where(logits >= cut[..., None], logits, -jnp.inf)


def keep_top_p(logits: jax.Array, p: float) -> jax.Array:
  """Keeps a token when those strictly more probable have less than p of the mass together.

  Source: nucleus sampling, Holtzman et al. 2020, section 3.1.
  """
  probabilities = jax.nn.softmax(logits, axis=-1)

  def enough(t):
    return jnp.sum(jnp.where(probabilities > t[..., None], probabilities, 0.0), -1) < p

  # Tokens below (1 - p) / 2V have less than 1 - p together, so the threshold lies above.
  low = int(np.float32((1 - p) / 2 / logits.shape[-1]).view(np.int32))
  high = _order(jnp.max(probabilities, -1))
  steps = (int(np.float32(1).view(np.int32)) - low).bit_length()
  cut = _least(enough, jnp.full_like(high, low), high, steps)
  return jnp.where(probabilities >= cut[..., None], logits, -jnp.inf)


def keep_top_p_each(logits: jax.Array, p: jax.Array) -> jax.Array:
  """`keep_top_p` with a p for each row; rows whose p is 1 are left as they are."""
  probabilities = jax.nn.softmax(logits, axis=-1)

  def enough(t):
    return jnp.sum(jnp.where(probabilities > t[..., None], probabilities, 0.0), -1) < p

  high = _order(jnp.max(probabilities, -1))
  cut = _least(enough, jnp.full_like(high, -1), high)
  return jnp.where((probabilities >= cut[..., None]) | (p >= 1)[..., None], logits, -jnp.inf)


def keep_min_p(logits: jax.Array, p: float) -> jax.Array:
  """Keeps tokens at least p times as probable as the most probable (Nguyen et al. 2024)."""
  probabilities = jax.nn.softmax(logits, axis=-1)
  most = jnp.max(probabilities, -1, keepdims=True)
  return jnp.where(probabilities >= p * most, logits, -jnp.inf)


def draw(logits: jax.Array, uniform: jax.Array) -> jax.Array:
  """The token at which the cumulative probability passes `uniform`, for each row.

  Two levels (blocks of 64, then inside one), so that the cumulative sums stay short. Returns -1
  where the logits are not a distribution (NaN): never a token that nobody drew.
  """
  size = logits.shape[-1]
  padded = -(-size // 64) * 64
  weights = jnp.exp(logits - jnp.max(logits, -1, keepdims=True))
  weights = jnp.pad(weights, [(0, 0)] * (logits.ndim - 1) + [(0, padded - size)])
  blocks = weights.reshape(*logits.shape[:-1], padded // 64, 64)
  sums = blocks.sum(-1)
  total = sums.sum(-1)
  block, rest = _pass(sums, uniform * total)
  chosen = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
  inside, _ = _pass(chosen, rest)
  return jnp.where(jnp.isfinite(total), block * 64 + inside, -1)


def _pass(weights: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(i, what is left) for the first i whose cumulative weight exceeds the target.

  Rounding may leave the target at or past the last sum; then the last entry of any weight is it.
  """
  cumulative = jnp.cumsum(weights, -1)
  first = jnp.sum(cumulative <= target[..., None], -1)
  last = weights.shape[-1] - 1 - jnp.argmax(weights[..., ::-1] > 0, -1)
  i = jnp.minimum(first, last)
  before = jnp.take_along_axis(cumulative - weights, i[..., None], -1)[..., 0]
  return i, jnp.maximum(target - before, 0.0)
