"""Bradley-Terry strengths of systems that were compared two by two.

  P(i beats j) = 1 / (1 + 10^((s_j - s_i) / 400))

where s is in points with mean 0: 400 more are odds of 10 to 1. A tie is half a win of both. Every
system also ties once with one of strength 0, so that what never loses has a strength as well.

Source: Bradley and Terry 1952; scale and resampling as in Chiang et al. 2024 (arXiv 2403.04132).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special
from scipy.sparse import csgraph

from xwinjax.eval.ballot import Vote

Row = dict[str, Any]
POINTS = 400 / math.log(10)
RESAMPLES = 500
STEPS = 100  # of Newton's method; a handful is usual


def fit(wins_BMM: np.ndarray, prior: float = 1.0) -> np.ndarray:
  """The strengths that make each table of wins most likely, in nats, [B, M].

  Maximizes Σ_ij wins_ij · log σ(θ_i - θ_j) + prior · Σ_i (log σ(θ_i) + log σ(-θ_i)) / 2.

  Args:
    wins_BMM: how often the row's system beat the column's.
    prior: how many ties every system has with one of strength 0; more than 0.

  >>> fit(np.array([[[0.0, 3.0], [1.0, 0.0]]]), prior=1e-9).round(3).tolist()  # ± log(3) / 2
  [[0.549, -0.549]]
  """
  wins = np.asarray(wins_BMM, np.float64)
  B, M, _ = wins.shape
  met = wins + wins.swapaxes(1, 2)
  theta, eye = np.zeros((B, M)), np.eye(M)
  for _ in range(STEPS):
    p = special.expit(theta[:, :, None] - theta[:, None, :])
    alone = special.expit(theta)
    slope = (wins - met * p).sum(2) + prior * (0.5 - alone)
    curve = met * p * (1 - p)
    hessian = eye * (curve.sum(2) + prior * alone * (1 - alone))[:, :, None] - curve
    step = np.linalg.solve(hessian, slope[:, :, None])[:, :, 0]
    # Far from the optimum a whole step may go past it.
    theta += step / np.maximum(np.abs(step).max(1, keepdims=True), 1)
    if np.abs(step).max(initial=0) < 1e-9:
      break
  return theta


def wins_by_prompt(votes: Sequence[Vote], systems: Sequence[str]) -> np.ndarray:
  """What each prompt adds to the table of wins, [P, M, M]."""
  places = {name: i for i, name in enumerate(systems)}
  prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(v.prompt for v in votes))}
  wins = np.zeros((len(prompts), len(systems), len(systems)))
  for v in votes:
    p, a, b = prompts[v.prompt], places[v.a], places[v.b]
    wins[p, a, b] += v.credit
    wins[p, b, a] += 1 - v.credit
  return wins


def strengths(votes: Sequence[Vote], seed: int) -> list[Row]:
  """Each system's strength in points, the strongest first, with a 95 % interval over prompts.

  Systems that no chain of comparisons joins are of different `group`s: strengths are to be compared
  within one.
  """
  systems = sorted({name for v in votes for name in (v.a, v.b)})
  wins = wins_by_prompt(votes, systems)
  whole = wins.sum(0)
  P = len(wins)
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(P, np.full(P, 1 / P), RESAMPLES) if P > 1 else np.ones((1, P))
  tables = np.concatenate([whole[None], np.einsum("rp,pij->rij", drawn, wins)])
  points = fit(tables) * POINTS
  points -= points.mean(1, keepdims=True)
  low, high = np.quantile(points[1:], (0.025, 0.975), axis=0)
  _, groups = csgraph.connected_components(whole + whole.T, directed=False)
  rows = [
    {
      "system": name,
      "strength": float(points[0, i]),
      "ci": [float(low[i]), float(high[i])] if P > 1 else None,
      "comparisons": int((whole[i] + whole[:, i]).sum().round()),
      "group": int(groups[i]),
    }
    for i, name in enumerate(systems)
  ]
  return sorted(rows, key=lambda row: (row["group"], -row["strength"]))
