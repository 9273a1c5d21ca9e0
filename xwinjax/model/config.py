"""What a Llama is made of."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from xwinjax.core.bounds import Amount, Few, Many, Part, Within

Vocabulary = Annotated[int, Within(1, 2**24)]
Length = Annotated[int, Within(1, 2**27)]
Theta = Annotated[float, Within(1, 1e15)]
Epsilon = Annotated[float, Within(1e-30, 0.1)]
Factor = Annotated[float, Within(1e-3, 1e6)]


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """Llama 3's rescaling of the rotary frequencies for longer contexts.

  Source: Llama 3 technical report (Grattafiori et al. 2024), section 3.2; the four numbers are
  those of the published checkpoints' `rope_scaling`.
  """

  factor: Factor
  low_freq_factor: Factor
  high_freq_factor: Factor
  original_max_length: Length


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
  """Sizes and options of a Llama; frozen and hashable, so it can be a static argument.

  The letters are those of `core.dims`: V vocab_size, D dim, L num_layers, H num_heads,
  K num_kv_heads, N head_dim, F ffn_dim.
  """

  vocab_size: Vocabulary
  dim: Many
  num_layers: Few
  num_heads: Few
  num_kv_heads: Few
  head_dim: Many
  ffn_dim: Annotated[int, Within(1, 2**20)]
  max_length: Length = 2048
  rope_theta: Theta = 10_000.0
  rope_scaling: RopeScaling | None = None
  norm_eps: Epsilon = 1e-5
  tied: bool = False  # the output head is the transposed embedding
  family: str = "llama"  # the published architecture; rows of `model.parameters` may depend on it

  # How to compute it; none of these changes what the model is.
  dtype: str = "float32"  # of activations and matmul operands; parameters stay f32
  operands: str = ""  # "bfloat16" rounds the operands of float32's matmuls; see core.matmul
  dropout: tuple[Part, Part] = (0.0, 0.0)  # residual dropout at the bottom and the top layer
  neftune: Amount = 0.0  # noise on embeddings while training, of alpha / sqrt(T D) at most
  scan_layers: bool = False  # one compiled layer run L times: compiles faster, runs a little slower
  remat: str = "none"  # "none" keeps activations, "dots" keeps matmul outputs, "full" keeps neither
  attention: str = "xla"  # "xla" anywhere, "splash" on TPUs, "cudnn" on NVIDIA GPUs with bf16
  lora_rank: Annotated[int, Within(0, 2**12)] = 0  # of adapters, where parameters hold any
  lora_alpha: Amount = 16.0  # an adapter counts alpha / rank times

  def __post_init__(self):
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f"num_heads {self.num_heads} must be a multiple of num_kv_heads {self.num_kv_heads}"
      )
    if self.head_dim % 2:
      raise ValueError(f"head_dim {self.head_dim} must be even for rotary embeddings")
    for name, allowed in (
      ("dtype", ("float32", "bfloat16", "float16")),
      ("operands", ("", "bfloat16")),
      ("remat", ("none", "dots", "full")),
      ("attention", ("xla", "splash", "cudnn")),
    ):
      if getattr(self, name) not in allowed:
        raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}")
    if not all(0.0 <= rate < 1.0 for rate in self.dropout):
      raise ValueError(f"dropout {self.dropout} must lie in [0, 1)")

  def replace(self, **changes) -> LlamaConfig:
    return dataclasses.replace(self, **changes)

  def dropout_rates(self) -> list[float]:
    """The residual dropout of each layer, rising linearly from bottom to top.

    Source: LIMA (Zhou et al. 2023), section 3.

    >>> tiny = LlamaConfig(8, 4, 3, 1, 1, 4, 8, dropout=(0.0, 0.3))
    >>> [round(rate, 2) for rate in tiny.dropout_rates()]
    [0.0, 0.15, 0.3]
    """
    low, high = self.dropout
    last = max(self.num_layers - 1, 1)
    return [low + (high - low) * layer / last for layer in range(self.num_layers)]
