"""Sizes of published models, for plans made without a folder of theirs."""

from __future__ import annotations

from pathlib import Path

from xwinjax.checkpoint import hf_config
from xwinjax.core.errors import UserError
from xwinjax.model.config import LlamaConfig, RopeScaling


def _llama2(dim: int, layers: int, heads: int, kv_heads: int, ffn: int) -> LlamaConfig:
  return LlamaConfig(32_000, dim, layers, heads, kv_heads, 128, ffn, max_length=4096)


def _llama3(dim: int, layers: int, heads: int, ffn: int) -> LlamaConfig:
  scaling = RopeScaling(8.0, 1.0, 4.0, 8192)
  return LlamaConfig(
    128_256, dim, layers, heads, 8, 128, ffn, 131_072, rope_theta=5e5, rope_scaling=scaling
  )


SIZES = {
  "llama2_7b": _llama2(4096, 32, 32, 32, 11_008),
  "llama2_13b": _llama2(5120, 40, 40, 40, 13_824),
  "llama2_70b": _llama2(8192, 80, 64, 8, 28_672),
  "llama3_8b": _llama3(4096, 32, 32, 14_336),
  "llama3_70b": _llama3(8192, 80, 64, 28_672),
}


def find(name: str) -> LlamaConfig:
  """The sizes of a name above, or of a model folder or config.json.

  Raises: UserError for neither.
  """
  if name in SIZES:
    return SIZES[name]
  path = Path(name)
  if not path.exists():
    raise UserError(f"--model {name!r}: no such file, nor one of {', '.join(SIZES)}")
  return hf_config.read(path if path.is_dir() else path.parent).llama
