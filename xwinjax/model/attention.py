"""Causal attention over rows of segments, a block of queries at a time.

A block of queries meets only the keys up to its end, so nearly half of the scores are never made,
and only one block's scores are in memory. The backward pass makes them again from the saved
log-sum-exp. Source: FlashAttention (Dao et al. 2022), Algorithms 1 and 4, without their tiling of
keys.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from xwinjax.core import segments as seg

MASKED = -1e30  # finite, so that a row of nothing but masked scores stays free of NaN
BLOCK, BLOCKS = 64, 8  # queries a block at least, blocks a row at most (each is compiled)


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
  q_BTHN: jax.Array,
  k_BTKN: jax.Array,
  v_BTKN: jax.Array,
  segments_BT: jax.Array | None,
  implementation: str,
) -> jax.Array:
  """softmax(q·k / sqrt(N)) v with H/K query heads to each key/value head; [B, T, H, N].

  The softmax runs in f32 whatever the dtype of the operands.
  """
  B, T, H, N = q_BTHN.shape
  K = k_BTKN.shape[2]
  if implementation == "splash":
    from xwinjax.model import splash  # a third of a second of imports that only TPUs need

    return splash.attend(q_BTHN, k_BTKN, v_BTKN, segments_BT)
  if implementation == "cudnn":
    # A mask is an array [B, 1, T, T] in memory; causality alone the kernel knows by itself.
    mask = None if segments_BT is None else causal_mask(T, segments_BT)[:, None]
    return jax.nn.dot_product_attention(
      q_BTHN, k_BTKN, v_BTKN, mask=mask, is_causal=mask is None, implementation="cudnn"
    )
  # The queries of a key head beside each other, as rows R = T H/K of one matmul.
  q = (q_BTHN * N**-0.5).reshape(B, T, K, H // K, N).swapaxes(1, 2).reshape(B, K, -1, N)
  out = _attend(q, k_BTKN.swapaxes(1, 2), v_BTKN.swapaxes(1, 2), segments_BT)
  return out.reshape(B, K, T, H // K, N).swapaxes(1, 2).reshape(B, T, H, N)


def _spans(length: int) -> list[tuple[int, int]]:
  size = max(BLOCK, -(-length // BLOCKS))
  return [(start, min(start + size, length)) for start in range(0, length, size)]


def _scores(q, k, segments_BT, start: int, end: int) -> jax.Array:
  """Scores [B, K, rows, end] of the queries from start to end with all keys up to end."""
  group = q.shape[2] // k.shape[2]
  scores = _dot("bkrn,bksn->bkrs", q[:, :, start * group : end * group], k[:, :, :end])
  rows = functools.partial(jnp.repeat, repeats=group, axis=-1)
  visible = (rows(jnp.arange(start, end))[:, None] >= jnp.arange(end))[None]
  if segments_BT is not None:
    queries, keys = rows(segments_BT[:, start:end]), segments_BT[:, None, :end]
    visible = visible & seg.visible(queries[..., None], keys)
  return jnp.where(visible[:, None], scores, MASKED)


def _dot(spec: str, a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _attend(q, k, v, segments_BT):
  """Attention of q [B, K, R, N], already scaled, to k and v [B, K, T, N]."""
  return _forward(q, k, v, segments_BT)[0]


def _forward(q, k, v, segments_BT):
  outs, lses = [], []
  for start, end in _spans(k.shape[2]):
    scores = _scores(q, k, segments_BT, start, end)
    most = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - most)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    out = _dot("bkrs,bksn->bkrn", weights.astype(v.dtype), v[:, :, :end]) / total
    outs.append(out.astype(v.dtype))
    lses.append(most + jnp.log(total))
  out, lse = jnp.concatenate(outs, axis=2), jnp.concatenate(lses, axis=2)
  return out, (q, k, v, segments_BT, out, lse)


def _backward(saved, d_out):
  """With P = softmax(S): dV = Pᵀ dO, dS = P ∘ (dO Vᵀ - rowsum(dO ∘ O)), dQ = dS K, dK = dSᵀ Q."""
  q, k, v, segments_BT, out, lse = saved
  delta = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1, keepdims=True)
  # Keys' and values' gradients are summed with their tokens last: the other way round, XLA's CPU
  # backend turns every block of scores before it multiplies.
  B, K, T, N = k.shape
  d_q, d_k, d_v = [], jnp.zeros((B, K, N, T), jnp.float32), jnp.zeros((B, K, N, T), jnp.float32)
  group = q.shape[2] // T
  for start, end in _spans(T):
    here = slice(start * group, end * group)
    weights = jnp.exp(_scores(q, k, segments_BT, start, end) - lse[:, :, here])
    d_weights = _dot("bkrn,bksn->bkrs", d_out[:, :, here], v[:, :, :end])
    d_scores = (weights * (d_weights - delta[:, :, here])).astype(q.dtype)
    d_q.append(_dot("bkrs,bksn->bkrn", d_scores, k[:, :, :end]).astype(q.dtype))
    d_k = d_k.at[..., :end].add(_dot("bkrn,bkrs->bkns", q[:, :, here], d_scores))
    weights = weights.astype(q.dtype)
    d_v = d_v.at[..., :end].add(_dot("bkrn,bkrs->bkns", d_out[:, :, here], weights))
  d_k, d_v = d_k.swapaxes(2, 3).astype(k.dtype), d_v.swapaxes(2, 3).astype(v.dtype)
  return jnp.concatenate(d_q, axis=2), d_k, d_v, None


_attend.defvjp(_forward, _backward)
