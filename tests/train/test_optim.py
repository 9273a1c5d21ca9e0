"""AdamW, its schedules, clipping and weight-decay mask, against numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import close

from xwinjax.core.errors import UserError
from xwinjax.train.optim import OptimConfig, decay_mask, make_optimizer, schedule


def rates(steps, **options):
  curve = schedule(OptimConfig(**options), steps)
  return [float(curve(i)) for i in range(steps)]


def test_constant_after_a_rise_that_never_wastes_a_step_on_zero():
  assert rates(8, lr=4.0, schedule="constant", warmup=0.375) == pytest.approx(
    [1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0]
  )


def test_linear_falls_to_the_final_rate():
  assert rates(4, lr=1.0, final_lr=0.2, schedule="linear", warmup=0.0) == pytest.approx(
    [1.0, 0.8, 0.6, 0.4]  # 0.2 is where a fifth step would be
  )


def test_cosine_is_half_way_in_the_middle():
  got = rates(5, lr=1.0, final_lr=0.1, schedule="cosine", warmup=0.2)
  by_hand = [0.5, *(0.1 + 0.45 * (1 + np.cos(np.pi * i / 4)) for i in range(4))]
  assert got == pytest.approx(by_hand)
  assert got[3] == pytest.approx(0.55)


def test_one_step_runs_at_the_peak_whatever_the_warm_up():
  assert rates(1, lr=2.0, schedule="cosine", warmup=0.5) == [2.0]


def test_an_unknown_schedule_is_refused_by_name():
  with pytest.raises(UserError, match="'step' is not one of constant, linear, cosine"):
    schedule(OptimConfig(schedule="step"), 10)


PARAMS = {
  "head": {"kernel": np.array([[1.0, -2.0], [3.0, 0.5]])},
  "norm": {"scale": np.array([1.0, 2.0])},
}
RNG = np.random.default_rng(0)
GRADIENTS = [
  jax.tree.map(lambda p, size=size: size * RNG.normal(size=p.shape), PARAMS)
  for size in (0.1, 5.0, 0.5, 2.0)
]
CONFIG = OptimConfig(lr=0.1, schedule="linear", warmup=0.0, weight_decay=0.1, clip=1.0)


def adamw_in_float64(config, steps):
  """Loshchilov & Hutter 2019, algorithm 2, with clipping before and decay on matrices alone."""
  flat = {("head", "kernel"): 0.0, ("norm", "scale"): 0.0}
  params = {(a, b): PARAMS[a][b].copy() for a, b in flat}
  m, v = ({k: np.zeros_like(p) for k, p in params.items()} for _ in range(2))
  for t, tree in enumerate(GRADIENTS, 1):
    gradient = {(a, b): tree[a][b] for a, b in flat}
    norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
    shrink = min(1.0, config.clip / norm) if config.clip else 1.0
    lr = config.lr * (1 - (t - 1) / steps)
    for k, g in gradient.items():
      g = g * shrink
      m[k] = config.beta1 * m[k] + (1 - config.beta1) * g
      v[k] = config.beta2 * v[k] + (1 - config.beta2) * g**2
      m_hat, v_hat = m[k] / (1 - config.beta1**t), v[k] / (1 - config.beta2**t)
      decay = config.weight_decay if k[1] != "scale" else 0.0
      params[k] = params[k] - lr * (m_hat / (np.sqrt(v_hat) + config.eps) + decay * params[k])
  return {"head": {"kernel": params["head", "kernel"]}, "norm": {"scale": params["norm", "scale"]}}


def ours(config):
  optimizer = make_optimizer(config, len(GRADIENTS))
  params = jax.tree.map(jnp.asarray, PARAMS)
  state = optimizer.init(params)
  for gradient in GRADIENTS:
    updates, state = jax.jit(optimizer.update)(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params


def test_four_steps_equal_adamw_worked_out_in_float64():
  assert close(ours(CONFIG), adamw_in_float64(CONFIG, 4))


@pytest.mark.parametrize(
  "change", [{"clip": 0.0}, {"weight_decay": 0.0}, {"beta2": 0.999}, {"lr": 0.11}], ids=str
)
def test_other_settings_give_other_numbers(change):
  other = OptimConfig(**(vars(CONFIG) | change))
  assert not close(ours(CONFIG), adamw_in_float64(other, 4))
  assert close(ours(other), adamw_in_float64(other, 4))


def test_the_first_moment_in_bfloat16_is_near_and_takes_half():
  half = OptimConfig(**(vars(CONFIG) | {"mu_dtype": "bfloat16"}))
  params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), PARAMS)
  dtypes = lambda config, moment: {
    str(x.dtype)
    for x in jax.tree.leaves(optax.tree.get(make_optimizer(config, 4).init(params), moment))
  }
  assert (dtypes(half, "mu"), dtypes(half, "nu")) == ({"bfloat16"}, {"float32"})
  assert (dtypes(CONFIG, "mu"), dtypes(CONFIG, "nu")) == ({"float32"}, {"float32"})
  assert close(ours(half), ours(CONFIG), atol=2e-3)
  assert not close(ours(half), ours(CONFIG))


def test_decay_leaves_norms_alone():
  mask = decay_mask(
    {
      "norm": {"scale": 1},
      "layers": {"mlp_norm": {"scale": 1}, "mlp": {"up": 1}},
      "embed": {"embedding": 1},
      "reward": {"kernel": 1},
    }
  )
  assert mask == {
    "norm": {"scale": False},
    "layers": {"mlp_norm": {"scale": False}, "mlp": {"up": True}},
    "embed": {"embedding": True},
    "reward": {"kernel": True},
  }


def test_decay_of_a_parameter_without_a_row_is_refused_by_name():
  with pytest.raises(KeyError, match="no parameter layers/mlp/bias; add a row"):
    decay_mask({"norm": {"scale": 1}, "layers": {"mlp": {"bias": 1}}})
