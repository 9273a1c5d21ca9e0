"""What a machine is good at, measured once and kept: the form in which it multiplies matrices.

Flags of a CPU do not say it: with the same AVX512-BF16 and AMX flags, one machine multiplied
rounded operands four times as fast as float32, another at half its rate.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import math
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xwinjax.core import host, system
from xwinjax.core.matmul import ROUNDED, matmul

FORMAT = 1  # of what is kept; another where the measurement changes
SHAPE = (1024, 256, 768)  # rows, their width, the product's: a small model's MLP
ROUNDS = 7
# A step is more than its products, and an even race shall not go one way today, another tomorrow.
GAIN = 1.25


@dataclasses.dataclass(frozen=True)
class Rates:
  """FLOP/s of a product and its two gradients, medians of some rounds in turn."""

  float32: float
  rounded: float  # operands rounded to bfloat16, the rounding's time included

  @property
  def dtype(self) -> str:
    """The faster form, as config.model.dtype names it."""
    return "mixed" if self.rounded > GAIN * self.float32 else "float32"

  def __str__(self) -> str:
    ours, other = self.rounded / 1e9, self.float32 / 1e9
    return f"products of rounded operands {ours:,.0f} GFLOP/s, of float32 {other:,.0f}"


@dataclasses.dataclass(frozen=True)
class Choice:
  """How models are computed where nobody said it, and why."""

  dtype: str  # float32, mixed or bfloat16
  because: str


def choose() -> Choice:
  """bfloat16 on TPU and GPU; on a CPU whichever of float32 and mixed it multiplies faster."""
  if jax.default_backend() != "cpu":
    return Choice("bfloat16", f"a {jax.devices()[0].device_kind} multiplies it fastest")
  rates = rates_here()
  return Choice(rates.dtype, f"{rates} on {system.cores()} cores of {host.cpu()}")


@functools.cache
def rates_here() -> Rates:
  """This CPU's rates: as kept beside the compilation cache, else measured (about a second)."""
  about = {
    "cpu": host.cpu(),
    "cores": system.cores(),
    "jaxlib": importlib.metadata.version("jaxlib"),
    "format": FORMAT,
  }
  name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
  path = host.cache_folder() / "machine" / f"{name}.json"
  try:
    kept = json.loads(path.read_text(encoding="utf-8"))
    rates = Rates(float(kept["float32"]), float(kept["rounded"]))
    if all(math.isfinite(r) and r > 0 for r in dataclasses.astuple(rates)):
      return rates
  except (OSError, ValueError, TypeError, KeyError):
    pass  # not there, or damaged: measured again
  rates = measure()
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_suffix(f".{time.time_ns()}")
    making.write_text(json.dumps({**about, **dataclasses.asdict(rates)}), encoding="utf-8")
    making.replace(path)
  except OSError:
    pass  # a cache that cannot be written costs a second a process
  return rates


def measure() -> Rates:
  """Times both forms in turn, so that other work meets both."""
  rows, width, out = SHAPE
  x = jax.random.normal(jax.random.key(0), (rows, width))
  w = jax.random.normal(jax.random.key(1), (width, out))
  timed = {operands: _product(operands) for operands in ("", ROUNDED)}
  for f in timed.values():
    jax.block_until_ready(f(x, w))
  seconds = {operands: [] for operands in timed}
  for _ in range(ROUNDS):
    for operands, f in timed.items():
      start = time.perf_counter()
      jax.block_until_ready(f(x, w))
      seconds[operands].append(time.perf_counter() - start)
  flops = 3 * 2 * math.prod(SHAPE)
  return Rates(*(flops / statistics.median(seconds[operands]) for operands in ("", ROUNDED)))


def _product(operands: str) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, ...]]:
  def product_and_gradients(x: jax.Array, w: jax.Array) -> tuple[jax.Array, ...]:
    out, gradients = jax.vjp(lambda x, w: matmul(x, w, operands), x, w)
    return out, *gradients(jnp.ones_like(out))

  return jax.jit(product_and_gradients)
