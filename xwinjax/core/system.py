"""This machine and this package's own code, asked without jax."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path


def cores() -> int:
  """Cores this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@functools.cache
def code_digest(*rooms: str) -> str:
  """sha256 of the package's own code in these rooms, or in all; for what is kept between runs."""
  package, digest = Path(__file__).parents[1], hashlib.sha256()
  for path in sorted(p for room in rooms or ("",) for p in (package / room).rglob("*.py")):
    digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
  return digest.hexdigest()


_process = 0


def leads() -> bool:
  """Whether this process writes and speaks for its run: always, but for processes 1, 2, … of it."""
  return _process == 0


def set_process(number: int) -> None:
  """Says which process of its run this is; see `core.processes`."""
  global _process
  _process = number
