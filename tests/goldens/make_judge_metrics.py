"""Makes judge_metrics.json: random scores and rankings, and their figures, straight from SciPy.

  python tests/goldens/make_judge_metrics.py

Nothing of the package is used: pairs are counted one by one.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats


def figures(scores, ranks):
  right = pairs = undecided = best = fives = 0
  exact, rho, tau = [], [], []
  for s, r in zip(scores, ranks, strict=True):
    for i in range(len(s)):
      for j in range(i):
        if r[i] == r[j]:
          continue
        pairs += 1
        if s[i] is None or s[j] is None or s[i] == s[j]:
          undecided += 1
        elif (s[i] > s[j]) == (r[i] > r[j]):
          right += 1
    if len(set(r)) > 1:
      for x, y in zip(s, r, strict=True):
        if x == 5:
          fives += 1
          best += y == max(r)
    if None in s or len(set(r)) == 1:
      continue
    order = lambda v: stats.rankdata(v, "dense").tolist()
    exact.append(order(s) == order(r))
    if len(set(s)) > 1:
      rho.append(stats.spearmanr(s, r)[0])
      tau.append(stats.kendalltau(s, r)[0])
  return {
    "pairs": pairs,
    "pairwise_accuracy": (right + undecided / 2) / pairs,
    "pairwise_undecided": undecided / pairs,
    "five_best": best / fives,
    "five_best_answers": fives,
    "exact_match": float(np.mean(exact)),
    "spearman": float(np.mean(rho)),
    "kendall": float(np.mean(tau)),
  }


def main():
  rng, cases = np.random.default_rng(0), []
  for noise, missing, ties in ((0.5, 0.0, False), (1.5, 0.1, True), (4.0, 0.3, True)):
    scores, ranks = [], []
    for _ in range(60):
      n = int(rng.integers(2, 6))
      rank = (rng.integers(0, 3, n) if ties else rng.permutation(n)).astype(float)
      seen = np.clip(np.round((1.4 * rank + noise * rng.normal(size=n)) * 2) / 2, 0, 5)
      scores.append([None if rng.random() < missing else float(x) for x in seen])
      ranks.append(rank.tolist())
    cases.append({"scores": scores, "ranks": ranks, "figures": figures(scores, ranks)})
  path = Path(__file__).with_name("judge_metrics.json")
  path.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
  main()
