"""Functions of the package as the tests call them, compiled once for a whole session."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from xwinjax.losses import logprobs
from xwinjax.model import llama
from xwinjax.testing.tiny import tiny_config


def small_config(**changes):
  """The tiny model with a vocabulary of 64."""
  return tiny_config(**({"vocab_size": 64} | changes))


@functools.cache
def small_params(config, seed=0):
  """Random numpy parameters of every kind, norms' scales too, large enough to make attention sharp.

  Drawn by numpy: nothing compiles, and each test gets arrays it may not donate away.
  """
  shapes = jax.eval_shape(lambda: llama.init(config, jax.random.key(0)))
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    normal = rng.normal(size=leaf.shape).astype(np.float32)
    return 1 + 0.2 * normal if path[-1].key == "scale" else 0.4 * normal

  return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.partial(jax.jit, static_argnums=0)
def logits(config, params, tokens, positions=None, segments=None):
  return llama.unembed(params, llama.apply(config, params, tokens, positions, segments))


def summed_logps(config, params, tokens, mask, positions=None, segments=None):
  """Sum of supervised log-probs, and the log-probs [B, T]; not compiled."""
  hidden = llama.apply(config, params, tokens, positions, segments)
  logps, _, _ = logprobs.token_logps(hidden, llama.unembedding(params), tokens, mask, segments)
  return jnp.sum(logps), logps


@functools.partial(jax.jit, static_argnums=0)
def logps_and_gradient(config, params, tokens, mask, positions=None, segments=None):
  """(log-probs [B, T], gradient of their sum)."""
  one = jax.grad(lambda p: summed_logps(config, p, tokens, mask, positions, segments), has_aux=True)
  gradient, logps = one(params)
  return logps, gradient


def close(a, b, **tolerance) -> bool:
  """Whether two trees of arrays agree leaf by leaf."""
  tolerance = {"rtol": 1e-5, "atol": 1e-5} | tolerance
  leaves = jax.tree.map(lambda x, y: np.allclose(x, y, **tolerance), a, b)
  return all(jax.tree.leaves(leaves))


def equal(a, b) -> bool:
  """Whether two trees of arrays are the same bits (NaN equals itself)."""
  same = lambda x, y: np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True)
  return all(jax.tree.leaves(jax.tree.map(same, a, b)))
