"""A tiny model and tokenizer made by code, so that tests and users can run offline."""

from __future__ import annotations

import random
from pathlib import Path

import jax

from xwinjax.checkpoint import huggingface
from xwinjax.core.types import Params
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer, train_tokenizer
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig
from xwinjax.sandbox.world import World


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


def tiny_tokenizer(folder: Path, vocab_size: int = 384) -> Tokenizer:
  """A SentencePiece model trained on the sandbox world's documents, saved in `folder`."""
  world = World(0, 16)
  rng = random.Random(0)
  chats = [
    " ".join(m.content for m in world.task(rng).prompt) + " USER: ASSISTANT:" for _ in range(200)
  ]
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "tokenizer.model"
  tokenizer = train_tokenizer([*world.documents(300), *chats], path, vocab_size)
  tokenizer.save(folder)
  return tokenizer


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
