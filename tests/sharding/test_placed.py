"""Activations lie on the mesh as rows, and no program moves them whole between devices."""

import functools

import jax
import numpy as np
import optax
import pytest
from planning import hlo

from xwinjax.core import placed
from xwinjax.model import llama
from xwinjax.sharding.mesh import make_mesh
from xwinjax.testing.tiny import tiny_config
from xwinjax.train import objectives
from xwinjax.train.step import init_state, shardings, train_step

CONFIG = tiny_config(
  dim=128, ffn_dim=512, num_layers=4, num_heads=4, num_kv_heads=4, head_dim=32, vocab_size=512
).replace(scan_layers=True, remat="full")
ROWS, T = 64, 128
WHOLE = ROWS * T * CONFIG.dim * 4  # bytes of a residual stream of all rows


def compiled(sizes=(1, 8, 1)):
  """The SFT step of 64 rows on 8 devices."""
  mesh, optimizer = make_mesh(*sizes), optax.adamw(1e-3)
  params = jax.eval_shape(lambda: llama.init(CONFIG, jax.random.key(0)))
  state = jax.eval_shape(lambda p: init_state(p, optimizer), params)
  batch = {
    "tokens": jax.ShapeDtypeStruct((ROWS, T), np.int32),
    "mask": jax.ShapeDtypeStruct((ROWS, T), np.uint8),
  }
  step = train_step(objectives.sft(CONFIG), optimizer, shards=8)
  with jax.set_mesh(mesh):
    return jax.jit(step, **shardings(mesh, state, batch)).lower(state, batch).compile()


@functools.cache
def as_it_is():
  return compiled()


def largest_sum(program) -> int:
  """Bytes of the largest array that one all-reduce adds up."""
  lines = [x for xs in hlo._computations(program.as_text())[0].values() for x in xs]
  sums = [hlo._result_bytes(x) for x in lines if x.kind.startswith("all-reduce")]
  return max(sums, default=0)


def test_a_device_holds_its_rows_alone():
  temporary = as_it_is().memory_analysis().temp_size_in_bytes
  assert temporary < 8 * WHOLE  # mostly an eighth of the logits, and of a layer at work
  assert largest_sum(as_it_is()) < WHOLE / 2  # a matrix's gradient


def test_twin_without_places_the_batch_is_whole_everywhere(monkeypatch):
  monkeypatch.setattr(placed, "mesh", lambda: None)
  loose = compiled()
  assert loose.memory_analysis().temp_size_in_bytes > 30 * WHOLE
  assert largest_sum(loose) >= 4 * WHOLE  # the wide activations of all rows


def test_axes_that_do_not_divide_stay_whole():
  with jax.set_mesh(make_mesh(2, 2, 2)):
    assert tuple(placed.spec((8, 3), (placed.ROWS, placed.TENSOR))) == (placed.ROWS, None)
    assert placed.shards() == 4
  assert placed.shards() == 1
  x = np.ones(3)
  assert placed.place(x, placed.ROWS) is x


@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_the_sampler_s_cache_is_shared_by_prompts_or_else_by_samples(sizes):
  from xwinjax.model import cache as kv

  with jax.set_mesh(make_mesh(*sizes)):
    rows = placed.shards()
    many, few = kv.init_cache(CONFIG, rows, 8, 8, 2), kv.init_cache(CONFIG, 1, 8, 8, 2)
  for cache, axis in ((many, 1), (few, 2)):
    keys = cache.own[0]  # [L, P, S, K, N, W]
    shard = keys.addressable_shards[0].data.shape
    assert keys.shape[axis] == rows * shard[axis]
    assert keys.shape[3] == (2 if sizes[2] == 2 else 1) * shard[3]
