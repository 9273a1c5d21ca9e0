"""The rounds on a sandbox of a few dozen prompts, run as a person runs them."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = {
  "sandbox.world.world.documents": 300,
  "sandbox.world.world.examples": 160,
  "sandbox.world.world.heldout_prompts": 6,
  "sandbox.world.world.vocab_size": 640,
  "sandbox.world.judging.lists": 100,
  "sandbox.world.judging.writing": 20,
  "sandbox.world.judging.eft": 160,
  "sandbox.world.judging.judged": 20,
  "sandbox.world.judging.heldout_judged": 8,
  "sandbox.world.judging.pairs": 40,
  "sandbox.world.judging.heldout_pairs": 16,
  "sandbox.world.judging.validation_prompts": 4,
  "sandbox.pretrain.dim": 32,
  "sandbox.pretrain.layers": 2,
  "sandbox.pretrain.ffn": 64,
  "sandbox.pretrain.cached": False,
  "sandbox.pretrain.train.loop.checkpoint_every": 4,
  "sft.train.epochs": 1.0,
  "sft.train.loop.checkpoint_every": 4,
  "instruct.count": 12,
  "instruct.shard": 8,
  "sample.generate.max_new": 24,
  "sample.shard": 4,
  "evaluate.generate.samples": 4,
  "evaluate.generate.max_new": 24,
  "judge.max_new": 16,
  "judge.shard": 4,
  "judge.mode": "expected",
  "judging.mode": "both",
  "choose.generate.max_new": 24,
  "choose.generate.samples": 2,
  "dpo.train.epochs": 4.0,
  "dpo.train.batch.batch_tokens": 256,
  "dpo.train.loop.checkpoint_every": 2,
  "evaluate.shard": 4,
}


def command(workdir: Path, *more: str) -> list[str]:
  return [
    sys.executable,
    "-m",
    "experiments.self_rewarding",
    "--config=configs/self_rewarding.py:sandbox",
    f"--workdir={workdir}",
    *(f"--config.{k}={v}" for k, v in SMALL.items()),
    *more,
  ]


def environment() -> dict[str, str]:
  """Without the eight simulated devices: one, as on a laptop."""
  import os

  return {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}


def run_loop(workdir: Path, *more: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    command(workdir, *more),
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    check=False,
  )


def without_clocks(summary: dict) -> dict:
  """summary.json without what a clock says."""
  rows = [{k: v for k, v in row.items() if k != "seconds"} for row in summary["models"]]
  return {**summary, "models": rows, "seconds": None}


def summary_of(workdir: Path) -> dict:
  return without_clocks(json.loads((workdir / "summary.json").read_text()))


def rows(path: Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()]
