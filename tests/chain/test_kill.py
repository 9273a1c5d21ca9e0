"""Killed with -9 in every stage, the chain goes on and ends with the same figures."""

import signal
import subprocess
import time

import pytest
from small_chain import ROOT, command, environment, run_chain, summary_of

STAGES = (
  "world",
  "pretrain",
  "sft",
  "label",
  "reward",
  "evaluate_base",
  "evaluate_sft",
  "sample",
  "score",
  "select",
  "rs",
  "evaluate_rs",
  "reference",
  "dpo",
  "evaluate_dpo",
  "token_gains",
)
TRAINED = ("pretrain", "sft", "reward", "rs", "dpo")


def begun(folder) -> bool:
  """Whether the stage is at work: for training, a few steps in."""
  if folder.name not in TRAINED:
    return (folder / "settings.json").exists()
  metrics = folder / "metrics.jsonl"
  return metrics.exists() and metrics.read_bytes().count(b"\n") >= 2


def kill_in(stage, workdir) -> bool:
  """Starts the chain and kills it in this stage; False if the stage was done too soon."""
  process = subprocess.Popen(
    command(workdir),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  while not begun(workdir / stage) and process.poll() is None:
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  process.wait()
  return not (workdir / stage / "manifest.json").exists()


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_figures(finished, tmp_path):
  workdir = tmp_path / "run"
  killed = {stage for stage in STAGES if kill_in(stage, workdir)}
  assert killed >= {"pretrain", "sft", "label", "reward", "sample", "evaluate_dpo"}
  last = run_chain(workdir)
  assert last.returncode == 0, last.stderr[-2000:]
  assert summary_of(workdir) == summary_of(finished[0])
  table = lambda text: text.split("\n\n")[0]
  assert table(last.stdout) == table(finished[1].stdout)
