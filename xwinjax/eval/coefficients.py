"""How far labels agree, with intervals that resample prompts.

Agreement discounted for ties: a pair of votes on an item scores 1 where both say the same, 1/2
where exactly one says tie, else 0. Source: LIMA (arXiv 2305.11206), section 4.3.

Chance-corrected: Cohen's kappa (two annotators) and Fleiss' (many) are computed by statsmodels,
Krippendorff's alpha by krippendorff. Intervals are percentile bootstraps by SciPy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from xwinjax.core.extras import needs
from xwinjax.eval import statistics
from xwinjax.eval.ballot import LABELS

Row = dict[str, Any]
RESAMPLES = 1000


def discounted(x: str, y: str) -> float:
  """Agreement of two labels, ties discounted.

  >>> discounted("A", "A"), discounted("A", "tie"), discounted("A", "B"), discounted("tie", "tie")
  (1.0, 0.5, 0.0, 1.0)
  """
  return 1.0 if x == y else 0.5 if "tie" in (x, y) else 0.0


def mean(values: Mapping[str, Sequence[float]], seed: int, *, share: bool = True) -> Row:
  """The mean of all values, by prompt, with a 95 % interval over prompts.

  Each value weighs the same, so a prompt weighs what it has values. Resampling a share of 0 or 1
  gives nothing but itself: it gets Wilson's interval of that many prompts. One prompt that is
  neither gets none.
  """
  total = np.array([sum(v) for v in values.values()], np.float64)
  count = np.array([len(v) for v in values.values()], np.float64)
  if not count.sum():
    return {"value": None, "ci": None, "n": 0, "prompts": 0}
  value = float(total.sum() / count.sum())
  ci = None
  if share and value in (0, 1):
    ci = list(statistics.share_interval(round(value * len(count)), len(count)))
  elif len(count) > 1:
    ci = _interval(lambda t, n, axis=-1: t.sum(axis) / n.sum(axis), (total, count), seed)
  return {"value": value, "ci": ci, "n": int(count.sum()), "prompts": len(count)}


def _interval(
  statistic: Callable, data: tuple[np.ndarray, ...], seed: int, vectorized: bool = True
) -> list[float] | None:
  """SciPy's percentile interval; resamples in which the statistic is undefined are left out."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
    drawn = scipy.stats.bootstrap(
      data,
      statistic,
      paired=True,
      vectorized=vectorized,
      n_resamples=RESAMPLES,
      method="percentile",
      rng=np.random.default_rng(seed),
    ).bootstrap_distribution
  drawn = drawn[np.isfinite(drawn)]
  return np.quantile(drawn, (0.025, 0.975)).tolist() if len(drawn) else None


def _libraries() -> tuple[Any, Any]:
  with needs("annotate"):
    import krippendorff
    from statsmodels.stats import inter_rater
  return inter_rater, krippendorff


def cohen_kappa(x: Sequence[str], y: Sequence[str], labels: Sequence[str] = LABELS) -> float | None:
  """(p_o - p_e) / (1 - p_e) of two annotators' labels of the same items; None where p_e is 1."""
  table = np.zeros((len(labels), len(labels)))
  for a, b in zip(x, y, strict=True):
    table[labels.index(a), labels.index(b)] += 1
  with np.errstate(all="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    return _finite(_libraries()[0].cohens_kappa(table, return_results=False))


def fleiss_kappa(counts_NC: np.ndarray) -> float | None:
  """Of items with equally many votes; counts_NC: votes for each category."""
  with np.errstate(all="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    return _finite(_libraries()[0].fleiss_kappa(counts_NC))


def krippendorff_alpha(counts_NC: np.ndarray, level: str = "nominal") -> float | None:
  """1 - D_o / D_e; items may have different numbers of votes. None where all votes are one label.

  Args:
    level: "nominal", "ordinal" (categories in their order) or "interval" (as 0, 1, 2, …).
  """
  if (counts_NC.sum(0) > 0).sum() < 2 or not (counts_NC.sum(1) > 1).any():
    return None
  with np.errstate(all="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    alpha = _libraries()[1].alpha(
      value_counts=counts_NC,
      value_domain=list(range(counts_NC.shape[1])),
      level_of_measurement=level,
    )
  return _finite(alpha)


def _finite(x: float) -> float | None:
  return float(x) if np.isfinite(x) else None


def coefficient(
  f: Callable[[np.ndarray], float | None], counts_by_prompt: Mapping[str, Sequence], seed: int
) -> Row:
  """f of all items' label counts, with a 95 % interval over prompts."""
  tables = [np.array(rows, np.float64) for rows in counts_by_prompt.values() if len(rows)]
  items = sum(len(t) for t in tables)
  value = f(np.concatenate(tables)) if tables else None
  ci = None
  if value is not None and len(tables) > 1:

    def resampled(places: np.ndarray) -> float:
      estimate = f(np.concatenate([tables[int(i)] for i in places]))
      return np.nan if estimate is None else estimate

    ci = _interval(resampled, (np.arange(len(tables)),), seed, vectorized=False)
  return {"value": value, "ci": ci, "items": items, "prompts": len(tables)}
