"""Whether memory stays flat over many steps and samples."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FLAT = 64.0  # bytes a step, or a sample, that count as flat: what is logged, and noise


def resident() -> int:
  """Bytes of memory that this process holds."""
  for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmRSS:"):
      return int(line.split()[1]) * 1024
  raise OSError("no VmRSS in /proc/self/status")


def slope(points: list[tuple[int, int]]) -> float:
  """Bytes a unit: the line through the second half, by the median of all pairs' slopes."""
  half = points[len(points) // 2 :]
  pairs = [(b - a) / (n - m) for i, (m, a) in enumerate(half) for n, b in half[i + 1 :]]
  return float(np.median(pairs)) if pairs else 0.0


def trained(steps: int) -> list[tuple[int, int]]:
  """(step, resident bytes) of SFT of a tiny model, with metrics and checkpoints."""
  import jax

  from xwinjax.testing.tiny import tiny_config, tiny_params
  from xwinjax.train import loop, objectives, optim
  from xwinjax.train.step import init_state, make_train_step

  config, points = tiny_config(), []
  optimizer = optim.make_optimizer(optim.OptimConfig(), steps)
  rng = np.random.default_rng(0)
  tokens = rng.integers(3, 300, (64, 2, 32)).astype(np.int32)

  def batches(start: int):
    for at in range(start, steps):
      if at % max(steps // 40, 1) == 0:
        points.append((at, resident()))
      yield {"tokens": tokens[at % 64], "mask": np.ones((2, 32), np.uint8)}

  with tempfile.TemporaryDirectory() as folder:
    loop.fit(
      make_train_step(objectives.sft(config), optimizer, seed=0),
      init_state(jax.tree.map(jax.numpy.array, tiny_params(config)), optimizer),
      batches,
      steps=steps,
      folder=Path(folder),
      identity={"run": 1},
      title="memory: train",
      config=loop.LoopConfig(checkpoint_every=max(steps // 4, 1)),
    )
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
  assert len(lines) == steps, "a metric line was lost or written twice"
  return points


def sampled(samples: int) -> list[tuple[int, int]]:
  """(samples, resident bytes) of a tiny model that answers one shard after the other."""
  from xwinjax.sample.logits import SamplingParams
  from xwinjax.sample.scheduler import Request, Sampler, SamplerConfig
  from xwinjax.testing.tiny import tiny_config, tiny_params

  config, points = tiny_config(), []
  settings = SamplerConfig(64, 1, block=8, window=32)
  sampler = Sampler(
    config, tiny_params(config), SamplingParams(), stop_ids=(2,), settings=settings, seed=0
  )
  each, done, n = max(min(samples // 40, 512), 8), 0, 0
  while done < samples:
    requests = [Request(f"{n}-{i}", [1, 5 + i % 50, 7], 8, 8) for i in range(each // 8)]
    done += sum(len(answers) for answers in sampler.sample(requests))
    n += 1
    points.append((done, resident()))
  return points


def grown(steps: int, say: Callable[[str], None]) -> dict[str, Any]:
  """The slopes of `steps` steps of training and ten times as many samples."""
  made: dict[str, Any] = {"wrong": []}
  for name, watched, count, unit in (
    ("training", trained, steps, "step"),
    ("sampling", sampled, 10 * steps, "sample"),
  ):
    points = watched(count)
    per = slope(points)
    first, last = points[len(points) // 2], points[-1]
    made[name] = {
      f"{unit}s": last[0],
      f"bytes_a_{unit}": round(per, 2),
      "mib_at_half": round(first[1] / 2**20, 1),
      "mib_at_end": round(last[1] / 2**20, 1),
    }
    say(f"{name}: {json.dumps(made[name])}")
    if per > FLAT and last[1] - first[1] > 8 * 2**20:
      made["wrong"].append({"what": name, "slope": per})
  return made
