"""A small tokenizer of the world's words, for tests and for a look without a model."""

from __future__ import annotations

import random
from pathlib import Path

from xwinjax.data import token_export
from xwinjax.data.tokenizer import Tokenizer, train_tokenizer
from xwinjax.sandbox.world import World


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
  token_export.save(tokenizer, folder)
  return tokenizer
