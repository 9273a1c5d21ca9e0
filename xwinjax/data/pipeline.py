"""Batches read ahead of the device, through Grain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grain
import numpy as np

from xwinjax.data.batching import Plan, build_batch
from xwinjax.data.items import Items


def batches(
  items: Items,
  plan: Plan,
  *,
  start: int = 0,
  shards: Sequence[int] | None = None,
  read_ahead: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
  """The run's batches from step `start` on; resuming needs no other state than the step.

  With `shards`, the rows of these shards alone: what one of several processes feeds its devices.
  """
  dataset = grain.MapDataset.range(start, len(plan.batches)).map(
    lambda step: build_batch(items, plan, int(step), shards=shards)
  )
  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=read_ahead)
  return iter(dataset.to_iter_dataset(options))
