"""Four processes of one device write what one process with four devices writes.

Sums over more than two devices depend on their order, and so do the last digits of what is trained.
"""

import json
import shutil

import numpy as np
import pytest
from conftest import OTHERS, run_both
from test_same_bits import texts, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def four(inputs, tmp_path_factory):
  """(run of one process, run of four); both go on from the same SFT model, four's own is kept."""
  alone, four = folders = [tmp_path_factory.mktemp(name) for name in ("alone", "four")]
  run_both(inputs, folders, ["sft"], devices=4)
  (four / "sft").rename(four / "own_sft")
  shutil.copytree(alone / "sft", four / "sft")
  run_both(inputs, folders, OTHERS, devices=4)
  return alone, four


def close(one, two) -> bool:
  one, two = weights(one), weights(two)
  return one.keys() == two.keys() and all(
    np.allclose(one[name], two[name], rtol=0, atol=1e-4) for name in one
  )


def test_trained_models_are_equal_to_round_off(four):
  alone, four = four
  assert close(alone / "sft", four / "own_sft")
  assert close(alone / "reward", four / "reward")
  assert close(alone / "dpo", four / "dpo")
  assert not close(alone / "sft", four / "dpo")


def test_log_probs_and_texts_are_the_same(four):
  alone, four = four
  stored = [(folder / "reference" / "logps.jsonl").read_bytes() for folder in (alone, four)]
  assert stored[0] == stored[1]
  for stage in ("sample", "sample_together"):
    file = f"{stage}/candidates.jsonl"
    assert texts(alone / file) == texts(four / file)


def test_scores_are_equal_to_round_off(four):
  scores = [
    [
      c["scores"]["rm"]
      for line in (folder / "score" / "candidates.jsonl").read_text().splitlines()
      for c in json.loads(line)["candidates"]
    ]
    for folder in four
  ]
  assert scores[0] == pytest.approx(scores[1], abs=1e-4)
