"""Matrix products whose operands are rounded to bfloat16 while all else stays float32.

CPUs with AVX512-BF16 or AMX multiply bfloat16 about twice as fast as float32 (AMX: four times), but
XLA takes the fast kernel only for [M, K] × [K, N] or [M, K] × [N, K] with a float32 result. Plain
autodiff's gradient of the weights contracts the first axis of both and misses it.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

ROUNDED = "bfloat16"
_TILE, _LEAST = 64, 16  # rows that are turned together; XLA's CPU backend is slow to fill any up


def matmul(x_MK: jax.Array, w_KN: jax.Array, operands: str = "") -> jax.Array:
  """x w in x's dtype; with `operands` "bfloat16", of rounded x and w with a float32 sum."""
  if operands == ROUNDED and x_MK.dtype == jnp.float32:
    return _rounded(x_MK, w_KN)
  return jnp.dot(x_MK, w_KN.astype(x_MK.dtype))


_dot = functools.partial(jax.lax.dot_general, preferred_element_type=jnp.float32)
_ALONG_ROWS = (((1,), (0,)), ((), ()))
_ALONG_COLUMNS = (((1,), (1,)), ((), ()))


@jax.custom_vjp
def _rounded(x_MK, w_KN):
  return _forward(x_MK, w_KN)[0]


def _forward(x_MK, w_KN):
  x, w = x_MK.astype(jnp.bfloat16), w_KN.astype(jnp.bfloat16)
  return _dot(x, w, _ALONG_ROWS), (x, w)


def _backward(saved, d_out):
  x, w = saved
  d_out = d_out.astype(jnp.bfloat16)
  return _dot(d_out, w, _ALONG_COLUMNS), products_of_columns(x, d_out)


_rounded.defvjp(_forward, _backward)


def products_of_columns(x_MK: jax.Array, y_MN: jax.Array) -> jax.Array:
  """xᵀ y [K, N] in float32, of bfloat16 operands."""
  more = -x_MK.shape[0] % _LEAST
  return _dot(transposed(x_MK), jnp.pad(y_MN, ((0, more), (0, 0))), _ALONG_ROWS)


def transposed(x_MK: jax.Array) -> jax.Array:
  """xᵀ, its rows filled with zeros up to a multiple of 16, laid out anew.

  XLA would fold a plain transpose into the product before or after it, hence the barrier between
  two halves of it.
  """
  M, K = x_MK.shape
  x_MK = jnp.pad(x_MK, ((0, -M % _LEAST), (0, 0)))
  tiles = x_MK.reshape(-1, math.gcd(x_MK.shape[0], _TILE), K).transpose(2, 0, 1)
  return jax.lax.optimization_barrier(tiles).reshape(K, -1)
