"""Attention in blocks, and the TPU's kernel, equal attention over whole rows: values, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import close

from xwinjax.core.segments import segment
from xwinjax.model import attention, splash

RNG = np.random.default_rng(0)
B, T, H, K, N = 2, 150, 4, 2, 8
Q, KEYS, VALUES = (RNG.normal(size=(B, T, h, N)).astype(np.float32) for h in (H, K, K))
BRANCHES = np.repeat(
  [segment(1), segment(1, 1), segment(1, 2), segment(2), 0], [60, 30, 20, 25, 15]
)[None].repeat(B, 0)

PACKED = np.repeat([segment(1), segment(2), 0], [90, 45, 15])[None].repeat(B, 0)


def plain(q, k, v, segments):
  """The definition, over all scores at once."""
  k, v = (jnp.repeat(x, H // K, axis=2) for x in (k, v))
  scores = jnp.einsum("bthn,bshn->bhts", q, k) / N**0.5
  mask = attention.causal_mask(T, segments)[:, None]
  return jnp.einsum("bhts,bshn->bthn", jax.nn.softmax(jnp.where(mask, scores, -1e30), -1), v)


def blocked(q, k, v, segments):
  return attention.attend(q, k, v, segments, "xla")


ON_A_TPU = functools.partial(splash.attend, interpret=True)  # its kernel, run by an interpreter


def values_and_gradients(attend, segments):
  """The output and the gradients of a weighted sum of it; padding has no weight."""
  weights = np.random.default_rng(1).normal(size=(B, T, H, N)).astype(np.float32)
  if segments is not None:
    weights = weights * (segments > 0)[:, :, None, None]

  def total(q, k, v):
    out = attend(q, k, v, segments)
    return jnp.sum(out * weights), out

  both = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))
  gradients, out = both(Q, KEYS, VALUES)
  real = slice(None) if segments is None else segments[0] > 0
  return out[:, real], gradients


@pytest.mark.parametrize("segments", [None, PACKED, BRANCHES], ids=["one", "packed", "branches"])
@pytest.mark.parametrize("attend", [blocked, ON_A_TPU], ids=["blocks", "splash"])
def test_each_form_equals_whole_rows(attend, segments):
  assert len(attention._spans(T)) == 3
  wanted = values_and_gradients(plain, segments)
  assert close(values_and_gradients(attend, segments), wanted, atol=2e-5)


@pytest.mark.parametrize("broken", ["own branch alone", "not joined"])
def test_twins_a_broken_kernel_call_shows(broken, monkeypatch):
  wanted = values_and_gradients(plain, BRANCHES)
  if broken == "own branch alone":  # a branch that does not see its prompt
    monkeypatch.setattr(splash, "_calls", lambda s, one, two: one(splash.kernels.SegmentIds(s, s)))
  else:  # two softmaxes added, each with a sum of 1
    monkeypatch.setattr(splash.jnp, "logaddexp", jnp.maximum)
  assert not close(values_and_gradients(ON_A_TPU, BRANCHES), wanted, atol=2e-3)


@pytest.mark.parametrize("broken", ["late keys", "lost correction"])
def test_twins_a_broken_block_shows(broken, monkeypatch):
  wanted = values_and_gradients(plain, None)
  if broken == "late keys":  # a block that stops one key early
    scores = attention._scores
    monkeypatch.setattr(
      attention,
      "_scores",
      lambda q, k, s, start, end: scores(q, k, s, start, end).at[..., -1].set(attention.MASKED),
    )
  else:  # a backward pass without rowsum(dO ∘ O): it is zero where the output is

    def wrong(saved, d_out):
      q, k, v, segments, out, lse = saved
      return attention._backward((q, k, v, segments, jnp.zeros_like(out), lse), d_out)

    inner = jax.custom_vjp(lambda *a: attention._forward(*a)[0])
    inner.defvjp(attention._forward, wrong)
    monkeypatch.setattr(attention, "_attend", inner)
  got = values_and_gradients(blocked, None)
  assert not close(got, wanted, atol=2e-3)


def test_few_blocks_however_long_the_row():
  for length in (1, 63, 64, 65, 512, 513, 4096, 5000):
    spans = attention._spans(length)
    assert len(spans) <= attention.BLOCKS
    assert [a for a, _ in spans[1:]] == [b for _, b in spans[:-1]]
    assert spans[0][0] == 0
    assert spans[-1][1] == length
