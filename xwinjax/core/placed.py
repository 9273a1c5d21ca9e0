"""Where arrays inside a compiled function lie on the mesh that `jax.set_mesh` has set.

Without these, XLA decides by itself, and on a mesh of many devices it keeps the batch whole on each
of them and splits the matrices: 70B then asks for 180 GiB a chip where 28 do.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import jax
from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P

ROWS = ("data", "fsdp")  # axes of the mesh that share the rows of a batch
TENSOR = "tensor"  # the axis that shares heads, feed-forward columns and vocabulary


def mesh() -> AbstractMesh | None:
  """The mesh that is set, if it has our axes and more than one device."""
  found = jax.sharding.get_abstract_mesh()
  if found.empty or not {*ROWS, TENSOR} <= set(found.axis_names) or found.size == 1:
    return None
  return found


def on(mesh: Mesh | None) -> contextlib.AbstractContextManager:
  """In it, what is computed knows the mesh; None is a single device."""
  return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def shards() -> int:
  """Over how many groups of devices rows are shared out; 1 where no mesh is set."""
  found = mesh()
  return 1 if found is None else math.prod(found.shape[axis] for axis in ROWS)


def spec(shape: Sequence[int], axes: Sequence) -> P:
  """Where an array of this shape lies; an axis whose size does not divide stays whole."""
  found = mesh()
  if found is None:
    return P()

  def devices(axis) -> int:
    names = axis if isinstance(axis, tuple) else (axis,) if axis else ()
    return math.prod(found.shape[name] for name in names)

  return P(*[a if n % devices(a) == 0 else None for a, n in zip(axes, shape, strict=True)])


def place(x: jax.Array, *axes) -> jax.Array:
  """x with each of its axes on the named axes of the mesh, None keeping one whole.

  Its cotangent lies the same way. Does nothing where no mesh is set.
  """
  if mesh() is None:
    return x
  return jax.lax.with_sharding_constraint(x, spec(x.shape, axes))


def rows(x: jax.Array) -> jax.Array:
  """x [B, …] with its rows shared out, all else whole."""
  return place(x, ROWS, *[None] * (x.ndim - 1))
