"""A tiny model and tokenizer made by code, so that tests and users can run offline."""

from __future__ import annotations

from pathlib import Path

import jax

from xwinjax.checkpoint import huggingface
from xwinjax.core.types import Params
from xwinjax.data.templates import Renderer, get_template
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig
from xwinjax.sandbox.tokenizer import tiny_tokenizer


def tiny_config(**changes) -> LlamaConfig:
  """Two layers of width 16, grouped queries, float32; `changes` replace fields."""
  sizes = LlamaConfig(
    384,
    16,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    ffn_dim=32,
    max_length=128,
    tied=True,
  )
  return sizes.replace(**changes)


def tiny_params(config: LlamaConfig | None = None, seed: int = 0) -> Params:
  """Random parameters; the same for the same seed."""
  return llama.init(config or tiny_config(), jax.random.key(seed))


def tiny_model(folder: Path, *, template: str = "vicuna", **changes) -> Path:
  """A model folder as Hugging Face's: config, weights, tokenizer."""
  tokenizer = tiny_tokenizer(folder / "tokenizer")
  config = tiny_config(**({"vocab_size": tokenizer.vocab_size} | changes))
  renderer = Renderer(get_template(template), tokenizer)
  huggingface.save(
    folder,
    config,
    tiny_params(config),
    tokenizer_from=folder / "tokenizer",
    bos_id=tokenizer.bos_id,
    eos_ids=renderer.stop_ids(),
  )
  return folder
