"""Drawing a token from logits."""

import jax
import numpy as np
import pytest
from scipy import stats

from xwinjax.core import rng
from xwinjax.sample import logits as L
from xwinjax.sample.logits import SamplingParams

DRAWS = 20_000
LOGITS = (1.5 * np.random.default_rng(0).normal(size=150)).astype(np.float32)


@jax.jit
def drawn(logits, uniform):
  return L.draw(logits, uniform)


def counts(logits, seed=0):
  uniform = jax.random.uniform(jax.random.key(seed), (DRAWS,))
  tokens = np.asarray(drawn(np.broadcast_to(logits, (DRAWS, logits.size)), uniform))
  return np.bincount(tokens, minlength=logits.size)


def chi_square_p(counts, logits):
  p = np.exp(logits - logits.max(), dtype=np.float64)
  expected = DRAWS * p / p.sum()
  likely = expected >= 5
  rest = expected[~likely].sum()
  if rest == 0:
    return stats.chisquare(counts[likely], expected[likely]).pvalue
  observed = np.r_[counts[likely], counts[~likely].sum()]
  return stats.chisquare(observed, np.r_[expected[likely], rest]).pvalue


def test_draws_follow_the_softmax():
  assert chi_square_p(counts(LOGITS), LOGITS) > 0.001
  assert chi_square_p(counts(LOGITS * 0.95), LOGITS) < 1e-4  # a temperature a little off
  assert chi_square_p(np.roll(counts(LOGITS), 1), LOGITS) < 1e-6  # a token off by one


def test_draws_under_filters_follow_the_renormalised_rest():
  kept = np.asarray(SamplingParams(temperature=0.7, top_k=40, top_p=0.9).filter(LOGITS[None]))[0]
  found = counts(kept)
  assert (found[np.isinf(kept)] == 0).all()
  assert chi_square_p(found, kept) > 0.001


def test_each_draw_inverts_the_cumulative_distribution():
  logits = np.array([[np.log(0.2), -np.inf, np.log(0.5), np.log(0.3)]] * 6, np.float32)
  uniform = np.array([0.0, 0.19, 0.21, 0.69, 0.71, 1 - 2**-24], np.float32)
  assert drawn(logits, uniform).tolist() == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize("size", [1, 63, 64, 65, 300])
def test_the_last_token_with_weight_is_where_rounding_ends(size):
  logits = np.full((1, size), -np.inf, np.float32)
  logits[0, size // 2] = 1.0
  for u in (0.0, 0.5, 1.0):
    assert drawn(logits, np.array([u], np.float32)).tolist() == [size // 2]


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
def test_what_is_no_distribution_draws_minus_one(bad):
  logits = np.zeros((2, 70), np.float32)
  logits[0, 66] = bad
  first, second = drawn(logits, np.array([0.5, 0.5], np.float32)).tolist()
  assert (first, 0 <= second < 70) == (-1, True)


def test_keys_depend_on_seed_prompt_and_number_alone():
  def bits(seed, prompts, samples):
    numbers = np.array([rng.prompt_number(p) for p in prompts])
    return [
      tuple(k)
      for k in np.asarray(jax.random.key_data(rng.sample_keys(seed, numbers, np.array(samples))))
    ]

  together = bits(0, "aab", [0, 1, 0])
  assert together == [*bits(0, "a", [0]), *bits(0, "a", [1]), *bits(0, "b", [0])]
  assert len({*together, *bits(1, "a", [0])}) == 4
