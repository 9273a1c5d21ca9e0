"""Weights in and out in pieces: the bytes that devices hold are read, a file at a time written."""

import math

import jax
import numpy as np
import pytest

from xwinjax.checkpoint import huggingface
from xwinjax.model import parameters
from xwinjax.sharding import rules
from xwinjax.sharding.mesh import make_mesh
from xwinjax.testing.tiny import tiny_config, tiny_params


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  config = tiny_config()
  params = tiny_params(config)
  folder = tmp_path_factory.mktemp("whole")
  return huggingface.save(folder, config, params), params


@pytest.fixture
def read(monkeypatch):
  """Numbers that were read, by tensor."""
  counted, real = {}, huggingface._Weights.read

  def reading(self, tensor, index=()):
    values = real(self, tensor, index)
    counted[tensor] = counted.get(tensor, 0) + values.size
    return values

  monkeypatch.setattr(huggingface._Weights, "read", reading)
  return counted


def sharded(saved, **axes):
  mesh = make_mesh(**axes)
  return huggingface.load(saved, lambda path: rules.param_sharding(mesh, path))[1]


@pytest.mark.parametrize(
  "axes", [{"fsdp": 8}, {"fsdp": 2, "tensor": 2, "data": 2}, {"tensor": 2, "data": 4}]
)
def test_every_number_is_read_once_however_it_is_shared(saved, read, axes):
  folder, params = saved
  there = sharded(folder, **axes)
  jax.tree.map(np.testing.assert_array_equal, there, params)
  assert set(read.values()) <= {math.prod(s) for s in huggingface._Weights(folder).shapes.values()}
  assert sum(read.values()) == sum(x.size for x in jax.tree.leaves(params))


def test_twin_whole_tensors_for_every_part_would_be_seen(saved, read, monkeypatch):
  real = huggingface.to_ours
  whole = lambda row, config, get, index=None: real(row, config, get)[index or ...]
  monkeypatch.setattr(huggingface, "to_ours", whole)
  folder, params = saved
  jax.tree.map(np.testing.assert_array_equal, sharded(folder, fsdp=8), params)
  assert sum(read.values()) > 4 * sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize("row", parameters.TABLE, ids=lambda row: row.place)
def test_any_part_of_a_parameter_is_that_part(row):
  config = tiny_config(family="qwen2")
  theirs = np.arange(math.prod(row.their_shape(config)), dtype=np.float32)
  theirs = theirs.reshape(row.their_shape(config))
  whole = huggingface.to_ours(row, config, lambda index: theirs[index])
  np.testing.assert_array_equal(huggingface.to_theirs(row, config, whole), theirs)
  rng = np.random.default_rng(0)
  for _ in range(10):
    ends = [sorted(rng.integers(0, size + 1, 2)) for size in whole.shape]
    index = tuple(slice(int(a), int(b)) for a, b in ends)
    part = huggingface.to_ours(row, config, lambda index: theirs[index], index)
    np.testing.assert_array_equal(part, whole[index])


def test_no_more_than_a_file_is_kept_while_writing(saved, tmp_path, monkeypatch):
  _, params = saved
  config, sizes, real = tiny_config(), [], huggingface.save_file

  def saving(tensors, path, **how):
    sizes.append(sum(t.nbytes for t in tensors.values()))
    real(tensors, path, **how)

  monkeypatch.setattr(huggingface, "save_file", saving)
  huggingface.save(tmp_path / "out", config, params, max_shard_bytes=5_000)
  largest = max(x.nbytes for x in jax.tree.leaves(params))
  assert len(sizes) > 2
  assert max(sizes) <= max(5_000, largest)
  assert sum(sizes) == sum(x.nbytes for x in jax.tree.leaves(params))
  jax.tree.map(np.testing.assert_array_equal, huggingface.load(tmp_path / "out")[1], params)
