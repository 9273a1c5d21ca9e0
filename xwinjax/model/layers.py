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
from xwinjax.model import parameters, rope
from xwinjax.model.config import LlamaConfig

# (q_BTHN, k_BTKN, v_BTKN) -> (out_BTHN, anything the caller wants back, such as a cache)
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


def initializer(config: LlamaConfig, row: parameters.Row):
  """Normals of sqrt(2 / 5D), and of that over sqrt(2L) for what is added to the residual stream.

  An adapter's A has the variance 1 / 3n of its n inputs, as LoRA's own code and PEFT start it.

  Source: "small init", Nguyen & Salazar 2019; the residual scaling of GPT-2.
  """
  std = (2 / (5 * config.dim)) ** 0.5
  return {
    parameters.NORMAL: nn.initializers.normal(std),
    parameters.SCALED: nn.initializers.normal(std / (2 * config.num_layers) ** 0.5),
    parameters.ONES: nn.initializers.ones,
    parameters.ZEROS: nn.initializers.zeros,
    parameters.FACTOR: nn.initializers.normal((3 * math.prod(row.shape(config)[:-1])) ** -0.5),
  }[row.init]


def own(module: nn.Module, config: LlamaConfig, place: str) -> dict[str, jax.Array]:
  """The module's parameters by name: those of the table under `place`, in f32.

  With them the adapters that it was given; none is made here.
  """
  adapters = {
    row.path[-1]: module.get_variable("params", row.path[-1])
    for row in parameters.adapters(place)
    if module.has_variable("params", row.path[-1])
  }
  return adapters | {
    row.path[-1]: module.param(
      row.path[-1], initializer(config, row), row.shape(config), jnp.float32
    )
    for row in parameters.group(config, place)
  }


def dense(x: jax.Array, kernel: jax.Array, axes: int = 1, *, operands: str = "") -> jax.Array:
  """Contracts the last `axes` axes of x with the first of the kernel, as one plain matmul.

  Kept two-dimensional on purpose: the gradient of a batched form contracts two axes at once,
  which XLA's CPU backend runs several times slower.
  """
  rows, out = x.shape[: x.ndim - axes], kernel.shape[axes:]
  flat = matmul(x.reshape(math.prod(rows), -1), kernel.reshape(-1, math.prod(out)), operands)
  return flat.reshape(*rows, *out)


def project(
  config: LlamaConfig, p: dict[str, jax.Array], name: str, x: jax.Array, axes: int = 1
) -> jax.Array:
  """x W, and beside an adapter x W + (alpha / rank) (x A) B.

  Source: LoRA, Hu et al. 2021, section 4.1.
  """
  y = dense(x, p[name], axes, operands=config.operands)
  if f"{name}_lora_a" not in p:
    return y
  a, b = p[f"{name}_lora_a"], p[f"{name}_lora_b"]
  low = dense(x, a, axes, operands=config.operands)
  return y + config.lora_alpha / a.shape[-1] * dense(low, b, operands=config.operands)


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + eps) * scale, with the statistics in f32.

  Source: Zhang & Sennrich 2019, eq. 4.
  """

  config: LlamaConfig
  place: str  # of its scale in the table

  @nn.compact
  def __call__(self, x):
    scale = own(self, self.config, self.place)["scale"]
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.config.norm_eps)
    return (x32 * inverse * scale).astype(x.dtype)


class Attention(nn.Module):
  """Projections around an attention that the caller supplies."""

  config: LlamaConfig

  @nn.compact
  def __call__(self, x_BTD, rotations, attend: Attend):
    p = own(self, self.config, "layers/attention")
    q, k, v = (project(self.config, p, name, x_BTD) for name in "qkv")
    if "q_bias" in p:
      q, k, v = (
        x + p[f"{name}_bias"].astype(x.dtype) for name, x in zip("qkv", (q, k, v), strict=True)
      )
    out, state = attend(rope.rotate(q, *rotations), rope.rotate(k, *rotations), v)
    return project(self.config, p, "o", out, axes=2), state


class MLP(nn.Module):
  """down(silu(gate x) * up x), the SwiGLU feed-forward (Shazeer 2020)."""

  config: LlamaConfig

  @nn.compact
  def __call__(self, x_BTD):
    p = own(self, self.config, "layers/mlp")
    of = functools.partial(project, self.config, p)
    return of("down", nn.silu(of("gate", x_BTD)) * of("up", x_BTD))


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
      RMSNorm(c, "layers/attention_norm", name="attention_norm")(x_BTD), rotations, attend
    )
    if dropout is not None:
      rate, key = dropout
      h = residual_dropout(h, rate, jax.random.fold_in(key, 0))
    x_BTD = x_BTD + h
    h = MLP(c, name="mlp")(RMSNorm(c, "layers/mlp_norm", name="mlp_norm")(x_BTD))
    if dropout is not None:
      rate, key = dropout
      h = residual_dropout(h, rate, jax.random.fold_in(key, 1))
    return x_BTD + h, state
