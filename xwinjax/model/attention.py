"""Causal attention over rows of segments."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from xwinjax.core import segments as seg

MASKED = -1e30  # finite, so that a row of nothing but masked scores stays free of NaN


def causal_mask(length: int, segments_BT: jax.Array | None) -> jax.Array:
  """True where a query (second to last axis) may see a key (last axis).

  Returns [1, T, T] when `segments_BT` is None (each row is one example, padding at its end, which
  causality alone hides) and [B, T, T] otherwise.
  """
  causal = jnp.tril(jnp.ones((length, length), bool))[None]
  if segments_BT is None:
    return causal
  return causal & seg.visible(segments_BT[:, :, None], segments_BT[:, None, :])


def attend(
    q_BTHN: jax.Array, k_BTKN: jax.Array, v_BTKN: jax.Array, mask: jax.Array, implementation: str
) -> jax.Array:
  """softmax(q·k / sqrt(N)) v with H/K query heads to each key/value head; [B, T, H, N].

  The softmax runs in f32 whatever the dtype of the operands.
  """
  if implementation == "cudnn":
    return jax.nn.dot_product_attention(
        q_BTHN, k_BTKN, v_BTKN, mask=mask[:, None], implementation="cudnn"
    )
  B, T, H, N = q_BTHN.shape
  K = k_BTKN.shape[2]
  q = (q_BTHN * N**-0.5).reshape(B, T, K, H // K, N)
  scores = jnp.einsum("btkgn,bskn->bkgts", q, k_BTKN, preferred_element_type=jnp.float32)
  scores = jnp.where(mask[:, None, None], scores, MASKED)
  weights = jax.nn.softmax(scores, axis=-1).astype(v_BTKN.dtype)
  out = jnp.einsum("bkgts,bskn->btkgn", weights, v_BTKN)
  return out.reshape(B, T, H, N)
