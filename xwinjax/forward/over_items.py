"""One forward pass over items, batch by batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from xwinjax.core import placed, processes
from xwinjax.core.types import Params
from xwinjax.data import batching
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.forward.values import Model
from xwinjax.sharding.mesh import data_shards
from xwinjax.sharding.place import put_batch

OnRows = Callable[[int, int], None]  # (answers, tokens) since the last call


@functools.cache
def jitted(values: Callable[..., Any], model: Model, **settings: Any) -> Callable[..., Any]:
  """(params, batch) -> values(model, params, batch, **settings), compiled.

  The same function for the same arguments, so that a later pass finds it compiled; `values` must be
  a function of a module for that, and so must a model that is a `Forward`.
  """
  return jax.jit(lambda params, batch: values(model, params, batch, **settings))


def over_items(
  forward: Callable[..., Any],
  params: Params,
  data: Items,
  batch: BatchConfig,
  mesh: Mesh | None = None,
  on_rows: OnRows | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], Any]]:
  """Yields (arrays, values) of every batch; values are read while the next batch runs.

  Several processes compute it together, and each gets all of it.

  Args:
    forward: (params, batch) -> arrays, from `jitted`.
    data: items; what says where a batch's numbers belong is a field of theirs.
    batch: sizes. Its micro-batches are set aside: nothing is kept for a backward pass.
    mesh: None runs on one device.
    on_rows: called with the (answers, tokens) of each batch that was read. An item without
      branches is one answer.

  Yields: the arrays of `data.batching.build_batch`, and what `forward` gave for them in numpy.
  """
  shards = 1 if mesh is None else data_shards(mesh)
  plan = batching.make_plan(data, dataclasses.replace(batch, microbatches=1), seed=0, shards=shards)
  running: list[tuple[int, dict[str, np.ndarray], Any]] = []
  for i in range(len(plan.batches)):
    arrays = batching.build_batch(data, plan, i)
    with placed.on(mesh):
      running.append((i, arrays, forward(params, put_batch(arrays, mesh, whole=True))))
    if len(running) > 1:
      yield _read(*running.pop(0), data, plan, on_rows)
  yield _read(*running.pop(), data, plan, on_rows)


def _read(
  number: int,
  arrays: dict[str, np.ndarray],
  values: Any,
  data: Items,
  plan: batching.Plan,
  on_rows: OnRows | None,
) -> tuple[dict[str, np.ndarray], Any]:
  values = processes.gathered(values)
  if on_rows is not None:
    items = np.array([i for row in plan.batches[number].rows for i in row])
    branches = data.branches[data.offsets[items + 1] - 1].astype(int)  # an item's last
    on_rows(int(np.maximum(branches, 1).sum()), int(data.lengths[items].sum()))
  return arrays, values
