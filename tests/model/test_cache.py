"""Decoding with the cache gives what one pass over the whole sequence gives."""

import functools

import jax
import numpy as np
import pytest
from compiled import logits, small_config, small_params

from xwinjax.model import cache as kv
from xwinjax.model import llama

CONFIG = small_config(tied=False)
PARAMS = small_params(CONFIG)
T, BLOCK, ANSWER = 8, 2, 5  # prompt slots, tokens a block, tokens an answer
RNG = np.random.default_rng(11)
PROMPTS = [RNG.integers(1, 64, n) for n in (8, 4)]
ANSWERS = RNG.integers(1, 64, (2, 3, ANSWER))

prefill = jax.jit(kv.prefill, static_argnums=0)
step = jax.jit(kv.decode_step, static_argnums=0)
store = jax.jit(kv.store_block)


def decoded(config=CONFIG, shift_positions=0, extra_shared=0, window=6):
  """Logits [P, S, ANSWER, V] after the prompt's last token and each answer token but the last."""
  params = kv.decode_params(config, PARAMS)
  shared = np.array([len(p) - 1 for p in PROMPTS])
  padded = np.zeros((2, T), np.int32)
  for row, prompt in zip(padded, PROMPTS, strict=True):
    row[: len(prompt) - 1] = prompt[:-1]
  cache = kv.init_cache(config, 2, 3, T, 2)
  cache = kv.Cache(prefill(config, params, padded), cache.own)
  cache = kv.grow(cache, window)
  last = np.array([[p[-1]] * 3 for p in PROMPTS])[..., None]
  tokens = np.concatenate([last, ANSWERS[..., :-1]], -1)
  out = []
  for n in range(ANSWER):
    own, place = np.full((2, 3), n - n % BLOCK), n % BLOCK
    if place == 0:
      recent = kv.init_recent(cache, BLOCK)
    positions = shared[:, None] + n + shift_positions * (n > 1)
    hidden, recent = step(
      config,
      params,
      cache,
      recent,
      tokens[..., n],
      np.broadcast_to(positions, (2, 3)),
      shared + extra_shared,
      own,
      place,
    )
    out.append(llama.unembed(params, hidden))
    if place == BLOCK - 1:
      cache = store(cache, recent, own, np.ones((2, 3), bool))
  return np.stack(out, 2)


@functools.cache
def in_one_pass(config=CONFIG):
  wanted = np.zeros((2, 3, ANSWER, 64))
  for p, prompt in enumerate(PROMPTS):
    rows = np.zeros((3, T + ANSWER), np.int32)
    rows[:, : len(prompt)] = prompt
    rows[:, len(prompt) : len(prompt) + ANSWER] = ANSWERS[p]
    start = len(prompt) - 1
    wanted[p] = np.asarray(logits(config, PARAMS, rows))[:, start : start + ANSWER]
  return wanted


@pytest.mark.parametrize("scanned", [False, True], ids=["unrolled", "scanned"])
def test_decoding_equals_the_full_forward_pass(scanned):
  config = CONFIG.replace(scan_layers=scanned)
  assert np.allclose(decoded(config), in_one_pass(), atol=3e-5)


@pytest.mark.parametrize("broken", [{"shift_positions": 1}, {"extra_shared": 1}], ids=str)
def test_a_wrong_position_or_prompt_length_shows(broken):
  assert not np.allclose(decoded(**broken), in_one_pass(), atol=3e-5)


def test_a_larger_window_changes_nothing():
  assert np.allclose(decoded(window=12), in_one_pass(), atol=3e-5)


def test_a_slot_that_wrote_nothing_keeps_what_it_had():
  cache = kv.init_cache(CONFIG, 1, 2, T, 4)
  block = jax.tree.map(np.ones_like, kv.init_recent(cache, BLOCK))
  stored = store(cache, block, np.array([[2, 0]]), np.array([[True, False]]))
  keys, values = map(np.asarray, stored.own[0])
  for kept in (keys, values.swapaxes(3, 4)):  # [P, S, K, N, W]
    assert (kept[0, 0, ..., 2:] == 1).all()
    assert (kept[0, 0, ..., :2] == 0).all()
    assert (kept[0, 1] == 0).all()


def test_bf16_decoding_is_close_to_the_bf16_pass():
  config = CONFIG.replace(dtype="bfloat16")
  error = np.abs(decoded(config) - in_one_pass(config))
  assert error.mean() < 0.02 * np.abs(in_one_pass()).mean()
  norms = [p for p in jax.tree.leaves(kv.decode_params(config, PARAMS)) if p.ndim == 1]
  assert {str(p.dtype) for p in norms} == {"float32"}
