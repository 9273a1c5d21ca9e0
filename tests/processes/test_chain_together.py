"""The small chain by two processes: the models and texts of one process with two devices.

Run by hand: `XWINJAX_LONG=1 tools/test tests/processes/test_chain_together.py`. What compiles in
several processes comes from no cache, and each stage's own test is in test_same_bits.py.
"""

import json
import os
import sys
from pathlib import Path

import launch
import pytest
from test_same_bits import same_bits, texts

sys.path.append(str(Path(__file__).parents[1] / "chain"))
from small_chain import SMALL

# One shape a stage: most of the time would go into compiling others.
ONE_SHAPE = {
  f"{group}.train.batch.buckets": 1 for group in ("sandbox.pretrain", "sft", "reward", "rs", "dpo")
}


def summary(folder):
  """summary.json without what a clock says, and what differs in the last digit of a log-prob."""
  rows = json.loads((folder / "summary.json").read_text())["stages"]
  return [{k: v for k, v in r.items() if k != "seconds" and "kl" not in k} for r in rows]


@pytest.mark.slow
@pytest.mark.skipif("XWINJAX_LONG" not in os.environ, reason="ten minutes; XWINJAX_LONG=1 runs it")
def test_the_chain_by_two_is_the_chain_by_one(tmp_path):
  fields = [f"--config.{k}={v}" for k, v in (SMALL | ONE_SHAPE).items()]
  folders, runs = [tmp_path / "one", tmp_path / "two"], []
  for count, folder in zip((1, 2), folders, strict=True):
    flags = ["--config=configs/xwin.py:sandbox", f"--workdir={folder}", *fields]
    logs = tmp_path / f"logs{count}"
    runs.append(launch.command("experiments.xwin", count, 2 // count, logs, *flags))
  for run in runs:
    statuses = run.end(1800)
    assert not any(statuses), run.said(0)[-20:]
  one, two = folders
  for stage in ("pretrain", "sft", "reward", "rs", "dpo"):
    assert same_bits(one / stage, two / stage), stage
  for stage in ("evaluate_base", "sample", "evaluate_dpo"):
    assert texts(one / stage / "candidates.jsonl") == texts(two / stage / "candidates.jsonl")
  assert summary(one) == summary(two)
