"""What several processes know of a step together: its tokens, and whether a signal came to any."""

from __future__ import annotations

import functools
import signal
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xwinjax.sharding import rules

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # the first wins


class Together:
  """Adds up over all processes; on the devices, so that it costs a step no wait of its own."""

  def __init__(self, mesh: Mesh):
    self.mesh = mesh
    self.each = NamedSharding(mesh, P(mesh.axis_names))  # a row a device
    self.sums = jax.jit(_sums, out_shardings=rules.replicated(mesh))

  def begin(self, batch: Mapping[str, jax.Array], caught: int) -> jax.Array:
    """[places used, targets, processes that caught each of SIGNALS]: ready when the last step is.

    Args:
      batch: on the mesh.
      caught: the signal this process has caught; 0 for none.
    """
    mine = np.array([[caught == s for s in SIGNALS]], np.int32)
    part = lambda _: mine
    flags = jax.make_array_from_callback((self.mesh.size, len(SIGNALS)), self.each, part)
    return self.sums(batch.get("segments", batch["tokens"]), batch["mask"], flags)


def _sums(used_BT: jax.Array, mask_BT: jax.Array, flags: jax.Array) -> jax.Array:
  count = functools.partial(jnp.sum, dtype=jnp.int32)
  return jnp.concatenate([count(used_BT != 0)[None], count(mask_BT)[None], flags.sum(0)])


def read(sums: jax.Array) -> tuple[dict[str, int], int]:
  """({"tokens", "targets"} of the whole batch, the signal that all stop for; 0 for none)."""
  tokens, targets, *caught = np.asarray(sums).tolist()
  stop = next((int(s) for s, n in zip(SIGNALS, caught, strict=True) if n), 0)
  return {"tokens": tokens, "targets": targets}, stop
