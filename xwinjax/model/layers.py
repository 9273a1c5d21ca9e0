"""The pieces of a Llama layer, as Linen modules of one layer each."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xwinjax.core.matmul import matmul
from xwinjax.model import rope
from xwinjax.model.config import LlamaConfig

# (q_BTHN, k_BTKN, v_BTKN) -> (out_BTHN, anything the caller wants back, such as a cache)
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


def initializers(config: LlamaConfig):
  """Normals of sqrt(2 / 5D), and of that over sqrt(2L) for what is added to the residual stream.

  Source: "small init", Nguyen & Salazar 2019; the residual scaling of GPT-2.
  """
  std = (2 / (5 * config.dim)) ** 0.5
  return nn.initializers.normal(std), nn.initializers.normal(std / (2 * config.num_layers) ** 0.5)


def dense(x: jax.Array, kernel: jax.Array, axes: int = 1, *, operands: str = "") -> jax.Array:
  """Contracts the last `axes` axes of x with the first of the kernel, as one plain matmul.

  Kept two-dimensional on purpose: the gradient of a batched form contracts two axes at once,
  which XLA's CPU backend runs several times slower.
  """
  rows, out = x.shape[: x.ndim - axes], kernel.shape[axes:]
  flat = matmul(x.reshape(math.prod(rows), -1), kernel.reshape(-1, math.prod(out)), operands)
  return flat.reshape(*rows, *out)


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + eps) * scale, with the statistics in f32.

  Source: Zhang & Sennrich 2019, eq. 4.
  """

  eps: float

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.eps)
    return (x32 * inverse * scale).astype(x.dtype)


class Attention(nn.Module):
  """Projections around an attention that the caller supplies."""

  config: LlamaConfig

  @nn.compact
  def __call__(self, x_BTD, rotations, attend: Attend):
    c = self.config
    small, residual = initializers(c)
    q_DHN = self.param("q", small, (c.dim, c.num_heads, c.head_dim), jnp.float32)
    k_DKN = self.param("k", small, (c.dim, c.num_kv_heads, c.head_dim), jnp.float32)
    v_DKN = self.param("v", small, (c.dim, c.num_kv_heads, c.head_dim), jnp.float32)
    o_HND = self.param("o", residual, (c.num_heads, c.head_dim, c.dim), jnp.float32)

    project = functools.partial(dense, operands=c.operands)
    q, k, v = project(x_BTD, q_DHN), project(x_BTD, k_DKN), project(x_BTD, v_DKN)
    out, state = attend(rope.rotate(q, *rotations), rope.rotate(k, *rotations), v)
    return project(out, o_HND, axes=2), state


class MLP(nn.Module):
  """down(silu(gate x) * up x), the SwiGLU feed-forward (Shazeer 2020)."""

  config: LlamaConfig

  @nn.compact
  def __call__(self, x_BTD):
    c = self.config
    small, residual = initializers(c)
    gate_DF = self.param("gate", small, (c.dim, c.ffn_dim), jnp.float32)
    up_DF = self.param("up", small, (c.dim, c.ffn_dim), jnp.float32)
    down_FD = self.param("down", residual, (c.ffn_dim, c.dim), jnp.float32)
    project = functools.partial(dense, operands=c.operands)
    return project(nn.silu(project(x_BTD, gate_DF)) * project(x_BTD, up_DF), down_FD)


def residual_dropout(x, rate, key):
  """Drops entries of a residual branch with probability `rate` and rescales the rest."""
  keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
  return jnp.where(keep, x / (1.0 - rate).astype(x.dtype), 0).astype(x.dtype)


class Block(nn.Module):
  """One layer: x + attention(norm(x)), then x + mlp(norm(x))."""

  config: LlamaConfig

  @nn.compact
  def __call__(self, x_BTD, rotations, attend: Attend, dropout=None):
    """`dropout` is None or (rate, key). Returns the new x and what `attend` gave back."""
    c = self.config
    h, state = Attention(c, name="attention")(
      RMSNorm(c.norm_eps, name="attention_norm")(x_BTD), rotations, attend
    )
    if dropout is not None:
      rate, key = dropout
      h = residual_dropout(h, rate, jax.random.fold_in(key, 0))
    x_BTD = x_BTD + h
    h = MLP(c, name="mlp")(RMSNorm(c.norm_eps, name="mlp_norm")(x_BTD))
    if dropout is not None:
      rate, key = dropout
      h = residual_dropout(h, rate, jax.random.fold_in(key, 1))
    return x_BTD + h, state
