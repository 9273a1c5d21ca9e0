"""Settings of the process that jax itself does not make."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path


def keep_freed_memory() -> None:
  """Lets glibc keep what is freed instead of handing it back to the kernel.

  XLA's CPU backend allocates a step's temporaries anew each time; returned to the kernel in
  between, every page of them is faulted in again. On 2 cores that was a third of an SFT step.
  Does nothing but on Linux with glibc.
  """
  if not sys.platform.startswith("linux"):
    return
  try:
    mallopt = ctypes.CDLL("libc.so.6").mallopt
  except (OSError, AttributeError):
    return
  M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
  mallopt(M_ARENA_MAX, 1)
  # Thresholds of 2 GB, the most an int holds, would not do: a step on long rows allocates more.
  mallopt(M_MMAP_MAX, 0)  # nothing in a mapping of its own
  mallopt(M_TRIM_THRESHOLD, -1)  # no trimming


# Dense bfloat16 peaks in FLOP/s a chip, from the vendors' data sheets.
PEAKS = {
  "A100": 312e12,
  "H100": 989e12,
  "H200": 989e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5": 459e12,  # v5p calls itself that; the rows above it are met first
  "TPU v6 lite": 918e12,
}


def peak_flops(device_kind: str) -> float | None:
  """The peak of one device, or None where it is not known."""
  return next((rate for name, rate in PEAKS.items() if name in device_kind), None)


def cpu() -> str:
  """The kind of this machine's CPU: clouds often hide its name, so family and model are said."""
  try:
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
  except OSError:
    lines = []
  said = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
  name = said.get("model name") or platform.processor() or "cpu"
  numbers = [f"{k.split()[-1]} {said[k]}" for k in ("cpu family", "model") if k in said]
  return f"{name} ({', '.join(numbers)})" if numbers else name


def memory_bytes() -> float | None:
  """Main memory that this process may use: the machine's, or its control group's."""
  try:
    there = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
  except (OSError, ValueError):
    return None
  try:
    return min(there, float(Path("/sys/fs/cgroup/memory.max").read_text()))
  except (OSError, ValueError):  # no such group, or "max"
    return there


def cache_folder() -> Path:
  """Where things worth keeping between runs lie: $XWINJAX_CACHE, or ~/.cache/xwinjax."""
  return Path(os.environ.get("XWINJAX_CACHE") or Path.home() / ".cache" / "xwinjax")


def prepare() -> None:
  """Called once by every command, before the first computation."""
  import jax

  keep_freed_memory()
  # Dispatched ahead, a step takes its temporaries before the last one has given up its own: the
  # heap grows by fresh pages (a step of 0.34 s then took 1.6 s) and stays grown.
  jax.config.update("jax_cpu_enable_async_dispatch", False)
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # many small ones add up
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
