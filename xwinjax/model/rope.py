"""Rotary position embeddings.

Source: RoFormer (Su et al. 2021), section 3.4, in the half-split layout of the Llama checkpoints:
coordinate i of a head is rotated together with coordinate i + N/2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from xwinjax.model.config import LlamaConfig


def inverse_frequencies(config: LlamaConfig) -> np.ndarray:
  """Radians a position for each of the N/2 rotated planes: theta^(-2i/N), rescaled if asked.

  Llama 3's rule keeps wavelengths shorter than original/high_freq_factor, divides those longer
  than original/low_freq_factor by `factor`, and blends linearly (in 1/wavelength) between.
  """
  exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
  frequencies = (1.0 / np.float32(config.rope_theta) ** exponents).astype(np.float32)
  scaling = config.rope_scaling
  if scaling is None:
    return frequencies
  turns = scaling.original_max_length * frequencies / (2 * np.pi)  # over the original context
  blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
  blend = np.clip(blend, 0.0, 1.0)  # 0: long waves, slowed; 1: short waves, kept
  return (frequencies * (blend + (1 - blend) / scaling.factor)).astype(np.float32)


def rotations(config: LlamaConfig, positions_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
  """cos and sin [B, T, 1, N/2] in f32: angles of thousands of radians need it."""
  angles = positions_BT[..., None].astype(jnp.float32) * inverse_frequencies(config)
  cos, sin = jax.lax.platform_dependent(angles, cpu=_cos_sin_once, default=_cos_sin)
  return cos[..., None, :], sin[..., None, :]


def _cos_sin(angles: jax.Array) -> tuple[jax.Array, jax.Array]:
  return jnp.cos(angles), jnp.sin(angles)


def _cos_sin_once(angles: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The same out of a loop, since XLA's CPU backend otherwise makes them anew at every use."""
  first = jnp.array([True, False])
  both = jax.lax.map(lambda cos: jnp.where(cos, jnp.cos(angles), jnp.sin(angles)), first)
  return both[0], both[1]


def rotate(x_BTHN: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
  """Turns each plane (x_i, x_{i+N/2}) by its angle; computed in f32, returned in x's dtype."""
  first, second = jnp.split(x_BTHN.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.astype(x_BTHN.dtype)
