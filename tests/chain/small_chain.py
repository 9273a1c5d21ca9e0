"""The whole chain on a sandbox of a few dozen prompts, run as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = {
  "sandbox.world.documents": 300,
  "sandbox.world.examples": 160,
  "sandbox.world.pair_prompts": 40,
  "sandbox.world.heldout_pair_prompts": 16,
  "sandbox.world.prompts": 8,
  "sandbox.world.heldout_prompts": 6,
  "sandbox.world.card": 4,
  "sandbox.world.vocab_size": 512,
  "sandbox.pretrain.dim": 32,
  "sandbox.pretrain.layers": 2,
  "sandbox.pretrain.ffn": 64,
  "sandbox.pretrain.cached": False,
  "sandbox.pretrain.train.loop.checkpoint_every": 4,
  "sandbox.label.generate.max_new": 24,
  "sandbox.label.contrasts": 24,
  "sample.generate.max_new": 24,
  "sample.generate.samples": 8,
  "evaluate.generate.samples": 8,
  "evaluate.generate.max_new": 24,
  "select.rejected": "rank:-1",
  "sft.train.loop.checkpoint_every": 4,
  "sample.shard": 4,
  "evaluate.shard": 4,
  "reward.train.loop.checkpoint_every": 4,
  "sft.train.epochs": 1.0,
}


def command(workdir: Path, *more: str) -> list[str]:
  return [
    sys.executable,
    "-m",
    "experiments.xwin",
    "--config=configs/xwin.py:sandbox",
    f"--workdir={workdir}",
    *(f"--config.{k}={v}" for k, v in SMALL.items()),
    *more,
  ]


def environment() -> dict[str, str]:
  """Without the eight simulated devices: one, as on a laptop."""
  return {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}


def run_chain(workdir: Path, *more: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    command(workdir, *more),
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    check=False,
  )


def summary_of(workdir: Path) -> dict:
  """summary.json without what a clock says."""
  summary = json.loads((workdir / "summary.json").read_text())
  summary.pop("seconds")
  for row in summary["stages"]:
    row.pop("seconds")
  return summary
