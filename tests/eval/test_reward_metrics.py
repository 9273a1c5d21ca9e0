"""A reward model's figures, worked by hand."""

import numpy as np
import pytest

from xwinjax.eval import reward_metrics

# chosen and rejected scores: right by 2, right by 1, wrong by 1, a tie
SCORES = [(3.0, 1.0), (1.0, 0.0), (0.0, 1.0), (2.0, 2.0)]
NO_META = [{}] * 4


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def test_accuracy_counts_a_tie_as_half():
  figures = reward_metrics.summary(SCORES, NO_META, seed=0)
  assert figures["heldout_accuracy"] == (1 + 1 + 0 + 0.5) / 4
  assert figures["heldout_pairs"] == 4
  assert figures["heldout_margin"] == (2 + 1 - 1 + 0) / 4
  low, high = figures["heldout_accuracy_ci"]
  assert 0 <= low < 0.625 < high <= 1


def test_log_loss_is_that_of_bradley_terry():
  figures = reward_metrics.summary(SCORES, NO_META, seed=0)
  expected = -np.mean(np.log(sigmoid(np.array([2.0, 1.0, -1.0, 0.0]))))
  assert figures["heldout_log_loss"] == pytest.approx(expected)
  far = reward_metrics.summary([(-2000.0, 0.0)] * 2, NO_META[:2], seed=0)
  assert far["heldout_log_loss"] == 2000.0  # no overflow


def test_twin_swapped_scores_are_noticed():
  right = reward_metrics.summary(SCORES, NO_META, seed=0)
  swapped = reward_metrics.summary([(r, c) for c, r in SCORES], NO_META, seed=0)
  assert swapped["heldout_accuracy"] == 1 - right["heldout_accuracy"]
  assert swapped["heldout_log_loss"] != pytest.approx(right["heldout_log_loss"])


def test_gold_scores_tell_label_noise_from_mistakes():
  metas = [{"gold": [4, 1]}, {"gold": [1, 4]}, {"gold": [1, 2]}, {"gold": [3, 3]}]
  figures = reward_metrics.summary(SCORES, metas, seed=0)
  # Gold decides three: the model agrees on the first and, against the label, on the third.
  assert figures["heldout_accuracy_gold"] == pytest.approx(2 / 3)
  assert figures["heldout_label_noise"] == pytest.approx(2 / 3)
  undecided = reward_metrics.summary(SCORES, [{"gold": [1, 1]}] * 4, seed=0)
  assert "heldout_accuracy_gold" not in undecided
  assert "heldout_accuracy_gold" not in reward_metrics.summary(SCORES, [*metas[:3], {}], seed=0)


def test_a_tie_is_half_right_against_gold_too():
  figures = reward_metrics.summary([(1.0, 1.0), (2.0, 1.0)], [{"gold": [2, 1]}] * 2, seed=0)
  assert figures["heldout_accuracy_gold"] == 0.75


def test_calibration_by_hand():
  gaps = np.array([0.5, -0.5, 2.0, 2.0])
  two = reward_metrics.calibration(gaps, bins=2)
  assert two["said"] == [round(sigmoid(0.5), 5), round(sigmoid(2.0), 5)]
  assert two["seen"] == [0.5, 1.0]
  assert two["pairs"] == [2, 2]
  expected = (2 * (sigmoid(0.5) - 0.5) + 2 * (1 - sigmoid(2.0))) / 4
  assert two["ece"] == pytest.approx(expected, abs=1e-5)


def test_a_model_that_says_nothing_is_calibrated():
  flat = reward_metrics.calibration(np.zeros(16))
  assert flat["ece"] == 0.0
  assert set(flat["seen"]) == {0.5}


def test_labels_drawn_from_the_model_are_calibrated_and_others_are_not():
  rng = np.random.default_rng(0)
  size = np.abs(rng.normal(scale=2, size=20_000))
  gaps = np.where(rng.random(20_000) < sigmoid(size), size, -size)
  assert reward_metrics.calibration(gaps)["ece"] < 0.01
  assert reward_metrics.calibration(3 * gaps)["ece"] > 0.05  # the twin: too sure of itself
