"""What n samples a prompt say about a model: means, best-of-k, worst-of-k, repeats."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
  return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def best_of_k(values_PS: np.ndarray, by_PS: np.ndarray | None = None) -> np.ndarray:
  """The expected value of the pick among k random samples, for every k = 1 … S; [S].

  The pick is the sample with the highest `by` (the values themselves when None): with `by` from
  a reward model and values from another judge this is what best-of-k with that reward model is
  worth. Unbiased over all C(S, k) subsets: the sample ranked r-th (from 1) is picked by

      C(S - r, k - 1) / C(S, k)

  of them. Prompts weigh the same.

  >>> best_of_k(np.array([[1.0, 2.0, 3.0]])).round(4).tolist()
  [2.0, 2.6667, 3.0]
  """
  values = np.asarray(values_PS, np.float64)
  by = values if by_PS is None else np.asarray(by_PS, np.float64)
  order = np.argsort(-by, axis=1, kind="stable")
  mean_by_rank = np.take_along_axis(values, order, axis=1).mean(0)
  S = values.shape[1]
  ranks = np.arange(1, S + 1)
  curve = np.empty(S)
  for k in range(1, S + 1):
    possible = ranks <= S - k + 1
    log_share = _log_choose(S - ranks[possible], k - 1) - _log_choose(np.array([S]), k)
    curve[k - 1] = np.exp(log_share) @ mean_by_rank[possible]
  return curve


def worst_of_k(values_PS: np.ndarray, by_PS: np.ndarray | None = None) -> np.ndarray:
  """As `best_of_k`, picking the lowest."""
  by = values_PS if by_PS is None else by_PS
  return best_of_k(values_PS, -np.asarray(by, np.float64))


def duplicate_share(texts_PS: list[list[str]]) -> float:
  """The share of samples that repeat another sample of their prompt."""
  total = sum(len(texts) for texts in texts_PS)
  distinct = sum(len(set(texts)) for texts in texts_PS)
  return (total - distinct) / max(total, 1)


def curve_points(curve: np.ndarray) -> dict[str, float]:
  """A best-of-k curve at the powers of two and at its end, for a summary."""
  ks = sorted({2**i for i in range(len(curve).bit_length()) if 2**i <= len(curve)} | {len(curve)})
  return {str(k): round(float(curve[k - 1]), 5) for k in ks}
