"""What an accelerator can do, from the vendors' published figures, and slices of them."""

from __future__ import annotations

import dataclasses
import math
import re

from xwinjax.core import host
from xwinjax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
  """One accelerator. Rates are a second's; the links' is what one chip can send."""

  name: str
  kind: str  # as jax calls it
  memory_gib: float  # that a program may use
  memory_bandwidth: float  # bytes
  link: float  # bytes to each neighbour of a torus (TPU), or to all others of a node (GPU)
  axes: int = 0  # of the torus; 0: no torus
  node: int = 0  # GPUs a node
  network: float = 0.0  # bytes between nodes, a GPU

  @property
  def flops(self) -> float:
    """Dense bfloat16."""
    return host.PEAKS[self.kind]


CHIPS = {
  chip.name: chip
  for chip in (
    Chip("v4", "TPU v4", 31.75, 1.2e12, 4.5e10, axes=3),
    Chip("v5e", "TPU v5 lite", 15.75, 0.82e12, 4.5e10, axes=2),
    Chip("v5p", "TPU v5", 95.74, 2.77e12, 9.0e10, axes=3),
    Chip("v6e", "TPU v6 lite", 31.25, 1.64e12, 9.0e10, axes=2),
    Chip("a100", "A100", 79.0, 2.0e12, 300e9, node=8, network=25e9),
    Chip("h100", "H100", 79.0, 3.35e12, 450e9, node=8, network=50e9),
    Chip("h200", "H200", 139.0, 4.8e12, 450e9, node=8, network=50e9),
  )
}


@dataclasses.dataclass(frozen=True)
class Slice:
  """Chips beside each other: `v5p:4x4x4`, or nodes of GPUs: `h100:8`, `h100:8x4` (4 nodes)."""

  chip: Chip
  shape: tuple[int, ...]

  @property
  def name(self) -> str:
    return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

  @property
  def devices(self) -> int:
    return math.prod(self.shape)

  def bandwidth(self) -> float:
    """Bytes/s that one chip takes part in when all gather from all.

    A ring sends both ways, a line (an axis of a v5e or v6e shorter than 16) one way; all axes of a
    torus work at once. GPUs of several nodes are as fast as their network.
    """
    if not self.chip.axes:
      one_node = self.devices <= self.chip.node
      return self.chip.link if one_node else self.chip.network
    whole = 4 if self.chip.axes == 3 else 16
    rings = [2 if size % whole == 0 else 1 for size in self.shape if size > 1]
    return self.chip.link * max(sum(rings), 1)


def parse(text: str) -> Slice:
  """`v5e:4x8` as a slice. Raises UserError for what there is not."""
  name, _, shape = text.partition(":")
  if name not in CHIPS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
    raise UserError(
      f"--topology {text!r}: expected a chip of {', '.join(CHIPS)} and a shape, such as v5p:4x4x4, "
      "v5e:4x8 or h100:8x4 (4 nodes of 8)"
    )
  sizes = tuple(map(int, shape.split("x")))
  chip = CHIPS[name]
  if chip.axes and len(sizes) != chip.axes:
    raise UserError(f"--topology {text!r}: a slice of {name} has {chip.axes} axes")
  if chip.node and (sizes[0] > chip.node or len(sizes) > 2):
    raise UserError(f"--topology {text!r}: at most {chip.node} GPUs a node, then the nodes")
  return Slice(chip, sizes)
