"""KL of best-of-n, and the step that is worth its KL."""

import math

import numpy as np
import pytest

from xwinjax.eval.overoptimisation import best_of_n_kl, worth_it


def test_kl_of_best_of_n():
  """log n - (n - 1) / n: none for one answer, log 4 - 3/4 for four."""
  assert best_of_n_kl(np.array([1, 4])).tolist() == pytest.approx([0.0, 0.6362944])
  assert best_of_n_kl(np.array([4]))[0] != pytest.approx(np.log(4))  # its second term gone


@pytest.mark.parametrize("n", [2, 5, 16])
def test_kl_of_best_of_n_is_that_of_its_distribution(n):
  """Of m answers with equal chances, the best of n ranks r with (r^n - (r - 1)^n) / m^n."""
  m = 20_000
  r = np.arange(1, m + 1)
  p = (r / m) ** n - ((r - 1) / m) ** n
  assert float((p * np.log(p * m)).sum()) == pytest.approx(best_of_n_kl(np.array([n]))[0], abs=1e-3)


def bought_to_the_last(scores, kls, price) -> int:
  """The last place up to which every step has bought `price` a nat."""
  for i in range(1, len(scores)):
    if scores[i] - scores[i - 1] < price * (kls[i] - kls[i - 1]):
      return i - 1
  return len(scores) - 1


def check_rule(rule):
  kls = np.linspace(0, 9, 19)
  scores = 2 * np.sqrt(kls) - 0.3 * kls  # as Gao et al. fit best-of-n: it bends down, and falls
  for price in (0.0, 0.05, 0.2, 0.5, 3.0):
    assert rule(scores, kls, price) == bought_to_the_last(scores, kls, price)


def test_the_rule_goes_on_while_a_nat_buys_its_price():
  check_rule(worth_it)
  assert worth_it([1.0, 1.0], [0.0, 0.0], 0.1) == 0  # the earliest of equals
  assert worth_it([math.nan, 1.0], [0.0, 0.0], 0.0) == 1
  assert worth_it([math.nan], [math.nan], 0.0) is None


def test_twin_a_rule_that_looks_at_the_score_alone_is_noticed():
  with pytest.raises(AssertionError):
    check_rule(lambda scores, kls, price: worth_it(scores, kls, 0.0))
