"""Logits processors against those of transformers, and against sorting in numpy."""

import functools

import jax
import numpy as np
import pytest

from xwinjax.sample import logits as L
from xwinjax.sample.logits import SamplingParams

CASES = {
  "temperature_0.7": SamplingParams(temperature=0.7),
  "temperature_1.5": SamplingParams(temperature=1.5),
  "top_k_1": SamplingParams(top_k=1),
  "top_k_50": SamplingParams(top_k=50),
  "top_p_0.5": SamplingParams(top_p=0.5),
  "top_p_0.9": SamplingParams(top_p=0.9),
  "min_p_0.05": SamplingParams(min_p=0.05),
  "min_p_0.3": SamplingParams(min_p=0.3),
  "repetition_1.3": SamplingParams(repetition_penalty=1.3),
  "repetition_0.8": SamplingParams(repetition_penalty=0.8),
  "all_rep1.2_t0.7_k50_p0.9": SamplingParams(0.7, 50, 0.9, 0.0, 1.2),
  "all_t0.8_p0.95_minp0.02": SamplingParams(0.8, 0, 0.95, 0.02),
}


@functools.partial(jax.jit, static_argnums=0)
def ours(params, logits, seen):
  return params.filter(logits, seen)


def by_sorting(params, logits, seen):
  """The same processors the slow way, a row at a time, in float64."""
  out = []
  for row, marks in zip(np.asarray(logits, np.float64), seen, strict=True):
    penalty = params.repetition_penalty
    row = np.where(marks, np.where(row > 0, row / penalty, row * penalty), row)
    row = row / params.temperature
    ranked = np.sort(row)[::-1]
    if params.top_k:
      row = np.where(row < ranked[params.top_k - 1], -np.inf, row)
    if params.top_p < 1:
      order = np.argsort(-row, kind="stable")
      p = np.exp(row - row.max())
      p /= p.sum()
      before = np.cumsum(p[order]) - p[order]
      row[order[before >= params.top_p]] = -np.inf
    if params.min_p:
      p = np.exp(row - row.max())
      row = np.where(p < params.min_p, -np.inf, row)
    out.append(row)
  return np.array(out)


def marked(seen_ids, size):
  seen = np.zeros((len(seen_ids), size), bool)
  np.put_along_axis(seen, seen_ids, True, axis=1)
  return seen


def same(a, b):
  kept = np.isfinite(b)
  return np.array_equal(np.isfinite(a), kept) and np.allclose(a[kept], b[kept], rtol=1e-5)


@pytest.fixture(scope="module", params=["stored", "shared"])
def case(request):
  """(logits, seen, name -> expected): transformers' numbers, or sorted ones without them."""
  if request.param == "shared":
    golden = np.load(request.getfixturevalue("shared") / "goldens" / "hf_filters.npz")
    logits, seen = golden["logits"], marked(golden["seen_ids"], 1000)
    return logits, seen, lambda name: golden[name]
  rng = np.random.default_rng(0)
  logits = (3 * rng.normal(size=(64, 1000))).astype(np.float32)
  seen = marked(rng.integers(0, 1000, (64, 24)), 1000)
  return logits, seen, lambda name: by_sorting(CASES[name], logits, seen)


@pytest.mark.parametrize("name", CASES)
def test_filters_keep_what_they_should_and_leave_it_as_it_is(case, name):
  logits, seen, expected = case
  wanted = expected(name)
  assert same(np.asarray(ours(CASES[name], logits, seen)), wanted)
  assert same(by_sorting(CASES[name], logits, seen), wanted)
  p = CASES[name]
  off = SamplingParams(  # every processor that is on, a little off
    p.temperature * (1.1 if p.temperature != 1 else 1),
    p.top_k and p.top_k + 1,
    p.top_p and (p.top_p if p.top_p == 1 else p.top_p + 0.04),
    p.min_p * 1.4,
    p.repetition_penalty * (1.1 if p.repetition_penalty != 1 else 1),
  )
  assert not same(np.asarray(ours(off, logits, seen)), wanted)


@pytest.mark.parametrize("keep", [lambda x: L.keep_top_p(x, 0.9), lambda x: L.keep_top_k(x, 50)])
def test_twin_a_search_that_stops_early_shows(monkeypatch, keep):
  logits = (3 * np.random.default_rng(0).normal(size=(64, 1000))).astype(np.float32)
  wanted, least = np.asarray(keep(logits)), L._least
  monkeypatch.setattr(
    L, "_least", lambda holds, low, high, steps=32: least(holds, low, high, steps - 12)
  )
  assert not same(np.asarray(keep(logits)), wanted)


def test_the_order_of_processors_matters():
  """Temperature comes before top-p: after it, the nucleus is another."""
  logits = np.log(np.array([[0.5, 0.3, 0.1, 0.1]], np.float32))
  both = ours(SamplingParams(temperature=0.25, top_p=0.85), logits, None)
  assert np.isfinite(both).tolist() == [[True, False, False, False]]
  alone = ours(SamplingParams(top_p=0.85), logits, None)
  assert np.isfinite(alone).sum() > 1


def test_ties_are_kept_together():
  logits = np.array([[2.0, 1.0, 1.0, 1.0, -np.inf]], np.float32)
  assert np.isfinite(L.keep_top_k(logits, 2)).tolist() == [[True, True, True, True, False]]
  assert np.isfinite(L.keep_top_p(logits, 0.5)).tolist() == [[True, True, True, True, False]]
  assert np.isfinite(L.keep_top_k(logits, 1)).tolist() == [[True, False, False, False, False]]


def test_thresholds_between_negative_and_zero_logits():
  """Bit patterns of negative floats run backwards; the bisection must not mind."""
  logits = np.array([[-3.0, -1.0, -0.0, -2.0], [0.0, -1e-30, 1e-30, -5.0]], np.float32)
  kept = np.isfinite(L.keep_top_k(logits, 2))
  assert kept.tolist() == [[False, True, True, False], [True, False, True, False]]


def test_more_than_there_are_keeps_all():
  logits = np.array([[1.0, 2.0, 3.0]], np.float32)
  assert np.isfinite(L.keep_top_k(logits, 10)).all()
  assert np.isfinite(L.keep_top_p(logits, 0.99999)).all()


@pytest.mark.parametrize(
  "wrong",
  [
    {"temperature": -1},
    {"top_k": -1},
    {"top_p": 0},
    {"top_p": 1.1},
    {"min_p": 1},
    {"repetition_penalty": 0},
  ],
  ids=str,
)
def test_impossible_settings_are_refused_by_name(wrong):
  ((name, value),) = wrong.items()
  with pytest.raises(ValueError, match=f"{name} is {value}; expected"):
    SamplingParams(**wrong)


def test_a_penalty_without_a_history_is_refused():
  with pytest.raises(ValueError, match="needs `seen`"):
    SamplingParams(repetition_penalty=1.2).filter(np.zeros((1, 3)))
