"""Meshes, and which axis of which parameter lies where."""

import jax
import numpy as np
import optax
import pytest
from compiled import small_config
from jax.sharding import PartitionSpec as P

from xwinjax.core.errors import UserError
from xwinjax.model import llama, parameters
from xwinjax.sharding import rules
from xwinjax.sharding.mesh import check_fits, data_shards, make_mesh
from xwinjax.train.step import init_state


def names(tree):
  return {
    tuple(k.key for k in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
  }


def shapes(config, **options):
  return jax.eval_shape(lambda: llama.init(config, jax.random.key(0), **options))


def test_one_axis_takes_what_the_others_leave():
  assert dict(make_mesh(-1, 2, 2).shape) == {"data": 2, "fsdp": 2, "tensor": 2}
  assert data_shards(make_mesh(2, 2, 2)) == 4


@pytest.mark.parametrize(
  ("sizes", "said"),
  [
    ((3, 1, 1), "needs 3 devices .* 8 found"),
    ((-1, 3, 1), "needs 3 devices"),
    ((-1, -1, 1), "at most one may be -1"),
    ((0, 1, 1), "must be positive"),
  ],
)
def test_sizes_that_do_not_multiply_to_the_devices_are_refused(sizes, said):
  with pytest.raises(UserError, match=said):
    make_mesh(*sizes)


def test_a_mesh_that_would_cut_a_head_is_refused():
  check_fits(make_mesh(2, 2, 2), small_config())
  with pytest.raises(UserError, match="tensor=8 does not divide num_heads 4"):
    check_fits(make_mesh(1, 1, 8), small_config())
  with pytest.raises(UserError, match="fsdp=8 does not divide dim 12"):
    check_fits(make_mesh(1, 8, 1), small_config(dim=12))


@pytest.mark.parametrize("options", [{}, {"reward_head": True}])
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_has_a_rule_of_its_own_rank(tied, options):
  for path, leaf in names(shapes(small_config(tied=tied), **options)).items():
    assert path in rules.RULES
    assert len(rules.RULES[path]) == leaf.ndim


def test_every_rule_belongs_to_a_parameter():
  made = names(shapes(small_config(tied=False, family="qwen2")))
  made |= names(shapes(small_config(), reward_head=True))
  made |= dict.fromkeys(row.path for row in parameters.adapters())
  assert set(rules.RULES) == set(made)


def test_a_parameter_without_a_rule_is_refused_by_name():
  mesh = make_mesh(8)
  with pytest.raises(KeyError, match="no sharding rule for parameter layers/mlp/bias"):
    rules.param_sharding(mesh, ("layers", "mlp", "bias"))
  with pytest.raises(KeyError, match="no sharding rule for embed/scale"):
    rules.tree_shardings(mesh, {"embed": {"scale": np.zeros(3)}})


def test_optimizer_state_lies_with_its_parameters():
  state = jax.eval_shape(lambda p: init_state(p, optax.adamw(1e-3)), shapes(small_config()))
  placed = rules.tree_shardings(make_mesh(2, 2, 2), state)
  adam = placed.opt_state[0]
  for tree in (placed.params, adam.mu, adam.nu):
    assert tree["layers"]["mlp"]["gate"].spec == P(None, "fsdp", "tensor")
    assert tree["embed"]["embedding"].spec == P("tensor", "fsdp")
  assert adam.count.spec == P()


def test_a_mesh_that_cuts_a_ring_of_the_torus_is_made_in_another_order(monkeypatch):
  """jax refuses such a mesh unless it is told that axes may be split."""

  def refuse(*_, **__):
    raise NotImplementedError

  monkeypatch.setattr(jax, "make_mesh", refuse)
  assert dict(make_mesh(1, 4, 2).shape) == {"data": 1, "fsdp": 4, "tensor": 2}
