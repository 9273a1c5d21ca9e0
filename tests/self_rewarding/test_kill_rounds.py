"""Killed with -9 in every stage of a round, the rounds go on and end with the same pairs."""

import shutil
import signal
import subprocess
import time

import pytest
from small_loop import ROOT, command, environment, run_loop, summary_of

STAGES = (
  "instruct",
  "sample",
  "judge",
  "pairs",
  "reference",
  "dpo",
  "choose",
  "evaluate",
  "judging",
)


def begun(folder) -> bool:
  """Whether the stage is at work: for training, a few steps in."""
  if folder.name != "dpo":
    return (folder / "settings.json").exists()
  metrics = folder / "metrics.jsonl"
  return metrics.exists() and metrics.read_bytes().count(b"\n") >= 2


def kill_in(stage, workdir) -> bool:
  """Starts the rounds and kills them in this stage of M3; False if it was done too soon."""
  process = subprocess.Popen(
    command(workdir),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  folder = workdir / "M3" / stage
  while not begun(folder) and process.poll() is None:
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  process.wait()
  return not (folder / "manifest.json").exists()


@pytest.mark.slow
def test_killed_in_every_stage_of_the_second_round_it_ends_the_same(finished, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(finished[0], workdir)
  shutil.rmtree(workdir / "M3")
  killed = {stage for stage in STAGES if kill_in(stage, workdir)}
  assert killed >= {"instruct", "sample", "judge", "dpo", "choose", "evaluate", "judging"}
  last = run_loop(workdir)
  assert last.returncode == 0, last.stderr[-2000:]
  for name in ("instruct/prompts.jsonl", "judge/candidates.jsonl", "pairs/pairs.jsonl"):
    same = (workdir / "M3" / name).read_bytes() == (finished[0] / "M3" / name).read_bytes()
    assert same, name
  assert summary_of(workdir) == summary_of(finished[0])
