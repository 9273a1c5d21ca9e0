"""Which items go into which batch, and the arrays of a batch.

The plan is a pure function of (lengths, settings, seed): batch k of a run is the same whenever
and however often it is asked for, so a resumed run needs only the number of its step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from xwinjax.core import bounds
from xwinjax.core.bounds import Few, Many, Within, later
from xwinjax.core.errors import UserError
from xwinjax.core.segments import BRANCHES
from xwinjax.data.items import Items

BatchTokens = Annotated[int, Within(0, 2**24)]
Packing = Annotated[int, Within(0, 2**20)]


@dataclasses.dataclass(frozen=True)
class BatchConfig:
  """How many items make a batch, and which shapes are compiled."""

  batch_size: Many = 16  # rows a step; without packing, items a step
  batch_tokens: BatchTokens = 0  # if set, rows are as many as fit this many tokens instead
  buckets: Few = 6  # row lengths to compile at most; each item takes the shortest that holds it
  multiple: Few = 16  # row lengths are multiples of this; coarser: other data has the same shapes
  packing: Packing = 0  # several items a row of so many tokens, longer ones in rows of their own
  microbatches: Many = 1  # a step's rows are processed in this many parts
  # Ours: while one shape compiles, a small model on a laptop computes about so many places; an
  # accelerator more, but there every run is longer, too.
  bucket_places: BatchTokens = later(2**16)  # that a row length more has to save over the run

  def __post_init__(self):
    bounds.check(self)
    if not self.batch_tokens and self.batch_size % self.microbatches:
      raise ValueError(
        f"batch_size {self.batch_size} does not divide into {self.microbatches} micro-batches"
      )


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
  """A batch before it has arrays: its row length, and the items of each row."""

  length: int
  rows: tuple[tuple[int, ...], ...]  # may be fewer than the batch's height; the rest is padding


@dataclasses.dataclass(frozen=True)
class Plan:
  """All batches of a run, with what decides their compiled shapes."""

  batches: tuple[PlannedBatch, ...]
  heights: dict[int, int]  # row length -> rows a batch
  targets: dict[int, int]  # row length -> supervised places a group, at most
  groups: int  # parts of a batch that gather their supervised places apart
  examples: int  # items a row, at most
  steps_per_epoch: int
  shards: int = 1  # groups of devices that a batch's rows are split over

  def fill(self, lengths: np.ndarray) -> float:
    """The share of all places that hold a token."""
    used = sum(int(lengths[i]) for b in self.batches for row in b.rows for i in row)
    return used / max(1, sum(b.length * self.heights[b.length] for b in self.batches))


def choose_buckets(lengths: np.ndarray, count: int, multiple: int, worth: float = 0.0) -> list[int]:
  """At most `count` row lengths for which these items take the fewest places.

  Exact, by dynamic programming over the distinct rounded lengths. `worth`: the places that each
  row length is charged beside its rows.

  >>> choose_buckets(np.array([10, 12, 15, 60, 64]), 2, 16)
  [16, 64]
  >>> choose_buckets(np.array([10, 12, 15, 60, 64]), 2, 16, worth=200)
  [64]
  """
  rounded = -(-np.asarray(lengths) // multiple) * multiple
  sizes, numbers = np.unique(rounded, return_counts=True)
  cumulative = np.concatenate([[0], np.cumsum(numbers)])
  n, count = len(sizes), min(count, len(sizes))
  cost = sizes * cumulative[1:]  # everything up to i in one bucket
  back, totals = np.zeros((count, n), np.int64), [cost[-1]]
  for k in range(1, count):
    # Items above j up to i in a bucket of their own, the rest as well as k buckets can.
    options = cost[:, None] + sizes[None, :] * (cumulative[None, 1:] - cumulative[1:, None])
    options = np.where(np.tril(np.ones((n, n), bool)), np.iinfo(np.int64).max, options)
    best = options.argmin(0)
    better = options[best, np.arange(n)] < cost
    back[k] = np.where(better, best + 1, 0)
    cost = np.where(better, options[best, np.arange(n)], cost)
    totals.append(cost[-1] + k * worth)
  chosen, i = [], n - 1
  for k in range(int(np.argmin(totals)), -1, -1):
    chosen.append(int(sizes[i]))
    i = int(back[k, i]) - 1
    if i < 0:
      break
  return chosen[::-1]


def _row_lengths(lengths: np.ndarray, config: BatchConfig, worth: float) -> list[int]:
  """Those compiled: of packed rows, if any item goes into one, and of what lies alone."""
  alone = lengths[lengths > config.packing]
  packed = [config.packing] if len(alone) < len(lengths) else []
  if not len(alone):
    return packed
  count = max(config.buckets - len(packed), 1)
  return packed + choose_buckets(alone, count, config.multiple, worth)


def _pack(order: Sequence[int], lengths: np.ndarray, room: int) -> list[tuple[int, ...]]:
  """First-fit decreasing within windows of the shuffled order, so that rows stay random."""
  rows: list[tuple[int, ...]] = []
  for start in range(0, len(order), 1024):
    window = sorted(order[start : start + 1024], key=lambda i: -int(lengths[i]))
    bins: list[list[int]] = []
    free: list[int] = []
    for i in window:
      n = int(lengths[i])
      place = next((b for b, f in enumerate(free) if f >= n), None)
      if place is None:
        bins.append([])
        free.append(room)
        place = len(bins) - 1
      bins[place].append(i)
      free[place] -= n
    rows += [tuple(b) for b in bins]
  return rows


def _epoch(
  lengths: np.ndarray, config: BatchConfig, heights: dict[int, int], seed: int, epoch: int
) -> list[PlannedBatch]:
  rng = np.random.default_rng([seed, epoch])
  order = rng.permutation(len(lengths))
  buckets = sorted(heights)
  batches = []
  waiting: list[tuple[int, ...]] = []
  bucket_of = np.searchsorted(buckets, lengths[order])
  for k, length in enumerate(buckets):
    here = order[bucket_of == k].tolist()
    if length == config.packing:
      packed = _pack(here, lengths, length)
      waiting += [packed[i] for i in rng.permutation(len(packed))]
    else:
      # What did not fill a batch of shorter rows climbs into this one.
      waiting += [(i,) for i in here]
    height = heights[length]
    last = k == len(buckets) - 1
    while len(waiting) >= height or (last and waiting):
      rows, waiting = waiting[:height], waiting[height:]
      batches.append(PlannedBatch(length, tuple(rows)))
  return [batches[i] for i in rng.permutation(len(batches))]


def make_plan(
  items: Items, config: BatchConfig, *, seed: int, epochs: float = 1, shards: int = 1
) -> Plan:
  """Plans every batch of a run.

  Args:
    items: what to batch.
    config: sizes.
    seed: of the shuffles; epoch e is shuffled by (seed, e).
    epochs: may be a fraction; batches of the last epoch beyond it are left out.
    shards: groups of devices that rows are split over.

  Raises: UserError when the batch does not divide over shards and micro-batches, or when there is
  nothing to train on.
  """
  if not len(items):
    raise UserError(f"nothing to train on: {_say(items)}")
  if epochs <= 0:
    raise UserError(f"epochs is {epochs}; expected more than 0")
  groups = shards * config.microbatches
  buckets = _row_lengths(items.lengths, config, config.bucket_places / epochs)
  heights = {}
  for length in buckets:
    height = config.batch_size
    if config.batch_tokens:
      height = max(config.batch_tokens // length // groups, 1) * groups
    elif height % groups:
      raise UserError(
        f"batch_size {height} does not divide into {config.microbatches} micro-batches on "
        f"{shards} data shards; use a multiple of {groups}"
      )
    heights[length] = height
  batches: list[PlannedBatch] = []
  per_epoch = 0
  for epoch in range(int(np.ceil(epochs))):
    one = _epoch(items.lengths, config, heights, seed, epoch)
    per_epoch = per_epoch or len(one)
    batches += one
  batches = batches[: max(1, round(epochs * per_epoch))] if epochs % 1 else batches
  targets = dict.fromkeys(heights, 0)
  for b in batches:
    targets[b.length] = max(targets[b.length], *_group_targets(items, b, heights, groups))
  step = 4 * config.multiple
  targets = {n: min(-(-m // step) * step, n * heights[n] // groups) for n, m in targets.items()}
  examples = max(len(row) for b in batches for row in b.rows)
  return Plan(tuple(batches), heights, targets, groups, examples, per_epoch, shards)


def _say(items: Items) -> str:
  return ", ".join(f"{reason} {n}" for reason, n in sorted(items.counts.items())) or "no rows"


def _group_targets(items: Items, batch: PlannedBatch, heights: dict[int, int], groups: int):
  per_group = heights[batch.length] // groups
  return [
    int(
      sum(items.targets[i] for row in batch.rows[g * per_group : (g + 1) * per_group] for i in row)
    )
    for g in range(groups)
  ]


def build_batch(
  items: Items, plan: Plan, index: int, *, shards: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
  """The arrays of batch `index`, or of the rows of these of its shards.

  tokens, mask [B, T]; positions, segments [B, T] where rows hold more than one sequence;
  gather [G, M]: flat places, within each group of rows, of the supervised tokens, padded with -1.
  For branched items also example_weight [B, E], 1 where there is an item, and every field of the
  items as [B, E, …].
  """
  batch = plan.batches[index]
  T, height = batch.length, plan.heights[batch.length]
  shards, each = range(plan.shards) if shards is None else shards, height // plan.shards
  mine = [row for s in shards for row in range(s * each, (s + 1) * each)]
  B, E = len(mine), plan.examples
  arrays = {
    "tokens": np.zeros((B, T), np.int32),
    "mask": np.zeros((B, T), np.uint8),
    "positions": np.zeros((B, T), np.int32),
    "segments": np.zeros((B, T), np.int32),
  }
  if items.branched:
    arrays["example_weight"] = np.zeros((B, E), np.float32)
    for name, values in items.fields.items():
      arrays[name] = np.zeros((B, E, *values.shape[1:]), values.dtype)
  for b, r in enumerate(mine):
    at = 0
    for e, i in enumerate(batch.rows[r] if r < len(batch.rows) else ()):
      here, there = slice(at, at + items.lengths[i]), slice(items.offsets[i], items.offsets[i + 1])
      arrays["tokens"][b, here] = items.tokens[there]
      arrays["mask"][b, here] = items.mask[there]
      arrays["positions"][b, here] = items.positions[there]
      arrays["segments"][b, here] = (e + 1) * BRANCHES + items.branches[there].astype(np.int32)
      at += items.lengths[i]
      if items.branched:
        arrays["example_weight"][b, e] = 1.0
        for name, values in items.fields.items():
          arrays[name][b, e] = values[i]
  arrays["gather"] = _gather(
    arrays["mask"], plan.groups // plan.shards * len(shards), plan.targets[T]
  )
  if not items.branched and E == 1:
    del arrays["positions"], arrays["segments"]  # one sequence a row: causality is enough
  return arrays


def _gather(mask_BT: np.ndarray, groups: int, width: int) -> np.ndarray:
  """Flat places of each group's supervised tokens."""
  flat = np.full((groups, width), -1, np.int32)
  for g, rows in enumerate(np.split(mask_BT, groups)):
    b, t = np.nonzero(rows)
    flat[g, : len(b)] = b * mask_BT.shape[1] + t
  return flat
