"""What goes on beside the steps: metrics to other programs, traces, a look-out for a hung step."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax

from xwinjax.core import system
from xwinjax.core.extras import needs

FIRST_TRACED = 10  # steps after the start: by then most shapes have compiled
COMPILING = 1800.0  # seconds that a step which compiles may take before it is said to hang


class Sink(Protocol):
  """Another place for metrics."""

  def write(self, step: int, values: Mapping[str, float]) -> None: ...

  def close(self) -> None: ...


class TensorBoard:
  """Event files in FOLDER/tensorboard; after a resume, later steps of the killed run are hidden."""

  module = "tensorboardX"

  def __init__(self, folder: Path, title: str, start: int, identity: Mapping[str, Any]):
    with needs("tensorboard"):
      import tensorboardX
    self.title = title
    self.writer = tensorboardX.SummaryWriter(
      str(folder / "tensorboard"), purge_step=start + 1 if start else None
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
      self.writer.add_scalar(f"{self.title}/{name}", value, step)

  def close(self) -> None:
    self.writer.close()


class WandB:
  """A run of Weights & Biases, the same after a resume; its own variables (WANDB_…) say whose."""

  module = "wandb"

  def __init__(self, folder: Path, title: str, start: int, identity: Mapping[str, Any]):
    with needs("wandb"):
      import wandb  # pyright: ignore[reportMissingImports]
    self.run = wandb.init(
      project="xwinjax",
      name=f"{folder.parent.name}/{folder.name}",
      id=hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16],
      resume="allow",
      dir=str(folder),
      config=dict(identity),
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    self.run.log(dict(values), step=step)

  def close(self) -> None:
    self.run.finish()


SINKS = {"tensorboard": TensorBoard, "wandb": WandB}


def check_sinks(names: tuple[str, ...]) -> None:
  """Raises ValueError for a name that is unknown, or whose library is missing."""
  for name in names:
    if name not in SINKS:
      raise ValueError(f"sinks {name!r}: expected some of {', '.join(SINKS)}")
    if importlib.util.find_spec(SINKS[name].module) is None:
      raise ValueError(f"sinks {name!r}: its library is missing; pip install 'xwinjax[{name}]'")


class LookOut:
  """Says once of a step that it takes far longer than others: where, and for what it waits."""

  def __init__(self, title: str, after: float, say: Callable[[str], None], every: float = 1.0):
    self.title, self.after, self.say, self.every = title, after, say, every
    self.longest = 0.0
    self.now: tuple[int, str, float] | None = None  # (step, what it is at, since when)
    self.ended = threading.Event()
    self.thread = threading.Thread(target=self._watch, daemon=True)

  def at(self, step: int, what: str) -> None:
    """The step has come to this: waiting for data, compiling, running."""
    before, self.now = self.now, (step, what, time.monotonic())
    if before is not None and before[1] != "compiling":
      self.longest = max(self.longest, self.now[2] - before[2])

  def limit(self, what: str) -> float:
    return max(self.after, COMPILING if what == "compiling" else 10 * self.longest)

  def _watch(self) -> None:
    told: Any = None
    while not self.ended.wait(self.every):
      now = self.now
      if now is None or now is told:
        continue
      step, what, since = now
      spent = time.monotonic() - since
      if spent > self.limit(what):
        told = now
        self.say(
          f"{self.title}: step {step} has been {what} for {spent:.0f} s, the longest before took "
          f"{self.longest:.1f} s: it may hang; the run goes on when it does"
        )

  def __enter__(self) -> LookOut:
    if self.after:
      self.thread.start()
    return self

  def __exit__(self, *_: object) -> None:
    self.ended.set()


class Tracer:
  """JAX's profiler over so many steps, once, into FOLDER/profile: for TensorBoard or Perfetto."""

  def __init__(self, folder: Path, start: int, end: int, steps: int):
    self.place, self.running = folder / "profile", False
    self.first = max(min(start + FIRST_TRACED, end - steps), start)
    self.last = self.first + steps if steps else -1

  def at(self, step: int) -> None:
    """Called before each step."""
    if self.first <= step < self.last and not self.running:
      jax.profiler.start_trace(str(self.place))
      self.running = True
    elif self.running and step >= self.last:
      self.__exit__()

  def __enter__(self) -> Tracer:
    return self

  def __exit__(self, *_: object) -> None:
    if self.running:
      jax.profiler.stop_trace()
      self.running = False
      say(f"steps {self.first + 1} to {self.last} traced: {self.place}")


def say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


def peaks() -> dict[str, float]:
  """GiB of each of this process's devices in use at most so far, where the platform counts."""
  stats = {d.id: d.memory_stats() for d in jax.local_devices()}
  return {
    f"device_{i}_peak_gib": round(s["peak_bytes_in_use"] / 2**30, 3)
    for i, s in stats.items()
    if s and "peak_bytes_in_use" in s
  }


@contextlib.contextmanager
def sinks(
  names: tuple[str, ...], folder: Path, title: str, start: int, identity: Mapping[str, Any]
) -> Iterator[list[Sink]]:
  """Opened; none for processes that do not lead."""
  with contextlib.ExitStack() as stack:
    opened: list[Sink] = []
    for name in names if system.leads() else ():
      sink = SINKS[name](folder, title, start, identity)
      stack.callback(sink.close)
      opened.append(sink)
    yield opened
