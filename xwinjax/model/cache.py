"""Keys and values kept from one decoded token to the next.

P prompts are decoded side by side with S samples each. What a prompt's samples share is stored
once; what a sample wrote itself is stored in blocks of C tokens:

  prompt   k, v [P, K, T, N]                            the prompt without its last token
  own      k [P, S, K, N, W], v [P, S, K, W, N]         whole blocks of the sample's, oldest first
  recent   k [P, S, K, N, C], v [P, S, K, C, N]         the block being written

A sample's keys lie with their tokens last: XLA's CPU backend multiplies that form 2 to 4 times as
fast.

All samples advance together through a block and start at the beginning of one, so every sample's
tokens lie at the same places whatever runs beside it: its numbers do not depend on its
neighbours, and a step writes one slice for all.

On a mesh, the devices along data and fsdp each have some of the prompts (of the samples, where
prompts are too few), and those along tensor some of the heads. Parameters are shared along tensor
alone: gathered anew for every token, they would take longer than all else.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from xwinjax.core import placed
from xwinjax.core.types import Params
from xwinjax.model import attention, llama, parameters, rope
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

  K, N = config.num_kv_heads, config.head_dim

  def zeros(keys: tuple[int, ...], values: tuple[int, ...]) -> list[KV]:
    make = lambda shape: jnp.zeros(shape, config.dtype)
    return [(make(keys), make(values)) for _ in range(config.num_layers)]

  prompt = zeros((P, K, T, N), (P, K, T, N))
  return place(Cache(prompt, zeros((P, S, K, N, W), (P, S, K, W, N))))


def place(cache: Cache) -> Cache:
  """The cache as the devices of a mesh share it."""
  return Cache(
    jax.tree.map(lambda x: placed.place(x, placed.ROWS, placed.TENSOR, None, None), cache.prompt),
    [tuple(place_samples(x, heads=2) for x in kv) for kv in cache.own],
  )


def place_samples(x: jax.Array, *, heads: int = 0) -> jax.Array:
  """x [P, S, …] with its prompts, or else its samples, shared out, and the axis `heads`, if any."""
  by_prompt = x.shape[0] % placed.shards() == 0
  axes: list = [placed.ROWS, None] if by_prompt else [None, placed.ROWS]
  axes += [placed.TENSOR if i == heads and heads else None for i in range(2, x.ndim)]
  return placed.place(x, *axes)


def init_recent(cache: Cache, size: int) -> list[KV]:
  """Room for a block of `size` tokens."""
  P, S, K, _, N = cache.own[0][1].shape
  return [
    (jnp.zeros((P, S, K, N, size), v.dtype), jnp.zeros((P, S, K, size, N), v.dtype))
    for _, v in cache.own
  ]


def grow(cache: Cache, window: int) -> Cache:
  """Room for `window` own tokens a sample; what is there stays."""
  more = window - cache.own[0][1].shape[3]

  def pad(x, axis):
    return jnp.pad(x, [(0, more if i == axis else 0) for i in range(5)])

  return place(dataclasses.replace(cache, own=[(pad(k, 4), pad(v, 3)) for k, v in cache.own]))


def decode_params(config: LlamaConfig, params: Params) -> Params:
  """Parameters as decoding reads them: layers apart, the head [D, V], in the compute dtype."""

  def cast(path, x):
    # Norms' scales are vectors, and stay f32.
    row = parameters.BY_PATH[tuple(str(key.key) for key in path)]
    axes = (None if axis == parameters.FSDP else axis for axis in row.mesh_axes)
    return placed.place(x.astype(config.dtype) if len(row.dims) > 1 else x, *axes)

  params = jax.tree_util.tree_map_with_path(cast, params)
  return {
    "embed": params["embed"],
    "layers": llama.layer_params(config, params),
    "norm": params["norm"],
    "head": {"kernel": llama.unembedding(params)},
  }


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
    x = placed.rows(llama.run_block(config, layer, x, rotations, attend)[0])
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
  N, W, C = config.head_dim, cache.own[0][1].shape[3], recent[0][1].shape[3]
  T = cache.prompt[0][0].shape[2]
  groups = config.num_heads // config.num_kv_heads
  rotations = rope.rotations(config, positions_PS)
  see_prompt = jnp.arange(T) < shared_P[:, None]
  see_own = jnp.arange(W) < own_PS[..., None]
  see_recent = jnp.arange(C) <= place
  visible = jnp.concatenate(
    [
      jnp.broadcast_to(see_prompt[:, None], (P, S, T)),
      see_own,
      jnp.broadcast_to(see_recent, (P, S, C)),
    ],
    axis=-1,
  )[:, :, None, None]
  x = place_samples(llama.embed(config, params, tokens_PS))
  written: list[KV] = []

  for layer, (pk, pv), (ok, ov), (rk, rv) in zip(
    params["layers"], cache.prompt, cache.own, recent, strict=True
  ):

    def attend(q, k, v, pk=pk, pv=pv, ok=ok, ov=ov, rk=rk, rv=rv):
      rk = jax.lax.dynamic_update_slice_in_dim(rk, k[..., None], place, axis=4)
      rv = jax.lax.dynamic_update_slice_in_dim(rv, v[:, :, :, None], place, axis=3)
      written.append((rk, rv))
      q = (q * N**-0.5).reshape(P, S, config.num_kv_heads, groups, N)
      scores = jnp.concatenate(
        [
          _scores("pskgn,pktn->pskgt", q, pk),
          _scores("pskgn,psknw->pskgw", q, ok),
          _scores("pskgn,psknc->pskgc", q, rk),
        ],
        axis=-1,
      )
      scores = jnp.where(visible, scores, attention.MASKED)
      weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
      out = (
        jnp.einsum("pskgt,pktn->pskgn", weights[..., :T], pv)
        + jnp.einsum("pskgw,pskwn->pskgn", weights[..., T : T + W], ov)
        + jnp.einsum("pskgc,pskcn->pskgn", weights[..., T + W :], rv)
      )
      return out.reshape(P, S, config.num_heads, N), None

    x = place_samples(llama.run_block(config, layer, x, rotations, attend)[0])
  return llama.final_norm(config, params, x), written


def _scores(spec: str, q: jax.Array, k: jax.Array) -> jax.Array:
  return jnp.einsum(spec, q, k, preferred_element_type=jnp.float32)


def store_block(cache: Cache, recent: list[KV], own_PS: jax.Array, wrote_PS: jax.Array) -> Cache:
  """Moves the finished block of each sample that wrote it behind its earlier ones."""

  def put(axis, own, block, at, wrote):  # of one sample
    old = jax.lax.dynamic_slice_in_dim(own, at, block.shape[axis], axis)
    new = jnp.where(wrote, block, old)
    return jax.lax.dynamic_update_slice_in_dim(own, new, at, axis)

  def put_all(axis, own, block):
    each = functools.partial(put, axis)
    return jax.vmap(jax.vmap(each))(own, block, own_PS, wrote_PS)

  own = [
    (put_all(2, ok, rk), put_all(1, ov, rv))
    for (ok, ov), (rk, rv) in zip(cache.own, recent, strict=True)
  ]
  return dataclasses.replace(cache, own=own)
