"""Products of rounded operands: equal to float64 products of the same rounded numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import small_config, small_params

from xwinjax.core import matmul
from xwinjax.train import objectives

RNG = np.random.default_rng(0)


def rounded(x):
  return np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)


def product_and_gradients(x, w, d):
  both = jax.jit(
    jax.value_and_grad(lambda x, w: jnp.vdot(matmul.matmul(x, w, "bfloat16"), d), argnums=(0, 1))
  )
  _, gradients = both(x, w)
  return jax.jit(lambda x, w: matmul.matmul(x, w, "bfloat16"))(x, w), *gradients


@pytest.mark.parametrize(("M", "K", "N"), [(128, 48, 32), (70, 16, 64), (1, 8, 8), (64, 192, 5)])
def test_values_and_gradients(M, K, N):
  x, w, d = (RNG.normal(size=s).astype(np.float32) for s in ((M, K), (K, N), (M, N)))
  found = product_and_gradients(x, w, d)
  X, W, D = map(rounded, (x, w, d))
  for got, wanted in zip(found, (X @ W, D @ W.T, X.T @ D), strict=True):
    assert got.dtype == jnp.float32
    assert np.allclose(got, wanted, rtol=1e-5, atol=1e-4)
  assert not np.allclose(found[0], x.astype(np.float64) @ w, rtol=1e-5, atol=1e-4)  # it did round


def test_twin_lost_padding_shows(monkeypatch):
  """With rows that do not fill a tile left out, the gradient of the weights is another."""
  whole = matmul.products_of_columns
  monkeypatch.setattr(matmul, "products_of_columns", lambda x, y: whole(x[:64], y[:64]))
  x, w, d = (RNG.normal(size=s).astype(np.float32) for s in ((70, 16), (16, 8), (70, 8)))
  found = product_and_gradients(x, w, d)
  assert not np.allclose(found[2], rounded(x).T @ rounded(d), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_rounded_products_is_nearly_that_of_whole_ones(tied):
  config = small_config(num_layers=1, tied=tied)
  params = jax.tree.map(lambda x: 0.3 * x, small_params(config))
  tokens = RNG.integers(1, 64, (2, 80)).astype(np.int32)
  batch = {"tokens": tokens, "mask": np.ones_like(tokens)}

  def gradient(operands):
    objective = objectives.sft(config.replace(operands=operands))
    return jax.jit(jax.value_and_grad(lambda p: objective(p, batch, None)[0].value()))(params)

  (loss, whole), (near, rough) = gradient(""), gradient("bfloat16")
  assert near == pytest.approx(float(loss), rel=5e-3)
  assert near != loss
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(rough), strict=True):
    assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(a)


def test_plain_operands_are_left_alone():
  x, w = (RNG.normal(size=(8, 8)).astype(np.float32) for _ in range(2))
  assert np.array_equal(matmul.matmul(jnp.asarray(x), jnp.asarray(w)), jnp.asarray(x) @ w)
  half = jnp.asarray(x, jnp.bfloat16)
  assert matmul.matmul(half, jnp.asarray(w), "bfloat16").dtype == jnp.bfloat16
