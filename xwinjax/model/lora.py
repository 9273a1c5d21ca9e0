"""Adapters beside a Llama's projections: low-rank factors that train while the model stays.

W x becomes W x + (alpha / rank) B A x, in our order x W + (alpha / rank) (x A) B: A [inputs, Z] is
drawn, B [Z, outputs] is zero, so that the model begins as it was. Their rows are
`parameters.ADAPTERS`; a layer uses those that its parameters hold.

Source: LoRA, Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.traverse_util as trees
import jax
import jax.numpy as jnp

from xwinjax.core import placed
from xwinjax.core.types import Params
from xwinjax.model import parameters
from xwinjax.model.config import LlamaConfig
from xwinjax.model.layers import initializer


@functools.partial(jax.jit, static_argnums=(0, 2))
def init(config: LlamaConfig, key: jax.Array, targets: tuple[str, ...]) -> Params:
  """Adapters of `config.lora_rank` for the projections named (`q_proj`, …), in f32.

  What a projection's are does not depend on which others have some.
  """
  made = {}
  for number, (name, rows) in enumerate(parameters.ADAPTERS.items()):
    for row in rows if name in targets else ():
      shape = (config.num_layers, *row.shape(config))
      start = initializer(config, row)
      made[row.path] = start(jax.random.fold_in(key, number), shape, jnp.float32)
  return trees.unflatten_dict(made)


def joined(base: Params, trained: Params) -> Params:
  """One tree of both."""
  return trees.unflatten_dict({**trees.flatten_dict(base), **trees.flatten_dict(trained)})


def is_adapter(path: Sequence[str]) -> bool:
  return any(tuple(path) == row.path for row in parameters.adapters())


def without(params: Params) -> Params:
  """The model that the adapters stand beside."""
  flat = trees.flatten_dict(params)
  return trees.unflatten_dict({path: p for path, p in flat.items() if not is_adapter(path)})


def merged(config: LlamaConfig, params: Params) -> Params:
  """The model that the adapters made: W + (alpha / rank) A B in f32 in place of W; no adapters."""
  flat = dict(trees.flatten_dict(params))
  for kernel, (row_a, row_b) in zip(
    parameters.PROJECTIONS.values(), parameters.ADAPTERS.values(), strict=True
  ):
    if row_a.path not in flat:
      continue
    a, b = flat.pop(row_a.path), flat.pop(row_b.path)
    flat[kernel.path] = _sum(config.lora_alpha, kernel.mesh_axes, flat[kernel.path], a, b)
  return trees.unflatten_dict(flat)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sum(alpha: float, mesh_axes: tuple, kernel: jax.Array, a: jax.Array, b: jax.Array):
  L, rank = kernel.shape[0], a.shape[-1]
  product = jnp.einsum(
    "liz,lzo->lio",
    a.reshape(L, -1, rank),
    b.reshape(L, rank, -1),
    precision=jax.lax.Precision.HIGHEST,
  )
  total = kernel.astype(jnp.float32) + alpha / rank * product.reshape(kernel.shape)
  return placed.place(total, *mesh_axes)
