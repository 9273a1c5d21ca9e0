"""The chain on a real pretrained Llama of 3M parameters and real text, a little of each."""

import json
import math
import subprocess
import sys

import pytest
from small_chain import ROOT, environment

LITTLE = {
  "sft.limit": 300,
  "sft.train.epochs": 1.0,
  "reward.limit": 64,
  "reward.train.epochs": 1.0,
  "sample.limit": 6,
  "sample.generate.samples": 4,
  "evaluate.limit": 4,
  "evaluate.generate.samples": 4,
  "sample.generate.max_new": 32,
  "evaluate.generate.max_new": 32,
  # Two row lengths a stage: most of the time goes into compiling them.
  **{f"{stage}.train.batch.buckets": 2 for stage in ("sft", "reward", "rs", "dpo")},
  "reward.max_length": 256,
}


@pytest.mark.slow
def test_the_chain_runs_on_a_real_llama_and_real_text(shared, tmp_path):
  workdir = tmp_path / "real"
  result = subprocess.run(
    [
      sys.executable,
      "tools/real_chain",
      str(shared),
      f"--workdir={workdir}",
      *(f"--config.{k}={v}" for k, v in LITTLE.items()),
    ],
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr[-2000:]
  summary = json.loads((workdir / "summary.json").read_text())
  assert [row["stage"] for row in summary["stages"]] == ["base", "sft", "rs", "dpo"]
  assert all(row["gold_mean"] is None for row in summary["stages"])
  sft = json.loads((workdir / "sft" / "manifest.json").read_text())["figures"]
  assert sft["heldout_nll"] < sft["heldout_nll_before"] - 0.1
  first = json.loads((workdir / "dpo" / "metrics.jsonl").read_text().splitlines()[0])
  assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
  assert (workdir / "report.html").exists()
