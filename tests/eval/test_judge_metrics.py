"""A judge against people's rankings: by hand, and against numbers stored from SciPy."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from xwinjax.eval import judge_metrics
from xwinjax.eval.judge_metrics import consistency, inflation, pair_credits, summary

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "judge_metrics.json").read_text())
NAN = math.nan


def scores_of(case):
  return [[NAN if x is None else x for x in row] for row in case["scores"]]


def agrees(case) -> bool:
  found = summary(scores_of(case), case["ranks"])
  return all(
    found[name] == pytest.approx(value, abs=1e-12) for name, value in case["figures"].items()
  )


@pytest.mark.parametrize("case", GOLDENS, ids=["good", "middling", "poor"])
def test_figures_equal_those_stored_from_scipy(case):
  assert agrees(case)


def test_the_stored_cases_hold_ties_and_missing_scores():
  assert GOLDENS[0]["figures"]["pairwise_accuracy"] > 0.8
  assert GOLDENS[2]["figures"]["pairwise_undecided"] > 0.3


def broken_pairs(scores, values):
  """Undecided pairs left out instead of counted as a coin's."""
  return [c for c in pair_credits(scores, values) if c != 0.5]


def reversed_pairs(scores, values):
  return pair_credits([-s for s in scores], values)


@pytest.mark.parametrize("broken", [broken_pairs, reversed_pairs])
def test_twin_other_pairs_disagree(monkeypatch, broken):
  monkeypatch.setattr(judge_metrics, "pair_credits", broken)
  assert not agrees(GOLDENS[1])


def test_twin_shifted_rankings_disagree():
  case = GOLDENS[1]
  assert not agrees({**case, "ranks": [r[1:] + r[:1] for r in case["ranks"]]})


def test_twin_another_correlation_disagrees(monkeypatch):
  from scipy import stats

  monkeypatch.setattr(stats, "kendalltau", stats.pearsonr)
  assert not agrees(GOLDENS[1])


# By hand


def test_pairs_by_hand():
  # Right, wrong, tied, and a pair that people do not rank.
  assert pair_credits([5, 1], [2, 1]) == [1.0]
  assert pair_credits([1, 5], [2, 1]) == [0.0]
  assert pair_credits([3, 3], [2, 1]) == [0.5]
  assert pair_credits([NAN, 3], [2, 1]) == [0.5]
  assert pair_credits([1, 5], [2, 2]) == []


def test_a_perfect_judge():
  found = summary([[1, 3, 5], [0, 5]], [[10, 20, 30], [1, 2]])
  assert found["pairwise_accuracy"] == 1
  assert found["pairwise_accuracy_ci"] == [1, 1]
  assert (found["exact_match"], found["five_best"], found["five_best_answers"]) == (1, 1, 2)
  assert found["spearman"] == pytest.approx(1)
  assert found["kendall"] == pytest.approx(1)
  assert found["distribution"] == {"0": 1, "1": 1, "3": 1, "5": 2}


def test_a_judge_who_says_nothing_is_a_coin():
  found = summary([[NAN, NAN], [NAN, NAN]], [[1, 2], [2, 1]])
  assert found["pairwise_accuracy"] == 0.5
  assert found["missing"] == 4
  assert found["exact_match"] is found["spearman"] is found["five_best"] is None


def test_five_best_counts_top_scores_that_people_rank_first():
  found = summary([[5, 5, 1], [5, 2], [4, 3]], [[3, 2, 1], [1, 2], [2, 1]])
  assert (found["five_best"], found["five_best_answers"]) == (1 / 3, 3)


def test_exact_match_wants_ties_at_the_same_places():
  assert summary([[1, 2, 2]], [[1, 3, 3]])["exact_match"] == 1
  assert summary([[1, 2, 3]], [[1, 3, 3]])["exact_match"] == 0
  assert summary([[2, 2, 3]], [[1, 2, 3]])["exact_match"] == 0


def test_a_prompt_that_people_do_not_rank_says_nothing():
  found = summary([[5, 1]], [[3, 3]])
  assert found["pairs"] == 0
  assert found["pairwise_accuracy"] is found["pairwise_accuracy_ci"] is None


def test_the_interval_holds_the_accuracy_and_narrows_with_prompts():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(200, 4))
  noisy = values + rng.normal(size=values.shape)
  wide, narrow = (summary(noisy[:n].tolist(), values[:n].tolist()) for n in (20, 200))
  for f in (wide, narrow):
    low, high = f["pairwise_accuracy_ci"]
    assert low < f["pairwise_accuracy"] < high
  assert np.ptp(narrow["pairwise_accuracy_ci"]) < 0.5 * np.ptp(wide["pairwise_accuracy_ci"])


def test_agreement_of_judgements_with_each_other():
  found = consistency([[4, 4, 4], [4, 5, None], [None, None, None]])
  assert found["judgements"] == 9
  assert found["unparsed"] == pytest.approx(4 / 9)
  assert found["agreement"] == 3 / 4
  assert found["spread"] == 0.25
  assert found["scores"] == {"4.0": 4, "5.0": 1}
  assert consistency([[None]])["agreement"] is None


def test_inflation_is_self_minus_gold():
  found = inflation([[5, NAN], [4, 4]], [[3, 1], [4, 3]], seed=0)
  assert found["mean"] == pytest.approx((2 + 0.5) / 2)
  assert inflation([[NAN]], [[1]], seed=0)["mean"] is None
