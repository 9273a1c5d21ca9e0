"""How time grows: 1×, 2×, 4× tokens, batch, row length and samples a prompt."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import others, results, run
from benchmark.run import Settings
from benchmark.training import Opened, Training
from benchmark.work import Work
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Builder, Items
from xwinjax.data.records import Counts
from xwinjax.stages import common

SIZES = (1, 2, 4)


def random_items(count: int, length: int, vocab_size: int) -> Items:
  """Sequences of one length, the second half of each supervised."""
  rng, builder = np.random.default_rng(0), Builder()
  for i in range(count):
    ids = rng.integers(3, vocab_size, length).tolist()
    builder.sequence(str(i), ids, [0] * (length // 2) + [1] * (length - length // 2))
  return builder.build(Counts(), branched=False)


def _steps(opened: Opened, work: Work, batch: int, length: int, steps: int, rounds: int) -> float:
  """Seconds of `steps` SFT steps of batch × length."""
  made = random_items(batch * steps, length, opened.config.vocab_size)
  row = Training("train_sft", opened, work, BatchConfig(batch), steps, items=made)
  return statistics.median(row.run().seconds for _ in range(rounds))


def _sampling(opened: Opened, work: Work, samples: int, new: int, rounds: int) -> float:
  row = others.Sampling(opened, work, samples, new)
  return statistics.median(row.run().seconds for _ in range(rounds))


def measure(work: Work, settings: Settings) -> dict[str, list[dict[str, Any]]]:
  """For each thing that grows: its sizes and the seconds they took."""
  opened = run.open_model(work, settings)
  room, rounds = opened.config.max_length, settings.rounds
  length = max(min(128, room // 4), 16)
  batch, steps = max(settings.batch.batch_size // 2, 1), max(settings.steps // 8, 1)
  samples = max(settings.samples // 4, 1)

  def one(what: str, size: int) -> tuple[int, float]:
    if what == "tokens":
      n = steps * size
      return n * batch * length, _steps(opened, work, batch, length, n, rounds)
    if what == "batch":
      return batch * size, _steps(opened, work, batch * size, length, steps, rounds)
    if what == "row length":
      return length * size, _steps(opened, work, batch, length * size, steps, rounds)
    return samples * size, _sampling(opened, work, samples * size, settings.new, rounds)

  series: dict[str, list[dict[str, Any]]] = {}
  for what in ("tokens", "batch", "row length", "samples a prompt"):
    rows = series.setdefault(what, [])
    for size in SIZES:
      value, seconds = one(what, size)
      times = seconds / rows[0]["seconds"] if rows else 1.0
      rows.append({"size": value, "seconds": seconds, "times": times})
      common.say(f"{what} {value}: {seconds:.3g} s, {times:.2f}×")
  return series


def table(series: dict[str, list[dict[str, Any]]]) -> str:
  cells = [("what grows", *(f"{s}×" for s in SIZES))]
  for what, rows in series.items():
    cells.append(
      (
        f"{what} {', '.join(str(r['size']) for r in rows)}",
        *(f"{r['seconds']:.3g} s ({r['times']:.2f}×)" for r in rows),
      )
    )
  return results.lines(cells)


def plot(path: Path, series: dict[str, Any], machine: dict[str, Any]) -> None:
  from benchmark import charts as bench_charts

  bench_charts.growth(path, series, machine["device"])
