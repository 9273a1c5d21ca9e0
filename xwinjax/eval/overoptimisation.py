"""How far a policy may go after a score that stands for what is wanted: score against KL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_of_n_kl(n: np.ndarray) -> np.ndarray:
  """KL of best-of-n to the model sampled from: at most log n - (n - 1) / n nats.

  Source: Stiennon et al. 2020, appendix G.3; Beirami et al. 2024 show that it is a bound.
  """
  return np.log(n) - (n - 1) / n


def worth_it(scores: Sequence[float], kls: Sequence[float], price: float) -> int | None:
  """The place of the highest score - price · KL, the earliest of equals; None where all are NaN.

  Where score over KL bends downwards, as it does for a policy that was optimised for the score,
  that is the last place up to which every further nat has bought at least `price`. The rule is
  ours; the sum is what RL with a KL penalty maximises, and the setting is that of Gao et al.
  2023, arXiv 2210.10760, who find that gold falls long before the score does.

  Args:
    scores: of held-out answers, by what was optimised for.
    kls: to where the optimisation started, in nats an answer.
    price: score a nat has to buy.

  >>> worth_it([0.0, 1.0, 1.5, 1.6], [0.0, 1.0, 2.0, 4.0], 0.2)
  2
  """
  worth = np.asarray(scores, np.float64) - (price * np.asarray(kls, np.float64) if price else 0.0)
  return None if np.isnan(worth).all() else int(np.nanargmax(worth))
