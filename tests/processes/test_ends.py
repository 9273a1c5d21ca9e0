"""One process ends: so do the others, with one line, and a rerun goes on to the same bits."""

import signal
import time

import launch
import pytest
from test_same_bits import metrics, same_bits

LOST_AFTER = 8  # seconds


def begin(folder, inputs, count=2):
  given = {"inputs": str(inputs), "folder": str(folder), "stages": ["long"]}
  start = {"lost_after": LOST_AFTER} if count > 1 else None
  return launch.worker(count, 2 // count, folder / "logs", start=start, **given)


def after_steps(run, folder, steps):
  """Waits until so many steps are done; asserts that the run has not ended by then."""
  file, until = folder / "long" / "metrics.jsonl", time.monotonic() + 240
  while not file.exists() or file.read_bytes().count(b"\n") < steps:
    assert run.processes[0].poll() is None, run.said(0)[-20:]
    assert time.monotonic() < until
    time.sleep(0.02)


def stop(folder, inputs, which, number, steps):
  """Sends a signal to one process of a run; (exit statuses, seconds until all had ended, run)."""
  run = begin(folder, inputs)
  after_steps(run, folder, steps)
  run.processes[which].send_signal(number)
  sent = time.monotonic()
  return run.end(120), time.monotonic() - sent, run


@pytest.mark.slow
def test_stopped_and_killed_it_ends_with_the_same_bits(inputs, tmp_path):
  one, two = tmp_path / "one", tmp_path / "two"
  alone = begin(one, inputs, count=1)  # meanwhile, without a break

  statuses, _, run = stop(two, inputs, which=1, number=signal.SIGTERM, steps=3)
  assert statuses == [143, 143]
  assert run.said(0)[-1].startswith("stopped by a signal after step")
  assert run.said(1) == []

  done = len(metrics(two / "long"))
  statuses, seconds, run = stop(two, inputs, which=1, number=signal.SIGKILL, steps=done + 5)
  assert statuses == [1, -signal.SIGKILL]
  assert seconds < LOST_AFTER + 10
  assert "error: process 1 on " in run.said(0)[-1]
  assert "has given no sign of life" in run.said(0)[-1]
  assert "Traceback" not in "".join(run.said(0))

  done = len(metrics(two / "long"))
  statuses, seconds, run = stop(two, inputs, which=0, number=signal.SIGKILL, steps=done + 5)
  assert statuses == [-signal.SIGKILL, 1]
  assert seconds < LOST_AFTER + 10
  assert run.said(1)[-1].startswith("error: process 0 on 127.0.0.1 has ended without a word")

  assert begin(two, inputs).end() == [0, 0]
  assert alone.end() == [0]
  assert same_bits(one / "long", two / "long")
  assert metrics(one / "long") == metrics(two / "long")


@pytest.mark.slow
def test_begun_by_two_it_is_ended_by_one(inputs, tmp_path):
  stop(tmp_path, inputs, which=1, number=signal.SIGKILL, steps=5)
  assert begin(tmp_path, inputs, count=1).end() == [0]
  assert [row["step"] for row in metrics(tmp_path / "long")] == [*range(1, 41)]


@pytest.mark.slow
def test_another_command_is_refused(inputs, tmp_path):
  flags = [
    "--config=configs/sft.py",
    f"--workdir={tmp_path / 'run'}",
    f"--config.model.path={inputs / 'tiny'}",
    f"--config.data={inputs / 'sft.jsonl'}",
  ]
  run = launch.command("experiments.sft", 2, 1, tmp_path / "logs", *flags, each=["--redo", ""])
  assert run.end() == [2, 2]
  assert run.said(0) == [
    "error: process 1 was given --redo=False, process 0 --redo=True: all processes of a run are "
    "started by the same command"
  ]
  assert run.said(1) == []
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_mistake_is_told_once(inputs, tmp_path):
  flags = ["--config=configs/sft.py", f"--workdir={tmp_path / 'run'}"]
  flags += [f"--config.model.path={inputs / 'tiny'}", f"--config.data={inputs / 'pairs.jsonl'}"]
  run = launch.command("experiments.sft", 2, 1, tmp_path / "logs", *flags)
  assert run.end() == [2, 2]
  assert [line.startswith("error: ") for line in run.said(0)] == [True]  # before anything else
  assert run.said(1) == []
