"""Keys and values kept from one decoded token to the next.

P prompts are decoded side by side with S samples each. What a prompt's samples share is stored
once; what a sample wrote itself is stored in blocks of C tokens:

  prompt   k, v [P, K, T, N]        the prompt without its last token
  own      k, v [P, S, K, W, N]     whole blocks of the sample's tokens, oldest first
  recent   k, v [P, S, K, C, N]     the block being written

All samples advance together through a block and start at the beginning of one, so every sample's
tokens lie at the same places whatever runs beside it: its numbers do not depend on its
neighbours, and a step writes one slice for all.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from xwinjax.core.types import Params
from xwinjax.model import attention, llama, rope
from xwinjax.model.config import LlamaConfig

KV = tuple[jax.Array, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """One (keys, values) a layer."""

  prompt: list[KV]
  own: list[KV]


def init_cache(config: LlamaConfig, P: int, S: int, T: int, W: int) -> Cache:
  """An empty cache for P prompts of T tokens and S samples of W each."""

  def zeros(*lead: int, length: int) -> list[KV]:
    shape = (*lead, config.num_kv_heads, length, config.head_dim)
    make = lambda: jnp.zeros(shape, config.dtype)  # noqa: E731
    return [(make(), make()) for _ in range(config.num_layers)]

  return Cache(zeros(P, length=T), zeros(P, S, length=W))


def grow(cache: Cache, window: int) -> Cache:
  """Room for `window` own tokens a sample; what is there stays."""
  more = window - cache.own[0][0].shape[3]
  pad = [(0, 0)] * 3 + [(0, more), (0, 0)]
  return dataclasses.replace(cache, own=jax.tree.map(lambda x: jnp.pad(x, pad), cache.own))


def decode_params(config: LlamaConfig, params: Params) -> Params:
  """Parameters as decoding reads them: layers apart, in the compute dtype."""
  heads = {name: params[name] for name in ("head", "reward") if name in params}
  tree = {
      "embed": params["embed"], "layers": llama.layer_params(config, params),
      "norm": params["norm"], **heads,
  }  # fmt: skip
  # Norms' scales and the reward head are vectors, and stay f32.
  return jax.tree.map(lambda x: x.astype(config.dtype) if x.ndim > 1 else x, tree)


def prefill(config: LlamaConfig, params: Params, tokens_PT: jax.Array) -> list[KV]:
  """Keys and values of prompts, k and v [P, K, T, N] a layer; `params` by `decode_params`.

  Prompts are padded at their end; the padding is computed and never looked at.
  """
  P, T = tokens_PT.shape
  rotations = rope.rotations(config, jnp.broadcast_to(jnp.arange(T), (P, T)))
  x = llama.embed(config, params, tokens_PT)
  kept = []

  def attend(q, k, v):
    kept.append((k.swapaxes(1, 2), v.swapaxes(1, 2)))
    return attention.attend(q, k, v, None, config.attention), None

  for layer in params["layers"]:
    x, _ = llama.run_block(config, layer, x, rotations, attend)
  return kept


def decode_step(
    config: LlamaConfig,
    params: Params,
    cache: Cache,
    recent: list[KV],
    tokens_PS: jax.Array,
    positions_PS: jax.Array,
    shared_P: jax.Array,
    own_PS: jax.Array,
    place: jax.Array,
) -> tuple[jax.Array, list[KV]]:
  """Feeds one token of every sample. Returns its hidden state [P, S, D] and the new `recent`.

  Args:
    params: by `decode_params`.
    tokens_PS: the token each sample continues from.
    positions_PS: its rotary position.
    shared_P: tokens of each prompt in `cache.prompt`.
    own_PS: tokens of each sample in `cache.own`.
    place: where in the block this token is written.
  """
  P, S = tokens_PS.shape
  N, W, C = config.head_dim, cache.own[0][0].shape[3], recent[0][0].shape[3]
  T = cache.prompt[0][0].shape[2]
  groups = config.num_heads // config.num_kv_heads
  rotations = rope.rotations(config, positions_PS)
  see_prompt = jnp.arange(T) < shared_P[:, None]
  see_own = jnp.arange(W) < own_PS[..., None]
  see_recent = jnp.arange(C) <= place
  visible = jnp.concatenate(
      [jnp.broadcast_to(see_prompt[:, None], (P, S, T)), see_own,
       jnp.broadcast_to(see_recent, (P, S, C))], axis=-1,
  )[:, :, None, None]  # fmt: skip
  x = llama.embed(config, params, tokens_PS)
  written: list[KV] = []

  for layer, (pk, pv), (ok, ov), (rk, rv) in zip(
      params["layers"], cache.prompt, cache.own, recent, strict=True
  ):

    def attend(q, k, v, pk=pk, pv=pv, ok=ok, ov=ov, rk=rk, rv=rv):
      rk = jax.lax.dynamic_update_slice_in_dim(rk, k[:, :, :, None], place, axis=3)
      rv = jax.lax.dynamic_update_slice_in_dim(rv, v[:, :, :, None], place, axis=3)
      written.append((rk, rv))
      q = (q * N**-0.5).reshape(P, S, config.num_kv_heads, groups, N)
      scores = jnp.concatenate(
          [_scores("pskgn,pktn->pskgt", q, pk), _scores("pskgn,pskwn->pskgw", q, ok),
           _scores("pskgn,pskcn->pskgc", q, rk)], axis=-1,
      )  # fmt: skip
      scores = jnp.where(visible, scores, attention.MASKED)
      weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
      out = (
          jnp.einsum("pskgt,pktn->pskgn", weights[..., :T], pv)
          + jnp.einsum("pskgw,pskwn->pskgn", weights[..., T : T + W], ov)
          + jnp.einsum("pskgc,pskcn->pskgn", weights[..., T + W :], rv)
      )
      return out.reshape(P, S, config.num_heads, N), None

    x, _ = llama.run_block(config, layer, x, rotations, attend)
  return llama.final_norm(config, params, x), written


def _scores(spec: str, q: jax.Array, k: jax.Array) -> jax.Array:
  return jnp.einsum(spec, q, k, preferred_element_type=jnp.float32)


def store_block(cache: Cache, recent: list[KV], own_PS: jax.Array, wrote_PS: jax.Array) -> Cache:
  """Moves the finished block of each sample that wrote it behind its earlier ones."""
  C = recent[0][0].shape[3]

  def put(own, block):
    P, S, K, W, N = own.shape
    blocks = own.reshape(P, S, K, W // C, C, N)
    here = (jnp.arange(W // C) == own_PS[..., None] // C) & wrote_PS[..., None]
    put = jnp.where(here[:, :, None, :, None, None], block[:, :, :, None], blocks)
    return put.reshape(own.shape)

  own = [
      (put(ok, rk), put(ov, rv))
      for (ok, ov), (rk, rv) in zip(cache.own, recent, strict=True)
  ]
  return dataclasses.replace(cache, own=own)
