"""Where a batch's arrays lie."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh

from xwinjax.sharding import rules


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh | None) -> dict[str, jax.Array]:
  """A process's rows as global arrays over the mesh (or on the only device)."""
  if mesh is None:
    return jax.device_put(batch)
  shardings = rules.batch_shardings(mesh, batch)
  return jax.tree.map(jax.make_array_from_process_local_data, shardings, batch)
