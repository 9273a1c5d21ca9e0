"""Means and shares with intervals; resampling is SciPy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy

Interval = tuple[float, float]


def bootstrap(
  values_P: np.ndarray, statistic: Callable = np.mean, *, seed: int, level: float = 0.95
) -> Interval:
  """A percentile bootstrap interval over prompts (first axis); (v, v) when there is but one."""
  values = np.asarray(values_P, np.float64)
  if len(values) < 2:
    value = float(statistic(values, axis=0)) if len(values) else float("nan")
    return value, value
  result = scipy.stats.bootstrap(
    (values,),
    statistic,
    n_resamples=2000,
    confidence_level=level,
    method="percentile",
    vectorized=True,
    axis=0,
    rng=np.random.default_rng(seed),
  )
  return float(result.confidence_interval.low), float(result.confidence_interval.high)


def paired_difference(after_P: np.ndarray, before_P: np.ndarray, *, seed: int) -> dict:
  """The mean gain over the same prompts, its interval, and whether that leaves out 0."""
  gain = np.asarray(after_P, np.float64) - np.asarray(before_P, np.float64)
  low, high = bootstrap(gain, seed=seed)
  significant = len(gain) > 1 and (low > 0 or high < 0)
  return {"mean": float(gain.mean()), "ci": [low, high], "significant": bool(significant)}


def t_interval(values: Sequence[float], level: float = 0.95) -> list[float] | None:
  """Student's t interval of a mean, of runs' figures say; None for fewer than two.

  >>> t_interval([1.0, 2.0, 3.0])
  [-0.484138, 4.484138]
  """
  if len(values) < 2:
    return None
  mean, error = float(np.mean(values)), float(scipy.stats.sem(values))
  half = error * float(scipy.stats.t.ppf((1 + level) / 2, len(values) - 1))
  return [round(mean - half, 6), round(mean + half, 6)]


def share_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
  """Wilson's interval of a share."""
  if not trials:
    return float("nan"), float("nan")
  ci = scipy.stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
  return float(ci.low), float(ci.high)


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
  """McNemar's exact p: of items that only one of two got right, as many for either?

  >>> round(mcnemar(np.array([1, 1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 0, 1])), 5)
  0.21875
  """
  only = int(np.sum(ours > theirs)), int(np.sum(ours < theirs))
  return float(scipy.stats.binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0


def sample_size(differences_P: np.ndarray, power: float = 0.8, level: float = 0.95) -> int | None:
  """Prompts that a difference like the mean of these needs to show; None where it is 0.

  n = ((z_{1-α/2} + z_power) · sd / mean)², of the normal approximation of a paired test.
  """
  d = np.asarray(differences_P, np.float64)
  if len(d) < 2 or not d.mean():
    return None
  z = scipy.stats.norm.ppf((1 + level) / 2) + scipy.stats.norm.ppf(power)
  return max(2, int(np.ceil((z * d.std(ddof=1) / d.mean()) ** 2)))


def is_it_real(differences_P: np.ndarray, what: str, *, seed: int) -> str:
  """In words whether a difference over prompts is more than chance, and what would show it."""
  d = np.asarray(differences_P, np.float64)
  low, high = bootstrap(d, seed=seed)
  points = lambda x: f"{100 * x:+.1f}"
  said = f"{what}: {points(d.mean())} points [{points(low)}, {points(high)}] over {len(d)} prompts"
  if len(d) > 1 and (low > 0 or high < 0):
    return f"{said}; real, at the level of 95 %"
  needed = sample_size(d)
  more = f"; a difference like this needs about {needed} prompts to show" if needed else ""
  return f"{said}; not to be told from chance{more}"
