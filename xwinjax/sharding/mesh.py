"""The device mesh: axes (data, fsdp, tensor).

Rows of a batch are split over data × fsdp, parameters over fsdp × tensor.
"""

from __future__ import annotations

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from xwinjax.core.errors import UserError
from xwinjax.model.config import LlamaConfig

AXES = ("data", "fsdp", "tensor")


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None) -> Mesh:
  """A mesh over all devices; one axis may be -1 and takes what the others leave.

  Raises: UserError when the sizes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes, n = [data, fsdp, tensor], len(devices)
  if sizes.count(-1) > 1 or any(s < 1 and s != -1 for s in sizes):
    asked = dict(zip(AXES, sizes, strict=True))
    raise UserError(f"mesh {asked}: sizes must be positive, and at most one may be -1")
  known = 1
  for s in sizes:
    known *= s if s != -1 else 1
  if -1 in sizes and n % known == 0:
    sizes[sizes.index(-1)] = n // known
    known = n
  if known != n or -1 in sizes:
    raise UserError(
      f"mesh data={data} fsdp={fsdp} tensor={tensor} needs {known} devices (or a multiple, "
      f"with -1); {n} found. Set config.mesh to sizes whose product is {n}"
    )
  auto = (AxisType.Auto,) * 3
  try:
    return jax.make_mesh(sizes, AXES, axis_types=auto, devices=devices)
  except NotImplementedError:  # on a torus where an axis of the mesh ends inside one of its rings
    order = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(order, AXES, axis_types=auto)


def data_shards(mesh: Mesh) -> int:
  """Over how many groups of devices the rows of a batch are split."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def own_shards(mesh: Mesh) -> list[int]:
  """Which of those groups have a device of this process, in order."""
  process = jax.process_index()
  groups = mesh.devices.reshape(data_shards(mesh), -1)
  return [i for i, group in enumerate(groups) if any(d.process_index == process for d in group)]


def own_part(mesh: Mesh | None) -> Mesh | None:
  """The mesh that a process has for itself: its own devices of this one, None for a single device.

  The whole mesh where `tensor` spans several processes: what each layer is split over stays so.
  """
  if mesh is None or jax.process_count() == 1:
    return mesh
  together = mesh.devices.reshape(-1, mesh.shape["tensor"])
  if any(len({d.process_index for d in group}) > 1 for group in together):
    return mesh
  return None if jax.local_device_count() == 1 else mesh.local_mesh


def check_fits(mesh: Mesh, config: LlamaConfig) -> None:
  """Refuses a mesh that would cut a head, before anything compiles."""
  tensor, fsdp = mesh.shape["tensor"], mesh.shape["fsdp"]
  for name in ("num_heads", "num_kv_heads", "ffn_dim", "vocab_size"):
    if getattr(config, name) % tensor:
      raise UserError(
        f"mesh tensor={tensor} does not divide {name} {getattr(config, name)}; "
        "choose a tensor size that divides it"
      )
  if config.dim % fsdp:
    raise UserError(f"mesh fsdp={fsdp} does not divide dim {config.dim}; choose one that does")
