"""Means and shares with intervals; resampling is SciPy's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

Interval = tuple[float, float]


def bootstrap(
  values_P: np.ndarray, statistic: Callable = np.mean, *, seed: int, level: float = 0.95
) -> Interval:
  """A percentile bootstrap interval over prompts (first axis); (v, v) when there is but one."""
  values = np.asarray(values_P, np.float64)
  if len(values) < 2:
    value = float(statistic(values, axis=0)) if len(values) else float("nan")
    return value, value
  result = stats.bootstrap(
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


def share_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
  """Wilson's interval of a share."""
  if not trials:
    return float("nan"), float("nan")
  ci = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
  return float(ci.low), float(ci.high)
