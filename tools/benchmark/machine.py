"""The machine as a measurement sees it: rooflines, compilations, memory, other processes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from xwinjax.core import host, machine, system

_PHASES = ("jaxpr_to_mlir_module_duration", "backend_compile_duration")


def _best(f: Callable, *arrays: jax.Array, repeats: int = 8) -> float:
  """The shortest of some runs, in seconds."""
  compiled = jax.jit(f)
  jax.block_until_ready(compiled(*arrays))
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arrays))
    seconds.append(time.perf_counter() - start)
  return min(seconds)


def matmul_rate(dtype: str, *, quick: bool = False) -> float:
  """FLOP/s of the best of a few matrix products with f32 results."""
  large = jax.default_backend() != "cpu"
  shapes = [(8192, 8192, 8192)] if large else [(2048, 1024, 1024), (2048, 192, 512), (4096,) * 3]
  best = 0.0
  for m, k, n in shapes[:1] if quick else shapes:
    a, b = jnp.ones((m, k), dtype), jnp.ones((k, n), dtype)
    seconds = _best(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32), a, b, repeats=5)
    best = max(best, 2 * m * k * n / seconds)
  return best


def bandwidth() -> float:
  """Bytes/s of x + 2y over arrays that no cache holds."""
  size = (256 if jax.default_backend() == "cpu" else 1024) * 2**20 // 4
  x = jnp.ones(size)
  return 3 * 4 * size / _best(lambda x, y: x + 2 * y, x, x + 1)


def describe(*, quick: bool = False) -> dict[str, Any]:
  """What a measurement is worth nothing without."""
  device = jax.devices()[0]
  kind = device.device_kind
  if jax.default_backend() == "cpu":
    kind = host.cpu()
  return {
    "device": kind,
    "backend": jax.default_backend(),
    "devices": jax.device_count(),
    "cores": system.cores(),
    "jax": jax.__version__,
    "python": platform.python_version(),
    "matmul_f32": matmul_rate("float32", quick=quick),
    "matmul_bf16": matmul_rate("bfloat16", quick=quick),
    "bandwidth": bandwidth(),
    "peak_bf16": host.peak_flops(device.device_kind),
    "load_before": round(os.getloadavg()[0], 2),
    "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
  }


def chosen() -> dict[str, Any]:
  """What the package takes for this machine and why; the measurement is made anew, beside it."""
  kept = dataclasses.asdict(machine.choose())
  if jax.default_backend() != "cpu":
    return {"chosen": kept}
  start = time.perf_counter()
  rates = machine.measure()
  return {
    "chosen": kept,
    "products": dataclasses.asdict(rates),
    "now": rates.dtype,
    "measured_in_s": round(time.perf_counter() - start, 2),
  }


class Compilations:
  """Counts, while it is entered, what XLA compiles anew; what the cache on disk has is not new."""

  def __init__(self):
    self.requests = self.hits = 0
    self.seconds = 0.0  # of lowering and compiling, or of reading the cache

  @property
  def new(self) -> int:
    return self.requests - self.hits

  def _duration(self, event: str, duration_secs: float, **_: Any) -> None:
    if event.endswith(_PHASES):
      self.seconds += duration_secs
      self.requests += event.endswith("backend_compile_duration")

  def _event(self, event: str, **_: Any) -> None:
    self.hits += event == "/jax/compilation_cache/cache_hits"

  def __enter__(self) -> Compilations:
    jax.monitoring.register_event_duration_secs_listener(self._duration)
    jax.monitoring.register_event_listener(self._event)
    return self

  def __exit__(self, *_: object) -> None:
    jax.monitoring.unregister_event_duration_listener(self._duration)
    jax.monitoring.unregister_event_listener(self._event)


def reset_peak_memory() -> None:
  """Lets the next `peak_memory` speak of what comes from now on, where the system allows it."""
  with contextlib.suppress(OSError):
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
  """Bytes: of the accelerator where there is one, else of this process; None where unknown."""
  stats = None if jax.default_backend() == "cpu" else jax.devices()[0].memory_stats()
  if stats:
    return stats.get("peak_bytes_in_use")
  try:
    lines = Path("/proc/self/status").read_text().splitlines()
  except OSError:
    return None
  return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM")), None)


class Company:
  """How many cores other processes used while it was entered: a busy machine measures nothing."""

  others: float | None = None

  def __enter__(self) -> Company:
    self._start = (_all_cpu(), sum(os.times()[:4]), time.perf_counter())
    return self

  def __exit__(self, *_: object) -> None:
    everyone, own, now = _all_cpu(), sum(os.times()[:4]), time.perf_counter()
    if everyone is None or self._start[0] is None:
      return
    spent = max(now - self._start[2], 1e-9)
    self.others = round(max(0.0, everyone - self._start[0] - own + self._start[1]) / spent, 2)


def _all_cpu() -> float | None:
  """Seconds of CPU that the whole machine has used."""
  try:
    ticks = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
  except OSError:
    return None
  return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
