"""Head to head: how often one model's answers beat another's."""

from __future__ import annotations

import numpy as np

from xwinjax.eval import statistics


def head_to_head(
  ours_PS: np.ndarray, theirs_PS: np.ndarray, *, seed: int, tie: float = 0.0
) -> dict:
  """Win, tie and lose shares of `ours` over all pairs of samples of a prompt.

  Every sample of ours is compared with every sample of theirs for the same prompt; scores within
  `tie` of each other tie. The win rate counts a tie as half, as AlpacaEval does, and its interval
  resamples prompts.

  >>> result = head_to_head(np.array([[1.0, 2.0]]), np.array([[1.0]]), seed=0)
  >>> result["win"], result["tie"], result["lose"], result["win_rate"]
  (0.5, 0.5, 0.0, 0.75)
  """
  gap = np.asarray(ours_PS)[:, :, None] - np.asarray(theirs_PS)[:, None, :]
  win = (gap > tie).mean((1, 2))
  lose = (gap < -tie).mean((1, 2))
  rate = win + (1 - win - lose) / 2
  return {
    "win": float(win.mean()),
    "tie": float((1 - win - lose).mean()),
    "lose": float(lose.mean()),
    "win_rate": float(rate.mean()),
    "ci": list(statistics.bootstrap(rate, seed=seed)),
    "prompts": len(rate),
  }
