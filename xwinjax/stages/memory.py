"""What training needs of a device's memory, by the sizes of its arrays; nothing is compiled.

It leaves out what XLA's scheduling adds or saves: `tools/plan` compiles to know that.
"""

from __future__ import annotations

import dataclasses
import math

import jax

from xwinjax.core import host
from xwinjax.data.batching import BatchConfig
from xwinjax.model import parameters
from xwinjax.model.config import LlamaConfig
from xwinjax.stages.common import MeshConfig
from xwinjax.stages.lora import LoRAConfig

GIB = 2**30
F32 = 4
SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclasses.dataclass(frozen=True)
class Need:
  """Bytes of one device."""

  state: float  # parameters, their gradients and AdamW's two moments
  activations: float

  @property
  def total(self) -> float:
    return self.state + self.activations


def state_bytes(
  model: LlamaConfig, mu_dtype: str = "float32", lora: LoRAConfig | None = None
) -> tuple[float, float]:
  """(of parameters and moments, of gradients), all devices together.

  With adapters those have moments and gradients, and the model beside them neither.
  """
  trained = parameters.count(model)
  frozen = 0
  if lora is not None and lora.rank:
    frozen = trained * SIZES[lora.base_dtype]
    trained = lora.numbers(lora.adapted(model))
  return frozen + trained * (2 * F32 + SIZES[mu_dtype]), trained * F32


def training(
  model: LlamaConfig,
  batch: BatchConfig,
  longest: int,
  mesh: MeshConfig,
  mu_dtype: str = "float32",
  lora: LoRAConfig | None = None,
) -> Need:
  """Of a step on rows as long as the longest item.

  State: 16 bytes a parameter where all train, with moments in f32. Activations, of the rows that a
  device has at once: with remat none 2.5 (4 D + 3 F) + D numbers a token and layer, with dots
  (4 D + 3 F) + D, with full D; three layers' scratch of 4 D + 3 F; logits of at most 1 GiB, twice.
  """
  split = _split(mesh)
  rows, length = _rows(batch, longest)
  at_once = math.ceil(math.ceil(rows / split["rows"]) / batch.microbatches) * length
  size = SIZES[model.dtype]
  place = at_once * model.dim * size
  wide = at_once * size * (4 * model.dim + 3 * model.ffn_dim) / split["tensor"]
  saved = {"full": place, "dots": place + wide, "none": place + 2.5 * wide}[model.remat]
  logits = min(at_once * model.vocab_size * F32 / split["tensor"], GIB)
  state = sum(state_bytes(model, mu_dtype, lora)) / (split["fsdp"] * split["tensor"])
  return Need(state, model.num_layers * saved + 3 * wide + 2 * logits)


def _rows(batch: BatchConfig, longest: int) -> tuple[int, int]:
  """(rows, length) of the longest batch."""
  length = max(batch.packing, -(-longest // batch.multiple) * batch.multiple)
  return max(batch.batch_tokens // length, 1) if batch.batch_tokens else batch.batch_size, length


def _split(mesh: MeshConfig) -> dict[str, int]:
  """Over how many devices parameters, each layer, and rows are shared out."""
  sizes = {"data": mesh.data, "fsdp": mesh.fsdp, "tensor": mesh.tensor}
  known = math.prod(n for n in sizes.values() if n > 0)
  sizes = {name: n if n > 0 else max(jax.device_count() // known, 1) for name, n in sizes.items()}
  return {**sizes, "rows": sizes["data"] * sizes["fsdp"]}


def told(need: Need, there: float | None) -> tuple[str, bool]:
  """The need as a line, and whether it is more than the device has."""
  text = (
    f"about {_gib(need.total)} a device: {_gib(need.state)} of state, "
    f"{_gib(need.activations)} of activations"
  )
  return text + (f"; it has {_gib(there)}" if there else ""), bool(there) and need.total > there


def device_bytes() -> float | None:
  """Memory of the first device that programs may use; of a CPU the machine's."""
  device = jax.local_devices()[0]
  if device.platform == "cpu":
    return host.memory_bytes()
  return (device.memory_stats() or {}).get("bytes_limit")


def _gib(size: float) -> str:
  return f"{size / GIB:.1f} GiB" if size > GIB / 10 else f"{size / 2**20:.0f} MiB"
