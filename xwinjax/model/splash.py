"""Attention on TPUs by JAX's splash kernel (Pallas): scores never leave the chip's vector memory.

The kernel knows causality and equal segment ids. That a branch sees the prompt it shares is a
second call, of branches' queries against shared prompts' keys. The keys of the two calls are
disjoint, so their softmaxes are joined by their log-sum-exps, and the backward pass of each call is
that of the kernel with the joined log-sum-exp and output. Source: FlashAttention (Dao et al. 2022),
section 3.1, for joining; algorithm 4 for the backward pass.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import PartitionSpec as P

from xwinjax.core import placed
from xwinjax.core.segments import BRANCHES

LANES, BLOCK = 128, 512  # rows are filled to a multiple of the one; tiles of at most the other
NO_QUERY, NO_KEY = -1, -2  # ids that no token has


def attend(
  q_BTHN: jax.Array,
  k_BTKN: jax.Array,
  v_BTKN: jax.Array,
  segments_BT: jax.Array | None,
  *,
  interpret: bool = False,
) -> jax.Array:
  """softmax(q·k / sqrt(N)) v as `model.attention.attend` has it, [B, T, H, N].

  On a mesh each device attends for its own rows and heads. `interpret` runs the kernel on any
  device, slowly.
  """
  T, N = q_BTHN.shape[1], q_BTHN.shape[3]
  fill = -T % LANES

  def heads_first(x):
    return jnp.pad(x, ((0, 0), (0, fill), (0, 0), (0, 0))).swapaxes(1, 2)

  q, k, v = (heads_first(x) for x in (q_BTHN * N**-0.5, k_BTKN, v_BTKN))
  segments = None if segments_BT is None else jnp.pad(segments_BT, ((0, 0), (0, fill)))
  local = functools.partial(_attend, interpret)
  if placed.mesh() is not None:
    heads, ids = P(placed.ROWS, placed.TENSOR), P(placed.ROWS)
    local = jax.shard_map(
      local,
      in_specs=(heads, heads, heads, None if segments is None else ids),
      out_specs=heads,
      check_vma=False,
    )
  return local(q, k, v, segments)[:, :, :T].swapaxes(1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(interpret, q, k, v, segments_BT):
  """Attention of q [B, H, T, N], already scaled, to k and v [B, K, T, N]."""
  return _forward(interpret, q, k, v, segments_BT)[0]


def _kernel(q: jax.Array, interpret: bool) -> Any:
  """The causal kernel for one row of these heads and this length."""
  H, T = q.shape[1:3]
  block = next(b for b in range(min(BLOCK, T), 0, -LANES) if T % b == 0)
  names = ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
  return kernels.make_splash_mha(
    masks.MultiHeadMask([masks.CausalMask((T, T))] * H),
    head_shards=1,
    q_seq_shards=1,
    block_sizes=kernels.BlockSizes(**dict.fromkeys(names, block)),
    save_residuals=True,
    interpret=interpret,
  )


def _calls(segments_BT: jax.Array | None, one_call, two_calls):
  """`one_call(own)` where no row has branches, `two_calls(own, shared)` where one has.

  Which it is shows when the arrays are there: both are compiled, one is run.
  """
  if segments_BT is None:
    return one_call(None)
  own = kernels.SegmentIds(segments_BT, segments_BT)
  example, branch = segments_BT // BRANCHES, segments_BT % BRANCHES
  shared = kernels.SegmentIds(
    jnp.where(branch > 0, example, NO_QUERY), jnp.where(branch == 0, example, NO_KEY)
  )
  return jax.lax.cond(jnp.any(branch > 0), two_calls, lambda own, _: one_call(own), own, shared)


def _forward(interpret, q, k, v, segments_BT):
  kernel = _kernel(q, interpret)

  def call(ids):
    out, (lse,) = jax.vmap(kernel)(q, k, v, ids)
    return out, lse

  def two_calls(own, shared):
    (out, lse), (out_2, lse_2) = call(own), call(shared)
    joined = jnp.logaddexp(lse, lse_2)
    part, part_2 = (jnp.exp(x - joined)[..., None] for x in (lse, lse_2))
    out = part * out.astype(jnp.float32) + part_2 * out_2.astype(jnp.float32)
    return out.astype(q.dtype), joined

  out, lse = _calls(segments_BT, call, two_calls)
  return out, (q, k, v, segments_BT, out, lse)


def _backward(interpret, saved, d_out):
  q, k, v, segments_BT, out, lse = saved
  kernel = _kernel(q, interpret)
  settings = kernel.kwargs

  def row(q, k, v, ids, out, lse, d_out):
    residuals = (q, k, v, ids, None, out, lse, kernel.dq_mask_info, kernel.dkv_mask_info)
    return kernels._splash_attention_bwd(
      False,
      settings["mask_value"],
      settings["is_mqa"],
      settings["block_sizes"],
      None,
      settings["mask_function"],
      None,
      interpret,
      residuals,
      d_out,
    )[3:6]

  def call(ids):
    return jax.vmap(row)(q, k, v, ids, out, lse, d_out)

  def two_calls(own, shared):
    return jax.tree.map(jnp.add, call(own), call(shared))

  return *_calls(segments_BT, call, two_calls), None


_attend.defvjp(_forward, _backward)
