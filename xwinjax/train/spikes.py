"""Steps whose loss is far above what the steps before make likely."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Ours, set on 48 runs of the sandbox, where no step of 37,700 is called a spike.
RECENT = 50  # steps that are looked back on
LEAST = 20  # of them that a spread needs
FAR = 3.0  # times as far above their median as the farthest of them
NARROWEST = 0.05  # of the median: a spread that counts even where the steps agree more


class Spikes:
  """Watches the loss of one step after the other."""

  def __init__(self):
    self._recent: collections.deque[float] = collections.deque(maxlen=RECENT)

  def usual(self, loss: float | None) -> float | None:
    """The median of the steps before, where this one is a spike; None where it is not.

    A loss that is not finite is no spike: its update is skipped and counted.
    """
    if loss is None or not np.isfinite(loss):
      return None
    before, middle, far = list(self._recent), 0.0, np.inf
    self._recent.append(loss)
    if len(before) >= LEAST:
      middle = float(np.median(before))
      far = FAR * max(float(np.max(np.abs(np.array(before) - middle))), NARROWEST * abs(middle))
    return middle if loss - middle > far else None


def found(rows: Iterable[Mapping[str, Any]]) -> list[int]:
  """The steps of a metrics.jsonl that are spikes."""
  watch = Spikes()
  return [row["step"] for row in rows if watch.usual(row.get("loss")) is not None]
