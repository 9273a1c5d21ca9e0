"""LIMA's recipe on a real pretrained Llama of 3M parameters and curated real text, a little."""

import json
import os
import subprocess
import sys

import pytest
from small_lima import ROOT, manifest

LITTLE = {
  "sft.limit": 96,
  "sft.train.epochs": 3.0,
  "first_epoch": 2,
  "last_epoch": 3,
  "sft.train.batch.buckets": 2,
  "sft.train.batch.batch_size": 8,
  "choose.generate.samples": 1,
  "choose.generate.max_new": 24,
  "evaluate.limit": 6,
  "evaluate.generate.samples": 2,
  "evaluate.generate.max_new": 24,
}


@pytest.mark.slow
def test_the_recipe_runs_on_a_real_llama_and_curated_text(shared, tmp_path):
  workdir = tmp_path / "real"
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  result = subprocess.run(
    [
      sys.executable,
      "tools/real_lima",
      str(shared),
      f"--workdir={workdir}",
      "--pairs=48",
      *(f"--config.{k}={v}" for k, v in LITTLE.items()),
    ],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr[-2000:]
  assert manifest(workdir, "curated")["figures"]["examples"] == 1000
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["judge"] == "rm"
  assert [e["dev_score"] is not None for e in summary["epochs"]] == [False, True, True]
  losses = [e["dev_nll"] for e in summary["epochs"]]
  assert losses == sorted(losses, reverse=True)
  assert losses[-1] < losses[0] - 0.1
  assert summary["tokens"] == {"<|eot|>": 4096}
  assert (workdir / "report.html").exists()
