"""Log-probs of every token of rows of ids, one row an example and nothing packed."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from xwinjax.core.types import Params
from xwinjax.losses.logprobs import token_logps
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig

LOGITS = 2**26  # of a batch: what bounds its memory


def logprobs(
  config: LlamaConfig, params: Params, rows: Sequence[Sequence[int]]
) -> list[np.ndarray]:
  """Log-probs in nats of each row's tokens after the first, in order: float32 arrays.

  Rows run in batches of few shapes: lengths as `grid` has them, and powers of two of rows.
  """
  order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
  found: dict[int, np.ndarray] = {}
  while order:
    length = grid(len(rows[order[0]]))
    most = max(LOGITS // config.vocab_size // length, 1)
    height = 1 << min(len(order) - 1, most - 1).bit_length()
    height = height if height <= most else height // 2
    batch, order = order[:height], order[height:]
    tokens = np.zeros((height, length), np.int32)
    for b, i in enumerate(batch):
      tokens[b, : len(rows[i])] = rows[i]
    with jax.default_matmul_precision("highest"):
      values = np.asarray(_forward(config, params, jnp.asarray(tokens)))
    for b, i in enumerate(batch):
      found[i] = values[b, : len(rows[i]) - 1]
  return [found[i] for i in range(len(rows))]


def grid(n: int) -> int:
  """The least of 16, 24, 32, 48, 64, 96, … that is at least n."""
  size = 16
  while size < n:
    size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
  return size


@functools.partial(jax.jit, static_argnums=0)
def _forward(config: LlamaConfig, params: Params, tokens_BT: jax.Array) -> jax.Array:
  """log p(token t+1 | tokens up to t): [B, T - 1]."""
  hidden_BTD = llama.apply(config, params, tokens_BT)
  everything = jnp.ones(tokens_BT.shape, jnp.uint8)
  return token_logps(hidden_BTD, llama.unembedding(params), tokens_BT, everything)[0][:, :-1]
