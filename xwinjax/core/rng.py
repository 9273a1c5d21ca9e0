"""Random keys as pure functions of what they are for.

No key is ever carried from one step to the next: a run killed and continued draws the same
numbers because each key is made anew from the seed and the place it is used.
"""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from xwinjax.core import bounds


def base_key(seed: int) -> jax.Array:
  """The key of a seed. Raises ValueError beyond 32 bits, of which a key would drop the rest."""
  if wrong := bounds.problem(bounds.of(bounds.Seed), seed):
    raise ValueError(f"seed {wrong}")
  return jax.random.key(seed)


def step_key(seed: int, step: jax.Array | int) -> jax.Array:
  """The key of one training step."""
  return jax.random.fold_in(base_key(seed), step)


def prompt_number(prompt_id: str) -> int:
  """A 32-bit number for a prompt's id: the same in every process and every order of prompts."""
  return int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:4], "big")


def sample_keys(seed: int, prompt_numbers: np.ndarray, sample_indices: np.ndarray) -> jax.Array:
  """Keys [n] of candidates, each from (seed, prompt, index of the sample) and nothing else."""
  return _sample_keys(
    base_key(seed), jnp.asarray(prompt_numbers, jnp.uint32), jnp.asarray(sample_indices, jnp.uint32)
  )


@jax.jit
def _sample_keys(base, prompt_numbers, sample_indices):
  fold = jax.vmap(lambda p, s: jax.random.fold_in(jax.random.fold_in(base, p), s))
  return fold(prompt_numbers, sample_indices)
