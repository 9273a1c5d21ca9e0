"""Intervals against hand-worked cases and against SciPy asked directly."""

import numpy as np
import pytest
from scipy import stats

from xwinjax.eval import statistics, winrate


def test_the_bootstrap_interval_is_that_of_the_resampled_means():
  values = np.random.default_rng(0).exponential(size=60)
  rng = np.random.default_rng(1)
  means = values[rng.integers(0, 60, (20_000, 60))].mean(1)
  low, high = statistics.bootstrap(values, seed=2)
  assert low == pytest.approx(np.quantile(means, 0.025), abs=0.02)
  assert high == pytest.approx(np.quantile(means, 0.975), abs=0.02)
  narrow = statistics.bootstrap(values, seed=2, level=0.5)
  assert low < narrow[0] < values.mean() < narrow[1] < high


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says():
  hits = [
    low <= 0 <= high
    for seed in range(60)
    for low, high in [statistics.bootstrap(np.random.default_rng(seed).normal(size=40), seed=seed)]
  ]
  assert 0.85 <= np.mean(hits) <= 1.0


def test_the_bootstrap_is_a_function_of_its_seed():
  values = np.arange(20.0)
  assert statistics.bootstrap(values, seed=1) == statistics.bootstrap(values, seed=1)
  assert statistics.bootstrap(values, seed=1) != statistics.bootstrap(values, seed=2)


def test_little_data_gives_no_made_up_interval():
  assert statistics.bootstrap(np.array([2.5]), seed=0) == (2.5, 2.5)
  assert np.isnan(statistics.bootstrap(np.array([]), seed=0)).all()
  assert statistics.bootstrap(np.array([2.0, 2.0, 2.0]), seed=0) == (2.0, 2.0)
  one = statistics.paired_difference(np.array([2.0]), np.array([1.0]), seed=0)
  assert not one["significant"]


def test_a_paired_gain_is_of_the_same_prompts():
  rng = np.random.default_rng(0)
  before = rng.normal(size=50) * 10
  after = before + 1 + 0.1 * rng.normal(size=50)
  gain = statistics.paired_difference(after, before, seed=0)
  assert gain["mean"] == pytest.approx((after - before).mean())
  assert gain["ci"][0] < gain["mean"] < gain["ci"][1]
  assert gain["significant"]
  assert statistics.paired_difference(before, after, seed=0)["significant"]
  # The twin: prompts in another order lose the pairing, and with it the significance.
  assert not statistics.paired_difference(after, before[::-1], seed=0)["significant"]


def test_wilsons_interval_by_its_formula():
  n, p, z = 40, 30 / 40, stats.norm.ppf(0.975)
  middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
  half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
  assert statistics.share_interval(30, 40) == pytest.approx((middle - half, middle + half))
  assert statistics.share_interval(0, 10)[0] == 0
  assert np.isnan(statistics.share_interval(0, 0)).all()


def test_head_to_head_by_hand():
  # Prompt 1: {3, 1} against {2, 1}: 3 wins twice, 1 loses once and ties once.
  # Prompt 2: {0, 0} against {0, 5}: two ties, two losses.
  result = winrate.head_to_head(np.array([[3, 1], [0, 0]]), np.array([[2, 1], [0, 5]]), seed=0)
  assert result["win"] == (2 / 4 + 0) / 2
  assert result["tie"] == (1 / 4 + 2 / 4) / 2
  assert result["lose"] == (1 / 4 + 2 / 4) / 2
  assert result["win_rate"] == (2.5 / 4 + 1 / 4) / 2
  assert result["prompts"] == 2
  assert result["ci"] == [1 / 4, 2.5 / 4]


def test_twin_a_tie_that_counted_as_lost_would_be_noticed():
  ours, theirs = np.array([[3, 1], [0, 0]]), np.array([[2, 1], [0, 5]])
  result = winrate.head_to_head(ours, theirs, seed=0)
  assert result["win_rate"] != result["win"]
  swapped = winrate.head_to_head(theirs, ours, seed=0)
  assert swapped["win_rate"] == 1 - result["win_rate"]
  assert (swapped["win"], swapped["lose"]) == (result["lose"], result["win"])


def test_scores_within_the_tie_width_tie():
  ours, theirs = np.array([[1.0], [1.2]]), np.array([[1.05], [1.0]])
  assert winrate.head_to_head(ours, theirs, seed=0, tie=0.1)["tie"] == 0.5
  assert winrate.head_to_head(ours, theirs, seed=0)["tie"] == 0.0


def test_models_with_other_numbers_of_samples_can_meet():
  assert winrate.head_to_head(np.array([[1, 2, 3]]), np.array([[0]]), seed=0)["win_rate"] == 1.0
