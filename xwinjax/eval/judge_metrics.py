"""How good a judge is against people's rankings (Yuan et al. 2024).

A judge's scores and people's values of the same answers, prompt by prompt; higher is better in
both. NaN is a score that is missing. Ranks and correlations are SciPy's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from xwinjax.eval import statistics

Values = Sequence[Sequence[float]]


def pair_credits(scores: Sequence[float], values: Sequence[float]) -> list[float]:
  """For each pair of answers that people rank apart: 1 agrees, 0 disagrees, ½ undecided.

  Undecided is a tie of the judge's, or a score that is missing: a coin would have to decide.
  """
  credits = []
  for i, j in itertools.combinations(range(len(values)), 2):
    if values[i] != values[j]:
      gap = (scores[i] - scores[j]) * np.sign(values[i] - values[j])
      credits.append(0.5 if np.isnan(gap) or gap == 0 else float(gap > 0))
  return credits


def _complete(scores: Values, values: Values) -> list[tuple[np.ndarray, np.ndarray]]:
  """Prompts all of whose answers have a score, and people tell at least two apart."""
  both = [(np.asarray(s, float), np.asarray(v, float)) for s, v in zip(scores, values, strict=True)]
  return [(s, v) for s, v in both if len(v) > 1 and np.isfinite(s).all() and np.ptp(v) > 0]


def exact_match(scores: np.ndarray, values: np.ndarray) -> bool:
  """Whether the judge orders a prompt's answers as people do, ties at the same places."""
  return bool((scipy.stats.rankdata(scores) == scipy.stats.rankdata(values)).all())


def best_are_best(scores: Values, values: Values, top: float) -> tuple[int, int]:
  """(of the answers given the scale's top score, those that people rank first; how many there are).

  The paper's "5-best". A mean over several judgements counts as top only when all gave it.
  """
  hits = [
    v == np.max(vs)
    for s, vs in zip(scores, values, strict=True)
    if np.ptp(vs) > 0
    for x, v in zip(s, vs, strict=True)
    if x == top
  ]
  return int(sum(hits)), len(hits)


def correlation(kind: Any, scores: np.ndarray, values: np.ndarray) -> float:
  """SciPy's spearmanr or kendalltau (tau-b)."""
  return float(kind(scores, values).statistic)


def summary(
  scores: Values, values: Values, *, top: float = 5, seed: int = 0, integers: bool = True
) -> dict[str, Any]:
  """Every figure of a judge.

  Args:
    scores: the judge's, by prompt; NaN where missing.
    values: people's (or gold's) of the same answers.
    top: the best score of the judge's scale.
    seed: of the bootstrap over prompts.
    integers: whether to count scores by their nearest whole number.

  `pairwise_accuracy` is over all pairs that people rank apart (see `pair_credits`); `exact_match`,
  `spearman` and `kendall` are means over the prompts whose answers all have a score, the two
  correlations over those where the judge's scores vary. Figures without a case are None.
  """
  credits = [pair_credits(s, v) for s, v in zip(scores, values, strict=True)]
  credits = [c for c in credits if c]
  right = np.array([sum(c) for c in credits])
  pairs = np.array([len(c) for c in credits])
  flat = [x for c in credits for x in c]
  complete = _complete(scores, values)
  varied = [(s, v) for s, v in complete if np.ptp(s) > 0]
  best, tops = best_are_best(scores, values, top)
  every = np.array([x for s in scores for x in s], float)
  given = every[np.isfinite(every)]
  figures: dict[str, Any] = {
    "prompts": len(scores),
    "answers": len(every),
    "missing": int(len(every) - len(given)),
    "pairs": int(pairs.sum()),
    "pairwise_accuracy": _mean(flat),
    "pairwise_accuracy_ci": _ratio_interval(right, pairs, seed),
    "pairwise_undecided": _mean([x == 0.5 for x in flat]),
    "five_best": best / tops if tops else None,
    "five_best_answers": tops,
    "exact_match": _mean([exact_match(s, v) for s, v in complete]),
    "spearman": _mean([correlation(scipy.stats.spearmanr, s, v) for s, v in varied]),
    "kendall": _mean([correlation(scipy.stats.kendalltau, s, v) for s, v in varied]),
    "mean_score": _mean(given),
    "mean_value": _mean([x for v in values for x in v]),
  }
  if integers and len(given):
    levels, counts = np.unique(np.floor(given + 0.5).astype(int), return_counts=True)
    figures["distribution"] = {str(k): int(n) for k, n in zip(levels, counts, strict=True)}
  return figures


def _mean(values) -> float | None:
  return float(np.mean(values)) if len(values) else None


def _ratio_interval(right: np.ndarray, pairs: np.ndarray, seed: int) -> list[float] | None:
  """The interval of Σ right / Σ pairs when prompts are drawn anew."""
  if not len(pairs):
    return None
  share = float(right.sum() / pairs.sum())
  if len(pairs) < 2:
    return [share, share]
  result = scipy.stats.bootstrap(
    (right, pairs),
    lambda r, n, axis: r.sum(axis) / n.sum(axis),
    paired=True,
    n_resamples=2000,
    method="percentile",
    rng=np.random.default_rng(seed),
  )
  return [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def consistency(judged: Sequence[Sequence[float | None]]) -> dict[str, Any]:
  """How well the k judgements of one answer agree.

  `unparsed` is the share of all judgements without a score; `agreement` the share of pairs of
  judgements of one answer that give the same score; `spread` the mean standard deviation within
  an answer. None where no answer has two scores.
  """
  scores = [[x for x in js if x is not None] for js in judged]
  total = sum(len(js) for js in judged)
  pairs = [a == b for js in scores for a, b in itertools.combinations(js, 2)]
  return {
    "judgements": total,
    "unparsed": 1 - sum(map(len, scores)) / total if total else None,
    "agreement": _mean(pairs),
    "spread": _mean([float(np.std(js)) for js in scores if len(js) > 1]),
    "scores": {str(k): n for k, n in sorted(_counted(x for js in scores for x in js).items())},
  }


def _counted(values) -> dict[float, int]:
  levels, counts = np.unique(np.fromiter(values, float), return_counts=True)
  return {float(k): int(n) for k, n in zip(levels, counts, strict=True)}


def inflation(self_scores: Values, gold_scores: Values, *, seed: int) -> dict[str, Any]:
  """The mean of self-score minus gold over answers that have both, with its interval by prompts."""
  gaps = [
    np.asarray(s, float) - np.asarray(g, float)
    for s, g in zip(self_scores, gold_scores, strict=True)
  ]
  means = np.array([np.nanmean(g) for g in gaps if np.isfinite(g).any()])
  if not len(means):
    return {"mean": None, "ci": None}
  return {"mean": float(means.mean()), "ci": list(statistics.bootstrap(means, seed=seed))}
