"""Best-of-k and its kin against counting every subset."""

import itertools

import numpy as np
import pytest

from xwinjax.eval import heldout


def brute_force(values, by, k: int, pick=np.argmax) -> float:
  """The mean over prompts and over every subset of k samples of the picked sample's value."""
  found = []
  for row, ranking in zip(values, by, strict=True):
    subsets = itertools.combinations(range(len(row)), k)
    found.append(np.mean([row[s[pick([ranking[i] for i in s])]] for s in map(list, subsets)]))
  return float(np.mean(found))


@pytest.fixture(scope="module")
def scores():
  """Values and another judge's scores of 5 prompts with 8 samples, with ties in the values."""
  rng = np.random.default_rng(0)
  return rng.integers(0, 5, (5, 8)).astype(float), rng.normal(size=(5, 8))


def test_best_of_k_is_the_mean_over_all_subsets(scores):
  values, _ = scores
  expected = [brute_force(values, values, k) for k in range(1, 9)]
  np.testing.assert_allclose(heldout.best_of_k(values), expected, rtol=1e-12)


def test_the_pick_may_be_anothers(scores):
  values, by = scores
  expected = [brute_force(values, by, k) for k in range(1, 9)]
  np.testing.assert_allclose(heldout.best_of_k(values, by), expected, rtol=1e-12)


def test_equal_ranks_pick_the_first_sampled(scores):
  values, _ = scores
  by = np.floor(values / 2)
  expected = [brute_force(np.cumsum(values, 1), by, k) for k in range(1, 9)]
  np.testing.assert_allclose(heldout.best_of_k(np.cumsum(values, 1), by), expected, rtol=1e-12)


def test_worst_of_k_is_the_mean_over_all_subsets(scores):
  values, by = scores
  for ranking in (values, by):
    expected = [brute_force(values, ranking, k, np.argmin) for k in range(1, 9)]
    np.testing.assert_allclose(heldout.worst_of_k(values, ranking), expected, rtol=1e-12)
  np.testing.assert_allclose(heldout.worst_of_k(values), -heldout.best_of_k(-values), rtol=1e-12)


def test_twin_the_biased_estimator_and_wrong_signs_are_noticed(scores):
  values, by = scores
  right = heldout.best_of_k(values, by)
  first_k = [
    np.mean([row[:k][np.argmax(b[:k])] for row, b in zip(values, by, strict=True)])
    for k in range(1, 9)
  ]
  assert not np.allclose(first_k, right)  # best of the first k: another, noisier estimate
  assert not np.allclose(heldout.best_of_k(values, -by), right)
  assert not np.allclose(heldout.best_of_k(values), right)
  with_replacement = [
    np.mean([(np.sort(row)[::-1] * np.diff(1 - np.linspace(1, 0, 9) ** k)).sum() for row in values])
    for k in range(1, 9)
  ]
  assert not np.allclose(with_replacement[1:], heldout.best_of_k(values)[1:])


def test_ends_of_the_curve(scores):
  values, by = scores
  curve = heldout.best_of_k(values, by)
  assert curve[0] == pytest.approx(values.mean())
  assert curve[-1] == pytest.approx(np.mean(values[np.arange(5), by.argmax(1)]))
  assert heldout.best_of_k(np.full((2, 64), 3.0)) == pytest.approx(np.full(64, 3.0))
  assert (np.diff(heldout.best_of_k(np.random.default_rng(1).normal(size=(3, 256)))) > 0).all()


def test_duplicates_are_counted_within_a_prompt():
  assert heldout.duplicate_share([["a", "a", "b", "a"], ["a", "b", "c", "d"]]) == 2 / 8
  assert heldout.duplicate_share([["a", "b"], ["a", "b"]]) == 0
  assert heldout.duplicate_share([]) == 0


def test_a_curve_is_told_at_powers_of_two_and_its_end():
  points = lambda n: list(heldout.curve_points(np.arange(n)))
  assert points(64) == ["1", "2", "4", "8", "16", "32", "64"]
  assert points(5) == ["1", "2", "4", "5"]
  assert points(1) == ["1"]
  assert heldout.curve_points(np.array([0.1234567, 1])) == {"1": 0.12346, "2": 1.0}
