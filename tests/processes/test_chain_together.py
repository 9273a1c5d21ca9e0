"""Each recipe by two processes: the models, texts and figures of one process with two devices.

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

sys.path.append(str(Path(__file__).parents[2] / "tools"))
from trials import runs


def figures(value):
  """A summary without what a clock says, and what differs in the last digit of a log-prob."""
  if isinstance(value, list):
    return [figures(v) for v in value]
  if isinstance(value, dict):
    clock = lambda name: "seconds" in name or "kl" in name
    return {k: figures(v) for k, v in value.items() if not clock(k)}
  return value


@pytest.mark.slow
@pytest.mark.skipif("XWINJAX_LONG" not in os.environ, reason="ten minutes; XWINJAX_LONG=1 runs it")
@pytest.mark.parametrize("recipe", runs.RECIPES)
def test_a_recipe_by_two_is_the_recipe_by_one(tmp_path, recipe):
  config, settings = runs.RECIPES[recipe]
  flags = [
    f"--config={config}",
    "--config.model.dtype=float32",
    *(f"--config.{name}={v}" for name, v in settings.items()),
  ]
  folders, begun = [tmp_path / "one", tmp_path / "two"], []
  for count, folder in zip((1, 2), folders, strict=True):
    module, logs = f"experiments.{recipe}", tmp_path / f"logs{count}"
    words = [*flags, f"--workdir={folder}"]
    begun.append(launch.command(module, count, 2 // count, logs, *words))
  for run in begun:
    statuses = run.end(1800)
    assert not any(statuses), "\n".join([f"ended with {statuses}", *run.said(0)[-20:]])
  one, two = folders
  models = [p.parent.parent for p in one.rglob("model/model.safetensors")]
  assert len(models) >= 4
  for stage in models:
    assert same_bits(stage, two / stage.relative_to(one)), stage
  for file in one.rglob("*/candidates.jsonl"):
    assert texts(file) == texts(two / file.relative_to(one)), file
  summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
  assert figures(summaries[0]) == figures(summaries[1])
