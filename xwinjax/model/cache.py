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
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xwinjax.core import placed
from xwinjax.core.types import Params
from xwinjax.model import attention, llama, parameters, rope
from xwinjax.model.config import LlamaConfig

KV = tuple[jax.Array, jax.Array]


Layers = list[KV] | KV  # a pair a layer, or arrays [L, …] where the config scans layers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of every layer."""

  prompt: Layers
  own: Layers


def _each(keys: Callable, values: Callable, *layers: Layers) -> Layers:
  """(keys(k, …), values(v, …)) of every layer."""

  def one(*pairs: KV) -> KV:
    return keys(*[k for k, _ in pairs]), values(*[v for _, v in pairs])

  if isinstance(layers[0], list):
    return [one(*pairs) for pairs in zip(*layers, strict=True)]
  return one(*layers)  # pyright: ignore[reportArgumentType]


def _first(layers: Layers) -> KV:
  """The pair of one layer, or the stacked pair: their last axes are the same."""
  return layers[0] if isinstance(layers, list) else layers


def init_cache(config: LlamaConfig, P: int, S: int, T: int, W: int) -> Cache:
  """An empty cache for P prompts of T tokens and S samples of W each."""

  K, N, L = config.num_kv_heads, config.head_dim, config.num_layers

  def zeros(keys: tuple[int, ...], values: tuple[int, ...]) -> Layers:
    stacked = (L,) if config.scan_layers else ()

    def make() -> KV:
      return jnp.zeros(stacked + keys, config.dtype), jnp.zeros(stacked + values, config.dtype)

    return make() if config.scan_layers else [make() for _ in range(L)]

  prompt = zeros((P, K, T, N), (P, K, T, N))
  return place(Cache(prompt, zeros((P, S, K, N, W), (P, S, K, W, N))))


def axes(cache: Cache) -> Cache:
  """Which axes of the mesh share which axes of the cache's arrays."""

  def prompt(x):
    return (*[None] * (x.ndim - 4), placed.ROWS, placed.TENSOR, None, None)

  def own(x):
    return (*[None] * (x.ndim - 5), *sample_axes(x.shape[-5:], 2))

  return Cache(_each(prompt, prompt, cache.prompt), _each(own, own, cache.own))


def place(cache: Cache) -> Cache:
  """The cache as the devices of a mesh share it."""
  return jax.tree.map(lambda x, along: placed.place(x, *along), cache, axes(cache))


def sample_axes(shape: tuple[int, ...], heads: int = 0) -> tuple:
  """Of an array [P, S, …]: its prompts, or else its samples, shared out, and the axis `heads`."""
  by_prompt = shape[0] % placed.shards() == 0
  rows = (placed.ROWS, None) if by_prompt else (None, placed.ROWS)
  return *rows, *(placed.TENSOR if i == heads else None for i in range(2, len(shape)))


def place_samples(x: jax.Array) -> jax.Array:
  return placed.place(x, *sample_axes(x.shape))


def init_recent(cache: Cache, size: int) -> Layers:
  """Room for a block of `size` tokens."""
  return _each(
    lambda k: jnp.zeros((*k.shape[:-1], size), k.dtype),
    lambda v: jnp.zeros((*v.shape[:-2], size, v.shape[-1]), v.dtype),
    cache.own,
  )


def grow(cache: Cache, window: int) -> Cache:
  """Room for `window` own tokens a sample; what is there stays."""
  own = _each(lambda k: _pad(k, -1, window), lambda v: _pad(v, -2, window), cache.own)
  return place(dataclasses.replace(cache, own=own))


def grow_prompts(cache: Cache, length: int) -> Cache:
  """Room for prompts of `length` tokens; what is there stays."""
  longer = lambda x: _pad(x, -2, length)
  prompt = _each(longer, longer, cache.prompt)
  return place(dataclasses.replace(cache, prompt=prompt))


def _pad(x: jax.Array, axis: int, length: int) -> jax.Array:
  more = length - x.shape[axis]
  return jnp.pad(x, [(0, more if i == x.ndim + axis else 0) for i in range(x.ndim)])


def put_prompts(cache: Cache, slots_Q: jax.Array, fresh: Layers) -> Cache:
  """Q prompts' keys and values in the prompt slots `slots_Q`; they may be shorter than its room."""
  put = lambda old, new: old.at[..., slots_Q, :, : new.shape[-2], :].set(new, mode="drop")
  return place(dataclasses.replace(cache, prompt=_each(put, put, cache.prompt, fresh)))


def decode_params(config: LlamaConfig, params: Params) -> Params:
  """Parameters as decoding reads them: the head [D, V], all in the compute dtype, layers apart
  unless they are scanned."""

  def cast(path, x):
    # Norms' scales are vectors, and stay f32.
    row = parameters.BY_PATH[tuple(str(key.key) for key in path)]
    x = x.astype(config.dtype) if len(row.dims) > 1 else x
    return placed.place(x, *along_tensor(row.mesh_axes))

  params = jax.tree_util.tree_map_with_path(cast, params)
  return {
    "embed": params["embed"],
    "layers": params["layers"] if config.scan_layers else llama.layer_params(config, params),
    "norm": params["norm"],
    "head": {"kernel": llama.unembedding(params)},
  }


def along_tensor(mesh_axes: tuple[str | None, ...]) -> tuple[str | None, ...]:
  """A parameter's axes of the mesh when it decodes: it is not shared along fsdp."""
  return tuple(None if axis == parameters.FSDP else axis for axis in mesh_axes)


def prefill(config: LlamaConfig, params: Params, tokens_PT: jax.Array) -> Layers:
  """Keys and values of prompts, k and v [P, K, T, N] a layer; `params` by `decode_params`.

  Prompts are padded at their end; the padding is computed and never looked at.
  """
  P, T = tokens_PT.shape
  rotations = rope.rotations(config, jnp.broadcast_to(jnp.arange(T), (P, T)))

  def attend(q, k, v):
    out = attention.attend(q, k, v, None, config.attention)
    return out, (k.swapaxes(1, 2), v.swapaxes(1, 2))

  def body(x, layer):
    x, kept = llama.run_block(config, layer, x, rotations, attend)
    return placed.rows(x), kept

  return llama.over_layers(config, body, llama.embed(config, params, tokens_PT), params["layers"])[
    1
  ]


def decode_step(
  config: LlamaConfig,
  params: Params,
  cache: Cache,
  recent: Layers,
  tokens_PS: jax.Array,
  positions_PS: jax.Array,
  shared_P: jax.Array,
  own_PS: jax.Array,
  place: jax.Array,
) -> tuple[jax.Array, Layers]:
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
  N, W, C = config.head_dim, _first(cache.own)[1].shape[-2], _first(recent)[1].shape[-2]
  T = _first(cache.prompt)[0].shape[-2]
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

  def body(x, layer):
    params, (pk, pv), (ok, ov), (rk, rv) = layer

    def attend(q, k, v):
      k_now = jax.lax.dynamic_update_slice_in_dim(rk, k[..., None], place, axis=4)
      v_now = jax.lax.dynamic_update_slice_in_dim(rv, v[:, :, :, None], place, axis=3)
      q = (q * N**-0.5).reshape(P, S, config.num_kv_heads, groups, N)
      scores = jnp.concatenate(
        [
          _scores("pskgn,pktn->pskgt", q, pk),
          _scores("pskgn,psknw->pskgw", q, ok),
          _scores("pskgn,psknc->pskgc", q, k_now),
        ],
        axis=-1,
      )
      scores = jnp.where(visible, scores, attention.MASKED)
      weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
      out = (
        jnp.einsum("pskgt,pktn->pskgn", weights[..., :T], pv)
        + jnp.einsum("pskgw,pskwn->pskgn", weights[..., T : T + W], ov)
        + jnp.einsum("pskgc,pskcn->pskgn", weights[..., T + W :], v_now)
      )
      return out.reshape(P, S, config.num_heads, N), (k_now, v_now)

    x, written = llama.run_block(config, params, x, rotations, attend)
    return place_samples(x), written

  layers = (params["layers"], cache.prompt, cache.own, recent)
  if not config.scan_layers:
    layers = list(zip(*layers, strict=True))
  x = place_samples(llama.embed(config, params, tokens_PS))
  x, written = llama.over_layers(config, body, x, layers)
  return llama.final_norm(config, params, x), written


def _scores(spec: str, q: jax.Array, k: jax.Array) -> jax.Array:
  return jnp.einsum(spec, q, k, preferred_element_type=jnp.float32)


def store_block(cache: Cache, recent: Layers, own_PS: jax.Array, wrote_PS: jax.Array) -> Cache:
  """Moves the finished block of each sample that wrote it behind its earlier ones."""

  def put(axis, own, block, at, wrote):  # of one sample
    old = jax.lax.dynamic_slice_in_dim(own, at, block.shape[axis], axis)
    new = jnp.where(wrote, block, old)
    return jax.lax.dynamic_update_slice_in_dim(own, new, at, axis)

  def put_all(axis, own, block):
    each = jax.vmap(jax.vmap(functools.partial(put, axis)))
    if own.ndim == 6:  # all layers
      each = jax.vmap(each, (0, 0, None, None))
    return each(own, block, own_PS, wrote_PS)

  keys, values = functools.partial(put_all, 2), functools.partial(put_all, 1)
  return place(dataclasses.replace(cache, own=_each(keys, values, cache.own, recent)))
