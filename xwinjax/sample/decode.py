"""The jitted part of sampling: a block of tokens for every slot, without a trip to the host."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from xwinjax.core import placed
from xwinjax.core.types import Params
from xwinjax.model import cache as kv
from xwinjax.model.config import LlamaConfig
from xwinjax.sample import logits as L

Array = Any  # numpy on the host, jax inside the loop


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Slots:
  """What each of P × S slots is doing; small arrays that the host sends with every block."""

  token: Array  # [P, S] the token to continue from
  own: Array  # [P, S] tokens already in the cache's own blocks
  limit: Array  # [P, S] tokens the answer may have
  active: Array  # [P, S] whether the slot has an answer to write
  key: jax.Array  # [P, S] the candidate's random key
  shared: Array  # [P] prompt tokens in the cache
  fresh: Array  # [P, S] whether an answer begins in this block
  each: L.EachSlot | None = None  # how each slot's tokens are drawn, where they differ


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Block:
  """C tokens of every slot; `count` of them were written before the answer ended."""

  tokens: jax.Array  # [C, P, S]
  logps: jax.Array  # [C, P, S] nats, at temperature 1 and without filters
  count: jax.Array  # [P, S]
  bad: jax.Array  # [] whether some active slot's logits were not finite


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def start_prompts(config: LlamaConfig, params: Params, cache: kv.Cache, tokens_QT, slots_Q):
  """Computes Q prompts' keys and values and puts them into the prompt slots `slots_Q`."""
  return kv.put_prompts(cache, slots_Q, kv.prefill(config, params, tokens_QT))


start_cache = jax.jit(kv.init_cache, static_argnums=range(5))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=(5,))
def decode_block(
  config: LlamaConfig,
  sampling: L.SamplingParams,
  stop_ids: tuple[int, ...],
  size: int,
  params: Params,
  cache: kv.Cache,
  slots: Slots,
  seen: tuple[jax.Array, jax.Array] | None,
) -> tuple[kv.Cache, Block, jax.Array | None]:
  """Decodes up to `size` tokens of every active slot; stops early when all have ended.

  `seen` is (tokens of each prompt [P, V], tokens of each slot so far [P, S, V]) for the repetition
  penalty, None without one. With `slots.each`, `sampling` is to leave logits as they are. Token
  number n of a candidate is drawn with fold_in(its key, n).
  """
  P, S = slots.token.shape
  kernel = params["head"]["kernel"]
  recent = kv.init_recent(cache, size)
  history = None
  if seen is not None:
    prompt_seen, history = seen
    history = jnp.where(slots.fresh[..., None], prompt_seen[:, None], history)

  def step(carry):
    i, token, active, recent, history, block = carry
    own = slots.own + i
    positions = slots.shared[:, None] + own
    hidden, recent = kv.decode_step(
      config, params, cache, recent, token, positions, slots.shared, slots.own, i
    )
    scores = jnp.einsum("psd,dv->psv", hidden, kernel, preferred_element_type=jnp.float32)
    scores = kv.place_samples(scores)  # a row whole: filters look at all of it again and again
    filtered = sampling.filter(scores, history)
    if slots.each is not None:
      token = slots.each.draw(filtered, _uniforms(slots.key, own))
    elif sampling.greedy:
      token = jnp.argmax(filtered, -1)
    else:
      token = L.draw(filtered, _uniforms(slots.key, own))
    # One NaN or +inf among the logits shows here, whatever the filters made of it.
    log_z = jax.nn.logsumexp(scores, axis=-1)
    token = jnp.where(jnp.isfinite(log_z), token, -1)
    logp = jnp.take_along_axis(scores, jnp.maximum(token, 0)[..., None], -1)[..., 0] - log_z
    block = Block(
      block.tokens.at[i].set(token),
      block.logps.at[i].set(logp),
      block.count + active,
      block.bad | jnp.any(active & (token < 0)),
    )
    if history is not None:
      history = history | (jnp.arange(history.shape[-1]) == token[..., None])
    ended = functools.reduce(jnp.logical_or, [token == s for s in stop_ids], token < 0)
    active = active & ~ended & (own + 1 < slots.limit)
    return i + 1, jnp.maximum(token, 0), active, recent, history, block

  empty = Block(
    jnp.zeros((size, P, S), jnp.int32),
    jnp.zeros((size, P, S), jnp.float32),
    jnp.zeros((P, S), jnp.int32),
    jnp.zeros((), bool),
  )
  first = (jnp.zeros((), jnp.int32), slots.token, slots.active, recent, history, empty)
  *_, recent, history, block = jax.lax.while_loop(
    lambda carry: (carry[0] < size) & jnp.any(carry[2]), step, first
  )
  cache = kv.store_block(cache, recent, slots.own, slots.active)
  # Whole on every device: each process's host reads all of it.
  return cache, jax.tree.map(lambda x: placed.place(x, *[None] * x.ndim), block), history


def _uniforms(key_PS: jax.Array, number_PS: jax.Array) -> jax.Array:
  one = lambda key, n: jax.random.uniform(jax.random.fold_in(key, n))
  return jax.vmap(jax.vmap(one))(key_PS, number_PS)
