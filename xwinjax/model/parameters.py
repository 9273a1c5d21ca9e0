"""Every parameter of a Llama in one table: its place, size, start, mesh axes and published name.

The model makes its parameters from these rows, checkpoints are read and written by them, devices
share the arrays and weight decay spares them by them. A new one is a row here and its use in
`layers`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

from xwinjax.model.config import LlamaConfig

# See `layers.initializer`.
NORMAL, SCALED, ONES, ZEROS, FACTOR = "normal", "scaled", "ones", "zeros", "factor"
FSDP, TENSOR = "fsdp", "tensor"  # axes of the mesh


def always(config: LlamaConfig, reward_head: bool) -> bool:
  return True


def with_head(config: LlamaConfig, reward_head: bool) -> bool:
  return not config.tied and not reward_head


def with_reward(config: LlamaConfig, reward_head: bool) -> bool:
  return reward_head


def qwen2(config: LlamaConfig, reward_head: bool) -> bool:
  return config.family == "qwen2"


@dataclasses.dataclass(frozen=True)
class Row:
  """A parameter. Those under `layers/` have a leading axis L beside what the row says."""

  place: str  # in the tree: layers/attention/q
  dims: str  # letters of `core.dims`, of one layer
  init: str  # NORMAL, SCALED (added to the residual stream), ONES, ZEROS, FACTOR (an adapter's)
  axes: tuple[str | None, ...]  # the mesh axis that shares each dimension
  theirs: str  # the axes of the published tensor: "HN D" is a matrix [H·N, D]
  published: str  # its name, in layers behind "model.layers.<number>."
  decayed: bool = True  # weight decay shrinks it
  when: Callable[[LlamaConfig, bool], bool] = always  # (config, reward head) -> is it there

  def __post_init__(self):
    same = sorted(self.dims) == sorted(self.theirs.replace(" ", "").replace("1", ""))
    if not same or len(set(self.dims)) != len(self.dims) or len(self.axes) != len(self.dims):
      raise ValueError(f"{self.place}: {self.dims}, {self.theirs!r}, {self.axes} do not fit")

  @property
  def path(self) -> tuple[str, ...]:
    return tuple(self.place.split("/"))

  @property
  def stacked(self) -> bool:
    """Whether its array holds all layers, [L, …]."""
    return self.path[0] == "layers"

  @property
  def mesh_axes(self) -> tuple[str | None, ...]:
    """The mesh axis of every axis of its array; layers are never split."""
    return (None, *self.axes) if self.stacked else self.axes

  def shape(self, config: LlamaConfig) -> tuple[int, ...]:
    """Its shape in one layer."""
    sizes = letters(config)
    return tuple(sizes[letter] for letter in self.dims)

  def their_shape(self, config: LlamaConfig) -> tuple[int, ...]:
    """The shape of the published tensor."""
    sizes = letters(config) | {"1": 1}
    return tuple(math.prod(sizes[letter] for letter in axis) for axis in self.theirs.split())

  def name(self, layer: int | None = None) -> str:
    """The published tensor's name, of one layer where it is stacked."""
    return f"model.layers.{layer}.{self.published}" if self.stacked else self.published


TABLE = (
  Row("embed/embedding", "VD", NORMAL, (TENSOR, FSDP), "V D", "model.embed_tokens.weight"),
  Row("norm/scale", "D", ONES, (None,), "D", "model.norm.weight", decayed=False),
  Row("layers/attention/q", "DHN", NORMAL, (FSDP, TENSOR, None), "HN D", "self_attn.q_proj.weight"),
  Row("layers/attention/k", "DKN", NORMAL, (FSDP, TENSOR, None), "KN D", "self_attn.k_proj.weight"),
  Row("layers/attention/v", "DKN", NORMAL, (FSDP, TENSOR, None), "KN D", "self_attn.v_proj.weight"),
  Row("layers/attention/o", "HND", SCALED, (TENSOR, None, FSDP), "D HN", "self_attn.o_proj.weight"),
  Row(
    "layers/attention/q_bias",
    "HN",
    ZEROS,
    (TENSOR, None),
    "HN",
    "self_attn.q_proj.bias",
    decayed=False,
    when=qwen2,
  ),
  Row(
    "layers/attention/k_bias",
    "KN",
    ZEROS,
    (TENSOR, None),
    "KN",
    "self_attn.k_proj.bias",
    decayed=False,
    when=qwen2,
  ),
  Row(
    "layers/attention/v_bias",
    "KN",
    ZEROS,
    (TENSOR, None),
    "KN",
    "self_attn.v_proj.bias",
    decayed=False,
    when=qwen2,
  ),
  Row("layers/attention_norm/scale", "D", ONES, (None,), "D", "input_layernorm.weight", False),
  Row("layers/mlp/gate", "DF", NORMAL, (FSDP, TENSOR), "F D", "mlp.gate_proj.weight"),
  Row("layers/mlp/up", "DF", NORMAL, (FSDP, TENSOR), "F D", "mlp.up_proj.weight"),
  Row("layers/mlp/down", "FD", SCALED, (TENSOR, FSDP), "D F", "mlp.down_proj.weight"),
  Row("layers/mlp_norm/scale", "D", ONES, (None,), "D", "post_attention_layernorm.weight", False),
  Row("head/kernel", "DV", NORMAL, (FSDP, TENSOR), "V D", "lm_head.weight", when=with_head),
  Row("reward/kernel", "D", ZEROS, (None,), "1 D", "score.weight", when=with_reward),
)


def _adapter(kernel: Row) -> tuple[Row, Row]:
  """LoRA's factors beside a kernel: A from its inputs to the rank Z, B from there to its outputs.

  Published as PEFT names them. Devices share them as they share the kernel.
  """
  outputs, inputs = kernel.theirs.split()
  module, axes = (
    kernel.published.removesuffix("weight"),
    dict(zip(kernel.dims, kernel.axes, strict=True)),
  )
  along = lambda letters: tuple(axes[letter] for letter in letters)
  return (
    Row(
      f"{kernel.place}_lora_a",
      f"{inputs}Z",
      FACTOR,
      (*along(inputs), None),
      f"Z {inputs}",
      f"{module}lora_A.weight",
    ),
    Row(
      f"{kernel.place}_lora_b",
      f"Z{outputs}",
      ZEROS,
      (None, *along(outputs)),
      f"{outputs} Z",
      f"{module}lora_B.weight",
    ),
  )


# The layers' projections by their published names, and the adapters that each may have: not of any
# model by itself, so no part of `rows`.
PROJECTIONS = {
  row.published.split(".")[-2]: row for row in TABLE if row.stacked and " " in row.theirs
}
ADAPTERS = {name: _adapter(row) for name, row in PROJECTIONS.items()}
BY_PATH = {row.path: row for row in (*TABLE, *itertools.chain(*ADAPTERS.values()))}


def letters(config: LlamaConfig) -> dict[str, int]:
  """The size that each letter stands for."""
  c = config
  return {
    "V": c.vocab_size,
    "D": c.dim,
    "H": c.num_heads,
    "K": c.num_kv_heads,
    "N": c.head_dim,
    "F": c.ffn_dim,
    "Z": c.lora_rank,
  }


def rows(config: LlamaConfig, *, reward_head: bool = False) -> Iterator[Row]:
  """The parameters that such a model has, in the order of the table."""
  return (row for row in TABLE if row.when(config, reward_head))


def group(config: LlamaConfig, place: str) -> Iterator[Row]:
  """The parameters right under a place in the tree, such as `layers/attention`."""
  return (row for row in rows(config) if row.place.rpartition("/")[0] == place)


def adapters(place: str = "layers") -> Iterator[Row]:
  """The adapters that there may be under a place in the tree."""
  return (row for row in itertools.chain(*ADAPTERS.values()) if row.place.startswith(f"{place}/"))


def count(config: LlamaConfig, *, reward_head: bool = False) -> int:
  """How many numbers the parameters hold."""
  return sum(
    math.prod(row.shape(config)) * (config.num_layers if row.stacked else 1)
    for row in rows(config, reward_head=reward_head)
  )
