"""The one training loop: steps, metrics, checkpoints, signals."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

from xwinjax.checkpoint.store import Store
from xwinjax.core import processes, system
from xwinjax.core.bounds import Amount, Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import jsonl
from xwinjax.data.seal import sha256_file
from xwinjax.sharding.place import put_batch
from xwinjax.train import agreed, beside
from xwinjax.train.agreed import Together
from xwinjax.train.spikes import Spikes
from xwinjax.train.step import TrainState

BatchStream = Iterator[dict[str, np.ndarray]]


class Stopped(Exception):
  """Training ended early because of a signal, its state saved. `code` is the exit status."""

  def __init__(self, code: int, step: int):
    super().__init__(f"stopped by a signal after step {step}; run the same command to continue")
    self.code = code


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """What the loop does beside stepping."""

  checkpoint_every: Positive = 200  # steps; the last step is always saved
  stop_after_skips: Positive = 10  # updates refused in a row before the run stops; at most an epoch
  say_every: Amount = 10.0  # seconds between lines when not on a terminal
  sinks: tuple[str, ...] = ()  # where metrics go besides metrics.jsonl: tensorboard, wandb
  profile: Natural = 0  # steps that JAX's profiler traces, into profile/ in the stage's folder
  hung_after: Amount = 300.0  # seconds in one step after which a line says so; 0: none

  def __post_init__(self):
    beside.check_sinks(self.sinks)


class _Signals:
  """Remembers SIGTERM or SIGINT until the step is done; a second one stops at once."""

  def __init__(self):
    self.caught = 0
    self._before: dict[int, Any] = {}

  def _catch(self, number: int, _: FrameType | None) -> None:
    if self.caught:
      raise SystemExit(128 + number)
    self.caught = number

  def __enter__(self):
    try:
      for number in (signal.SIGTERM, signal.SIGINT):
        self._before[number] = signal.signal(number, self._catch)
    except ValueError:
      pass  # not the main thread; whoever started it handles signals
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)


@contextlib.contextmanager
def _closing(store: Store) -> Iterator[None]:
  """Whatever happens, a checkpoint under way is finished; unless one of several processes fails,
  for then the others may not be there to finish it with.
  """
  try:
    yield
  except BaseException as e:
    if processes.count() == 1 or isinstance(e, Stopped):
      store.close()
    raise
  store.close()


def _opened(path: Path):
  """The file at its end; nothing for processes that do not lead."""
  return path.open("a", encoding="utf-8") if system.leads() else contextlib.nullcontext()


def truncate_metrics(path: Path, step: int, sha256: str | None = None) -> None:
  """Leaves the lines of steps up to `step`; what a killed run wrote beyond them will come again.

  Raises: UserError where those are not the ones of that sha256.
  """
  if not system.leads() or not (path.exists() or sha256):
    return
  kept = []
  for line in path.read_bytes().split(b"\n") if path.exists() else ():
    try:
      row = json.loads(line)
    except (ValueError, RecursionError):
      continue  # a line cut short by the kill, or the empty end
    at = row.get("step") if isinstance(row, dict) else None
    if isinstance(at, int) and at <= step:
      kept.append(line + b"\n")
  text = b"".join(kept)
  if sha256 and hashlib.sha256(text).hexdigest() != sha256:
    raise UserError(
      f"{path}: changed since step {step} was saved; restore it, or delete {path.parent} to train "
      "again"
    )
  jsonl.write_atomic(path, text.decode())


def _continue(store: Store, metrics: Path, start: int) -> None:
  store.sweep()
  truncate_metrics(metrics, start, store.notes(start).get("metrics") if start else None)


def tokens_per_second(path: Path) -> float:
  """Of the steps of a metrics.jsonl that compiled nothing; 0 where there are none."""
  rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
  rows = [row for row in rows if not row["first_of_shape"]]
  return sum(row["tokens"] for row in rows) / max(sum(row["seconds"] for row in rows), 1e-9)


def fit(
  step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
  state: TrainState,
  batches: Callable[[int], BatchStream],
  *,
  steps: int,
  folder: Path,
  identity: dict[str, Any],
  title: str,
  mesh=None,
  config: LoopConfig | None = None,
  learning_rate: Callable[[int], Any] | None = None,
  on_checkpoint: Callable[[int, TrainState], None] | None = None,
  mfu_of: Callable[[float], float] | None = None,
) -> TrainState:
  """Trains from the newest checkpoint in `folder` (or from `state`) to `steps`.

  Several processes take each step together; a signal to one of them ends all after the same step.

  Args:
    step: from `train.step.make_train_step`.
    batches: step -> the stream of batches from there on; of several processes, each one's rows.
    folder: gets checkpoints/ and metrics.jsonl, one object a step.
    identity: what makes this run this run; see `checkpoint.store`.
    on_checkpoint: called with every (step, state) just before it is saved: killed between the two,
      the run comes by that step again, so nothing it does is missed.
    mfu_of: tokens/s -> share of the devices' peak, where that is known.

  Raises: Stopped after SIGTERM (code 143) or SIGINT (130), once the state is saved; UserError when
    too many updates in a row were not finite. No checkpoint is written in that case.
  """
  config = config or LoopConfig()
  folder.mkdir(parents=True, exist_ok=True)
  store = Store(folder / "checkpoints", identity)
  start, state = store.restore(state) or (0, state)
  metrics_path = folder / "metrics.jsonl"
  processes.on_lead(lambda: _continue(store, metrics_path, start))
  together = Together(mesh) if mesh is not None and jax.process_count() > 1 else None
  with (
    _Signals() as signals,
    _closing(store),
    _opened(metrics_path) as out,
    Progress(title, steps, "steps", done=start, every=config.say_every) as progress,
    beside.sinks(config.sinks, folder, title, start, identity) as sinks,
    beside.LookOut(title, config.hung_after, beside.say) as look_out,
    beside.Tracer(folder, start, steps, config.profile) as tracer,
  ):
    log = _Log(out, progress, config, learning_rate, mfu_of, sinks)
    stream = batches(start) if start < steps else iter(())
    for at in range(start, steps):
      tracer.at(at)
      look_out.at(at + 1, "waiting for data")
      waited = time.perf_counter()
      batch = next(stream)
      log.batch(batch, time.perf_counter() - waited)
      look_out.at(at + 1, "compiling" if log.facts["first_of_shape"] else "running")
      placed = put_batch(batch, mesh)
      sums = together.begin(placed, signals.caught) if together is not None else None
      state, scalars = step(state, placed)
      told = agreed.read(sums) if sums is not None else None
      if told is not None:
        log.facts |= {"rows": len(placed["tokens"]), **told[0]}
      log.step(at + 1, scalars)
      stop = signals.caught if told is None else told[1]
      if stop or (at + 1) % config.checkpoint_every == 0 or at + 1 == steps:
        log.flush()  # raises before anything is saved if updates keep failing
        look_out.at(at + 1, "saving")
        if on_checkpoint is not None:
          on_checkpoint(at + 1, state)
        store.save(at + 1, state, log.notes())
      if stop:
        raise Stopped(128 + stop, at + 1)
  if signals.caught and together is None:  # while the last step was being saved
    raise Stopped(128 + signals.caught, steps)
  return state


class _Log:
  """Writes the metrics of a step while the next one runs."""

  def __init__(
    self, out, progress: Progress, config: LoopConfig, learning_rate, mfu_of=None, sinks=()
  ):
    self.out, self.progress, self.config, self.learning_rate = out, progress, config, learning_rate
    self.mfu_of, self.sinks = mfu_of, sinks
    self.spent = self.waited = 0.0  # seconds of the steps that compiled nothing
    self.used = self.places = 0
    self.shapes: set = set()
    self.pending: tuple[int, dict, dict] | None = None
    self.facts: dict[str, Any] = {}
    self.spikes = Spikes()
    self.clock = time.perf_counter()

  def batch(self, batch: dict[str, np.ndarray], waited: float) -> None:
    segments, shape = batch.get("segments"), batch["tokens"].shape
    used = np.count_nonzero(batch["tokens"] if segments is None else segments)
    self.facts = {
      "rows": shape[0],
      "length": shape[1],
      "tokens": int(used),
      "targets": int(batch["mask"].sum()),
      "wait_s": round(waited, 4),
      "first_of_shape": shape not in self.shapes,
    }
    if self.facts["first_of_shape"]:
      self.shapes.add(shape)
      self.flush()  # the last step's seconds end before this one compiles

  def step(self, number: int, scalars: dict[str, jax.Array]) -> None:
    self.flush()
    self.pending = (number, scalars, self.facts)
    if self.facts["first_of_shape"]:
      self.flush()  # and this one's hold its compilation

  def flush(self) -> None:
    if self.pending is None:
      return
    number, scalars, facts = self.pending
    self.pending = None
    values = {name: float(x) for name, x in jax.device_get(scalars).items()}
    now = time.perf_counter()
    seconds, self.clock = now - self.clock, now
    row = {"step": number, **{k: _rounded(v) for k, v in values.items()}}
    if self.learning_rate is not None:
      row["lr"] = float(self.learning_rate(number - 1))
    row |= {**facts, **beside.peaks(), "seconds": round(seconds, 4)}
    if self.out is not None:
      self.out.write(json.dumps(row) + "\n")
      self.out.flush()
    self.sink(number, row)
    compiled = facts["first_of_shape"]
    if compiled:
      self.progress.leave_out(seconds, 1)
    else:
      self.spent, self.waited = self.spent + seconds, self.waited + facts["wait_s"]
    self.used += facts["tokens"]
    self.places += facts["rows"] * facts["length"]
    note = "  ".join(f"{k} {values[k]:.3f}" for k in ("loss", "accuracy", "margin") if k in values)
    self.progress.advance(
      tokens=0 if compiled else facts["tokens"], note=f"{note}  {self.where_time_goes()}"
    )
    usual = self.spikes.usual(row.get("loss"))
    if usual is not None and system.leads():
      beside.say(
        f"{self.progress.title}: step {number}: a loss of {values['loss']:.3g} after {usual:.3g} "
        "in the steps before; lower the learning rate if it stays there"
      )
    skipped = int(values["skipped"])
    if skipped >= self.config.stop_after_skips:
      raise UserError(
        f"step {number}: the loss or gradient was not finite for {skipped} "
        f"step{'s' * (skipped > 1)} in a row; lower the learning rate or look at their data. "
        + ("The last good checkpoint is kept" if number > skipped else "Nothing is kept")
      )

  def sink(self, number: int, row: dict[str, Any]) -> None:
    """The row's numbers to other programs, with what they cannot work out of it."""
    rate = row["tokens"] / max(row["seconds"], 1e-9)
    numbers = {k: float(v) for k, v in row.items() if isinstance(v, (int, float)) and k != "step"}
    numbers |= {"tokens_per_second": rate}
    numbers |= {"mfu": self.mfu_of(rate)} if self.mfu_of is not None else {}
    for sink in self.sinks:
      sink.write(number, numbers)

  def notes(self) -> dict[str, Any]:
    """What a checkpoint says of the metrics that go with it: their sha256."""
    if self.out is None:
      return {}
    os.fsync(self.out.fileno())
    return {"metrics": sha256_file(Path(self.out.name))}

  def where_time_goes(self) -> str:
    """`padding 12%  wait 0%  MFU 41%`: a slow run explains itself."""
    parts = [f"padding {1 - self.used / max(self.places, 1):.0%}"]
    if self.spent:
      parts.append(f"wait {self.waited / self.spent:.0%}")
      if self.mfu_of is not None:
        parts.append(f"MFU {self.mfu_of(self.progress.tokens_per_second()):.0%}")
    return "  ".join(parts)


def _rounded(x: float) -> float | None:
  """Seven digits are all an f32 has; JSON has no NaN."""
  return float(f"{x:.7g}") if np.isfinite(x) else None
