"""Two processes of one device write what one process with two devices writes, bit for bit."""

import json

import launch
import numpy as np
import pytest
from safetensors.numpy import load_file

from xwinjax.stages import manifest


def weights(folder):
  return load_file(folder / "model" / "model.safetensors")


def same_bits(one, two) -> bool:
  one, two = weights(one), weights(two)
  return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def metrics(folder, *left_out):
  """metrics.jsonl without what a clock says."""
  rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  clock = ("wait_s", "seconds", "first_of_shape", *left_out)
  return [{k: v for k, v in row.items() if k not in clock} for row in rows]


def figures(folder):
  return json.loads((folder / "manifest.json").read_text())["figures"]


def texts(file):
  rows = [json.loads(line) for line in file.read_text().splitlines()]
  return {row["id"]: [(c["text"], c["ids"]) for c in row["candidates"]] for row in rows}


def test_sft(trained):
  one, two, _ = trained
  assert same_bits(one / "sft", two / "sft")
  assert metrics(one / "sft") == metrics(two / "sft")
  assert figures(one / "sft") == figures(two / "sft")
  assert figures(two / "sft")["heldout_nll"] < figures(two / "sft")["heldout_nll_before"]


def test_process_0_alone_speaks(trained):
  _, _, (first, second) = trained
  assert any("5 steps" in line for line in first)
  assert second == []


@pytest.mark.slow
def test_twin_processes_that_feed_the_same_rows_train_another_model(trained, inputs, tmp_path):
  one, _, _ = trained
  given = {"inputs": str(inputs), "folder": str(tmp_path), "stages": ["sft"], "twin": True}
  assert launch.worker(2, 1, tmp_path / "logs", **given).end() == [0, 0]
  assert not same_bits(one / "sft", tmp_path / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_pairs_on_other_meshes(went_on, stage):
  one, two = went_on
  assert same_bits(one / stage, two / stage)
  assert metrics(one / stage) == metrics(two / stage)


@pytest.mark.slow
@pytest.mark.parametrize(
  "file", ["reward/heldout_scores.jsonl", "reference/logps.jsonl", "score/candidates.jsonl"]
)
def test_one_pass_over_items(went_on, file):
  one, two = went_on
  if file.startswith("score"):  # the answers' own log-probs may differ by round-off
    read = lambda folder: [
      [c["scores"] for c in json.loads(line)["candidates"]]
      for line in (folder / file).read_text().splitlines()
    ]
    assert read(one) == read(two)
  else:
    assert (one / file).read_bytes() == (two / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "score"])
def test_files_are_as_their_manifest_says(went_on, stage):
  """None was still being written by one process while another hashed it."""
  _, two = went_on
  recorded = manifest.read(two / stage)
  assert recorded is not None
  assert manifest.changed_outputs(two / stage, recorded) == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sample", "sample_together"])
def test_texts(went_on, stage):
  one, two = (texts(folder / stage / "candidates.jsonl") for folder in went_on)
  assert one == two
  assert len({text for answers in one.values() for text, _ in answers}) == 10
