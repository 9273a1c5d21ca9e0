"""Which axis of which parameter lies on which axis of the mesh, as the table of parameters says."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xwinjax.model import parameters

# Every parameter is named, so that a new one has to be thought about: there is no rule for "the
# rest".
RULES: dict[tuple[str, ...], P] = {
  path: P(*row.mesh_axes) for path, row in parameters.BY_PATH.items()
}

ROWS = P(("data", "fsdp"))  # batches: their first axis


def param_sharding(mesh: Mesh, path: tuple[str, ...]) -> NamedSharding:
  """The sharding of the parameter at `path`.

  Raises: KeyError for a parameter without a rule.
  """
  if path not in RULES:
    raise KeyError(
      f"no sharding rule for parameter {'/'.join(path)}; add a row to model/parameters.py"
    )
  return NamedSharding(mesh, RULES[path])


def _names(path) -> tuple[str, ...]:
  return tuple(str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path)


def tree_shardings(mesh: Mesh, tree: Any) -> Any:
  """Shardings of a tree that holds parameters, or copies of them as optimizers keep.

  A leaf belongs to the parameter whose path ends its own; scalars (counters) are replicated.
  """

  def sharding(path, leaf):
    if leaf.ndim == 0:
      return NamedSharding(mesh, P())
    names = _names(path)
    for start in range(len(names)):
      if names[start:] in RULES:
        return NamedSharding(mesh, RULES[names[start:]])
    raise KeyError(f"no sharding rule for {'/'.join(names)}; add a row to model/parameters.py")

  return jax.tree_util.tree_map_with_path(sharding, tree)


def batch_shardings(mesh: Mesh, batch: Any) -> Any:
  """Rows over data × fsdp, for every array of a batch."""
  return jax.tree.map(lambda _: NamedSharding(mesh, ROWS), batch)


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, P())
