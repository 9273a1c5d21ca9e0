"""Where arrays lie: batches by their rows, training state by the rules of its parameters."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from xwinjax.sharding import rules
from xwinjax.sharding.mesh import data_shards, own_shards


def put_batch(
  batch: dict[str, np.ndarray], mesh: Mesh | None, *, whole: bool = False
) -> dict[str, jax.Array]:
  """A batch as global arrays over the mesh (or on the only device).

  Args:
    batch: the rows of the shards that this process's devices hold, in order.
    whole: the batch holds the rows of all shards; others than its own are not looked at.
  """
  if mesh is None:
    return jax.device_put(batch)
  held = range(data_shards(mesh)) if whole else own_shards(mesh)
  place = {shard: i for i, shard in enumerate(held)}

  def put(sharding, rows: np.ndarray) -> jax.Array:
    each = len(rows) // len(held)

    def part(index) -> np.ndarray:
      at = place[(index[0].start or 0) // each] * each
      return rows[at : at + each]

    return jax.make_array_from_callback((each * data_shards(mesh), *rows.shape[1:]), sharding, part)

  return jax.tree.map(put, rules.batch_shardings(mesh, batch), batch)


def put_state(state: Any, mesh: Mesh | None) -> Any:
  """Training state on a mesh of several processes: each holds the same of what is not there yet."""
  if mesh is None or jax.process_count() == 1:
    return state

  def put(x: jax.Array, sharding) -> jax.Array:
    if not x.is_fully_addressable:
      return x
    here = np.asarray(x)
    return jax.make_array_from_callback(here.shape, sharding, lambda index: here[index])

  return jax.tree.map(put, state, rules.tree_shardings(mesh, state))
