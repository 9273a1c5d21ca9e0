"""A Llama as pure functions of a parameter tree.

Its parameters are those of `model.parameters`, every layer stacked on a leading axis, whatever way
they are run:

  embed/embedding [V, D]      layers/<name> [L, …]      norm/scale [D]
  head/kernel [D, V]          where the head is not tied to the embedding
  reward/kernel [D]           instead of a head, in a reward model
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from xwinjax.core import placed
from xwinjax.core.types import Params
from xwinjax.model import attention, parameters, rope
from xwinjax.model.config import LlamaConfig
from xwinjax.model.layers import Attend, Block, RMSNorm, initializer


@functools.partial(jax.jit, static_argnames=("config", "reward_head"))
def init(config: LlamaConfig, key: jax.Array, *, reward_head: bool = False) -> Params:
  """Random parameters in f32; see `layers.initializer` for their scales."""
  embed_key, layer_key, head_key = jax.random.split(key, 3)
  x = jnp.zeros((1, 1, config.dim))
  turn = rope.rotations(config, jnp.zeros((1, 1), jnp.int32))

  def one_layer(k):
    return Block(config).init(k, x, turn, lambda q, k, v: (q, None))["params"]

  params: Params = {"layers": jax.vmap(one_layer)(jax.random.split(layer_key, config.num_layers))}
  for row in parameters.rows(config, reward_head=reward_head):
    if not row.stacked:
      room, name = row.path
      start = initializer(config, row)
      row_key = embed_key if room == "embed" else head_key
      params.setdefault(room, {})[name] = start(row_key, row.shape(config), jnp.float32)
  return params


def with_reward_head(params: Params, *, keep: bool = False) -> Params:
  """A language model's trunk under a reward head of zeros: every score starts at 0.

  `keep` leaves an untied language model head in place, for objectives that need both.
  """
  trunk = {name: p for name, p in params.items() if keep or name != "head"}
  return {**trunk, "reward": {"kernel": jnp.zeros_like(params["norm"]["scale"])}}


def embed(config: LlamaConfig, params: Params, tokens: jax.Array) -> jax.Array:
  """Rows of the embedding. Devices that share its columns look up their own for each other's rows,
  and exchange them: the table is never whole anywhere, nor is its gradient."""
  over_all = placed.place(tokens, "data", *[None] * (tokens.ndim - 1))
  x = params["embed"]["embedding"][over_all].astype(config.dtype)
  return placed.rows(placed.place(x, "data", *[None] * (tokens.ndim - 1), "fsdp"))


def embedding_noise(config: LlamaConfig, x_BTD: jax.Array, key: jax.Array) -> jax.Array:
  """Uniform on ± neftune / sqrt(T D), T the length of the row with its padding.

  Source: NEFTune, Jain et al. 2023, algorithm 1, with T as transformers and TRL take it.
  """
  most = config.neftune / (x_BTD.shape[1] * x_BTD.shape[2]) ** 0.5
  return jax.random.uniform(key, x_BTD.shape, jnp.float32, -most, most).astype(x_BTD.dtype)


def layer_params(config: LlamaConfig, params: Params) -> list[Params]:
  """The stacked layers as a list of L trees."""
  return [jax.tree.map(lambda p, i=i: p[i], params["layers"]) for i in range(config.num_layers)]


def over_layers(
  config: LlamaConfig, body: Callable[[Any, Any], tuple[Any, Any]], x: Any, layers: Any
) -> tuple[Any, Any]:
  """body(x, what a layer has) -> (x, what it gives), from layer to layer; returns (x, all given).

  `layers` and what is given are lists of a tree a layer, or trees of arrays [L, …] where the
  config scans layers: compiled once, in a loop.
  """
  if config.scan_layers:
    return jax.lax.scan(body, x, layers)
  given = []
  for layer in layers:
    x, one = body(x, layer)
    given.append(one)
  return x, given


def run_block(
  config: LlamaConfig, layer: Params, x: jax.Array, rotations, attend: Attend, dropout=None
) -> tuple[jax.Array, Any]:
  return Block(config).apply({"params": layer}, x, rotations, attend, dropout)


def in_place(layer: Params) -> Params:
  """A layer's parameters as the table lays them out, and so their gradients.

  Said inside the loop over layers, since there each gradient is summed over devices: XLA then hands
  every device its own share of the sum, not the whole of it.
  """

  def place(path, p):
    row = parameters.BY_PATH["layers", *(key.key for key in path)]
    return placed.place(p, *row.axes)

  return jax.tree_util.tree_map_with_path(place, layer)


def final_norm(config: LlamaConfig, params: Params, x: jax.Array) -> jax.Array:
  normed: Any = RMSNorm(config, "norm").apply({"params": params["norm"]}, x)
  return normed


def apply(
  config: LlamaConfig,
  params: Params,
  tokens_BT: jax.Array,
  positions_BT: jax.Array | None = None,
  segments_BT: jax.Array | None = None,
  *,
  dropout_key: jax.Array | None = None,
) -> jax.Array:
  """The normed hidden states [B, T, D] from which a head predicts.

  Args:
    tokens_BT: ids.
    positions_BT: rotary position of each token; None counts 0, 1, … along each row.
    segments_BT: see `core.segments`; None means one example a row with padding at its end.
    dropout_key: draws residual dropout and NEFTune's noise as the config says; None: neither.
  """
  T = tokens_BT.shape[1]
  if positions_BT is None:
    positions_BT = jnp.broadcast_to(jnp.arange(T), tokens_BT.shape)
  rotations = rope.rotations(config, positions_BT)

  def attend(q, k, v):
    return attention.attend(q, k, v, segments_BT, config.attention), None

  drops = dropout_key is not None and any(config.dropout)

  def body(x, layer, rate, key):
    layer, dropout = in_place(layer), (rate, key) if drops else None
    return placed.rows(run_block(config, layer, x, rotations, attend, dropout)[0])

  if config.remat != "none":
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    body = jax.checkpoint(body, policy=policy if config.remat == "dots" else None)

  rates = jnp.asarray(config.dropout_rates(), jnp.float32)
  keys = rates if dropout_key is None else jax.random.split(dropout_key, config.num_layers)
  layers: Any = (params["layers"], rates, keys)
  if not config.scan_layers:
    layers = list(zip(layer_params(config, params), rates, keys, strict=True))
  x = embed(config, params, tokens_BT)
  if config.neftune and dropout_key is not None:
    x = x + embedding_noise(config, x, jax.random.fold_in(dropout_key, config.num_layers))
  x, _ = over_layers(config, lambda x, layer: (body(x, *layer), None), x, layers)
  return final_norm(config, params, x)


def unembedding(params: Params) -> jax.Array:
  """The head's kernel [D, V], or the transposed embedding where they are tied."""
  if "head" in params:
    return params["head"]["kernel"]
  return params["embed"]["embedding"].T


def unembed(params: Params, hidden: jax.Array) -> jax.Array:
  """Logits [..., V] in f32."""
  kernel = unembedding(params).astype(hidden.dtype)
  return jnp.einsum("...d,dv->...v", hidden, kernel, preferred_element_type=jnp.float32)


def reward(params: Params, hidden: jax.Array) -> jax.Array:
  """The scalar head's value at every position, [...] in f32."""
  return hidden.astype(jnp.float32) @ params["reward"]["kernel"]
