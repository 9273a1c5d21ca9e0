"""LIMA's recipe on a sandbox of a few dozen examples, run as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = {
  "sandbox.world.documents": 300,
  "sandbox.world.examples": 64,
  "sandbox.world.vocab_size": 400,
  "sandbox.pretrain.dim": 32,
  "sandbox.pretrain.layers": 1,
  "sandbox.pretrain.ffn": 64,
  "sandbox.pretrain.cached": False,
  "sandbox.community.examples": 16,
  "sandbox.community.dialogues": 2,
  "sandbox.community.dev": 4,
  "sandbox.community.test": 6,
  "sandbox.community.test_dialogues": 2,
  "sandbox.community.turns": 2,
  "sft.train.epochs": 4.0,
  "sft.train.batch.buckets": 1,
  "first_epoch": 2,
  "last_epoch": 3,
  "choose.generate.max_new": 16,
  "choose.generate.samples": 2,
  "evaluate.generate.samples": 2,
  "evaluate.generate.max_new": 16,
  "dialogues.generate.max_new": 16,
}


def command(workdir: Path, *more: str) -> list[str]:
  return [
    sys.executable,
    "-m",
    "experiments.lima",
    "--config=configs/lima.py:sandbox",
    f"--workdir={workdir}",
    *(f"--config.{k}={v}" for k, v in SMALL.items()),
    *more,
  ]


def run(workdir: Path, *more: str) -> subprocess.CompletedProcess:
  """In a process without the eight simulated devices: one, as on a laptop."""
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return subprocess.run(
    command(workdir, *more), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
  )


def manifest(workdir: Path, stage: str) -> dict:
  return json.loads((workdir / stage / "manifest.json").read_text())
