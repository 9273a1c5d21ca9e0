"""How good a reward model is on held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from xwinjax.eval import statistics


def summary(
  scores: Sequence[Sequence[float]], metas: Sequence[dict[str, Any]], *, seed: int
) -> dict[str, Any]:
  """Accuracy with its interval, log loss and calibration of P(chosen) = σ(r_c - r_r).

  A tie counts as half right. Where a pair's meta holds "gold" = [chosen's, rejected's] score, also
  the accuracy against gold, and the label noise: the share of pairs whose label gold contradicts.
  """
  gaps = np.array([c - r for c, r in scores])
  right = (gaps > 0) + 0.5 * (gaps == 0)
  low, high = statistics.bootstrap(right, seed=seed)
  figures: dict[str, Any] = {
    "heldout_pairs": len(gaps),
    "heldout_accuracy": float(right.mean()),
    "heldout_accuracy_ci": [low, high],
    "heldout_log_loss": float(-log_expit(gaps).mean()),
    "heldout_margin": float(gaps.mean()),
    "calibration": calibration(gaps),
  }
  gold = np.array([np.subtract(*m["gold"]) for m in metas if "gold" in m])
  decided = gold != 0
  if len(gold) == len(gaps) and decided.any():
    agree = 0.5 + 0.5 * np.sign(gaps[decided]) * np.sign(gold[decided])
    figures["heldout_accuracy_gold"] = float(agree.mean())
    figures["heldout_label_noise"] = float((gold[decided] < 0).mean())
  return figures


def accuracy(points: Sequence[float]) -> dict[str, Any]:
  """The mean of points (1 right, 0 wrong, a share for a tie) with Wilson's interval of as many.

  >>> accuracy([1, 0])["accuracy"], accuracy([1] * 100)["ci"][0] > 0.95
  (0.5, True)
  """
  right = float(np.sum(points))
  return {
    "accuracy": right / len(points),
    "ci": list(statistics.share_interval(round(right), len(points))),
    "pairs": len(points),
  }


def by_subset(scores: Sequence[Sequence[float]], metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """`accuracy` of every `subset` that pairs' meta names, in their order."""
  rows: dict[str, list[float]] = {}
  for (chosen, rejected), meta in zip(scores, metas, strict=True):
    right = float(chosen > rejected) + 0.5 * (chosen == rejected)
    rows.setdefault(str(meta.get("subset", "all")), []).append(right)
  return {name: accuracy(points) for name, points in rows.items()}


def calibration(gaps: np.ndarray, bins: int = 8) -> dict[str, Any]:
  """Said against seen: how often the answer the model prefers is the chosen one.

  The model says P(right) = σ(|gap|) >= 0.5; pairs are put in `bins` equal parts by it. `ece` is
  the mean distance between said and seen, weighted by pairs (Guo et al. 2017).
  """
  confidence, seen = expit(np.abs(gaps)), (gaps > 0) + 0.5 * (gaps == 0)
  parts = [p for p in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(p)]
  rows = [(float(confidence[p].mean()), float(seen[p].mean()), len(p)) for p in parts]
  ece = sum(abs(a - b) * n for a, b, n in rows) / max(len(gaps), 1)
  return {
    "said": [round(a, 5) for a, _, _ in rows],
    "seen": [round(b, 5) for _, b, _ in rows],
    "pairs": [n for *_, n in rows],
    "ece": round(float(ece), 5),
  }
