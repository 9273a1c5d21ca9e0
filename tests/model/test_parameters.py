"""The table of parameters: the model it makes is the one it made before."""

import dataclasses
import hashlib

import jax
import numpy as np
import pytest

from xwinjax.core import dims
from xwinjax.model import llama, parameters
from xwinjax.testing.tiny import tiny_config

# sha256 of init's arrays for key 7, by JAX's threefry keys
BITS = {
  (True, False): "46732d8396527589cd2f49d4b0b842da3adb75855d8859aef4b2b0e3fb3a7942",
  (False, False): "c658a11db3c76d07eeaa10b02dbb76fcf567d358f0465b1a942a599fc2e95d04",
  (False, True): "32d1dc53633d67fd43388e6f8d2e6d83a00c83fc14c84982a216da03deed5d5c",
}


def leaves(params):
  return {
    tuple(k.key for k in path): x for path, x in jax.tree_util.tree_flatten_with_path(params)[0]
  }


def digest(params) -> str:
  found = hashlib.sha256()
  named = {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_flatten_with_path(params)[0]}
  for name, leaf in sorted(named.items()):
    found.update(name.encode() + str(leaf.shape).encode() + np.asarray(leaf).tobytes())
  return found.hexdigest()


@pytest.mark.parametrize(("tied", "reward"), BITS)
def test_init_gives_the_bits_it_always_gave(tied, reward):
  config = tiny_config(tied=tied)
  made = llama.init(config, jax.random.key(7), reward_head=reward)
  assert digest(made) == BITS[tied, reward]
  other = llama.init(config, jax.random.key(8), reward_head=reward)
  assert digest(other) != BITS[tied, reward]  # the check's twin


@pytest.mark.parametrize(("tied", "reward"), [*BITS, (True, True)])
def test_the_tree_is_what_the_table_says(tied, reward):
  config = tiny_config(tied=tied, head_dim=6)
  made = leaves(llama.init(config, jax.random.key(0), reward_head=reward))
  rows = {row.path: row for row in parameters.rows(config, reward_head=reward)}
  assert made.keys() == rows.keys()
  for path, row in rows.items():
    layers = (config.num_layers,) if row.stacked else ()
    assert made[path].shape == (*layers, *row.shape(config))
    assert len(row.mesh_axes) == made[path].ndim
    assert set(row.dims) <= set(dims.LETTERS)
  assert parameters.count(config, reward_head=reward) == sum(x.size for x in made.values())


def test_a_row_whose_fields_do_not_fit_is_refused():
  row = parameters.BY_PATH["layers", "attention", "q"]
  for change in ({"dims": "DH"}, {"theirs": "HN F"}, {"axes": (None,)}, {"dims": "DDHN"}):
    with pytest.raises(ValueError, match=r"layers/attention/q: .* do not fit"):
      dataclasses.replace(row, **change)


def test_every_place_is_named_once():
  rows = [*parameters.TABLE, *parameters.adapters()]
  assert len(parameters.BY_PATH) == len(rows)
  assert len({row.name(0) for row in rows}) == len(rows)
