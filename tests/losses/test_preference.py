"""Preference and reward losses by hand and against float64 formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xwinjax.losses import lists, preference, reward, sft, table

RNG = np.random.default_rng(0)
POLICY, REFERENCE = RNG.normal(-40, 10, (2, 16, 2))
LENGTHS = RNG.integers(1, 40, (16, 2))


def log_sigmoid(x):
  return -np.logaddexp(0, -x)


def in_float64(variant, beta, smoothing=0.0, lengths=1.0):
  gain = (POLICY - REFERENCE) / lengths
  margin = gain[:, 0] - gain[:, 1]
  return {
    "sigmoid": -(1 - smoothing) * log_sigmoid(beta * margin)
    - smoothing * log_sigmoid(-beta * margin),
    "ipo": (margin - 1 / (2 * beta)) ** 2,
    "hinge": np.maximum(0, 1 - beta * margin),
  }[variant]


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize(
  ("variant", "smoothing"), [("sigmoid", 0.0), ("sigmoid", 0.2), ("ipo", 0.0), ("hinge", 0.0)]
)
def test_dpo_equals_its_equation(variant, smoothing, normalised):
  lengths = LENGTHS if normalised else 1.0
  gain = preference.gains(*map(jnp.asarray, (POLICY, REFERENCE)), LENGTHS if normalised else None)
  settings = {"label_smoothing": smoothing} if smoothing else {}
  got = table.LOSSES[variant](gain, beta=0.3, **settings)
  assert np.allclose(got, in_float64(variant, 0.3, smoothing, lengths), rtol=1e-4, atol=1e-5)
  assert not np.allclose(got, in_float64(variant, 0.31, smoothing, lengths), rtol=1e-4, atol=1e-5)
  other = 1.0 if normalised else LENGTHS
  assert not np.allclose(got, in_float64(variant, 0.3, smoothing, other), rtol=1e-4, atol=1e-5)


def test_an_unmoved_policy_has_the_loss_of_a_coin():
  same = preference.gains(jnp.asarray(POLICY), jnp.asarray(POLICY))
  assert preference.dpo(same, beta=0.7) == pytest.approx(np.log(2))
  assert preference.dpo(same, beta=0.7, label_smoothing=0.1) == pytest.approx(np.log(2))
  assert reward.bradley_terry(jnp.zeros((1, 2))) == pytest.approx(np.log(2))
  assert (preference.dpo(same + jnp.array([1.0, 0.0]), beta=0.7) < np.log(2) - 0.1).all()


def test_the_gradient_raises_chosen_and_lowers_rejected():
  gain = lambda x: preference.gains(x, jnp.asarray(REFERENCE))
  slope = jax.grad(lambda x: preference.dpo(gain(x), beta=0.1).sum())
  assert (slope(jnp.asarray(POLICY))[:, 0] < 0).all()
  assert (slope(jnp.asarray(POLICY))[:, 1] > 0).all()


@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_saturated_pairs_have_finite_losses_and_gradients(gap):
  pair = jnp.array([[gap, 0.0]])
  for loss in (lambda x: preference.dpo(x, beta=0.1), reward.bradley_terry):
    value, slope = jax.value_and_grad(lambda x, f=loss: f(x).sum())(pair)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert value == pytest.approx(max(0.0, -gap * (0.1 if loss is not reward.bradley_terry else 1)))


def test_an_answer_of_no_tokens_divides_by_nothing():
  zero = jnp.zeros((1, 2))
  assert np.isfinite(preference.gains(zero, zero, zero)).all()
  assert np.isfinite(preference.simpo(zero, zero, beta=2.0, gap=1.0)).all()
  assert np.isfinite(preference.odds_ratio(zero, zero)).all()


def test_wrong_shapes_and_names_are_refused():
  with pytest.raises(ValueError, match=r"policy_A2 has shape \(3,\).*column 0 the chosen"):
    preference.gains(jnp.zeros(3), jnp.zeros(3))
  with pytest.raises(ValueError, match="gain_A2 has shape"):
    preference.dpo(jnp.zeros(3), beta=0.1)
  with pytest.raises(ValueError, match="rewards_A2 has shape"):
    reward.bradley_terry(jnp.zeros((2, 3)))
  with pytest.raises(ValueError, match="'slic' is not one of sigmoid, ipo, hinge"):
    table.terms("slic")
  for weight in ("x", "0", "-1", "nan"):
    with pytest.raises(ValueError, match="is no weight; expected"):
      table.terms(f"ipo + {weight}*hinge")


TWO, ONE = jnp.zeros((3, 2)), jnp.zeros(3)
UNLIKE = [  # each would broadcast to a number for the wrong pairs
  ("reference_A2", lambda: preference.gains(TWO, TWO[:1])),
  ("lengths_A2", lambda: preference.simpo(TWO, TWO[:, :1], beta=2.0, gap=0.0)),
  ("kl_A2", lambda: preference.tdpo(TWO, TWO[0], beta=0.1, kl_weight=0.5)),
  (
    "weight_A",
    lambda: preference.kto(
      TWO, ONE, ONE[:, None], beta=0.1, desirable_weight=1.0, undesirable_weight=1.0
    ),
  ),
  ("scores_AS", lambda: lists.plackett_luce(TWO, TWO[:1], beta=0.1)),
  ("scores_AS", lambda: lists.rrhf(TWO, TWO, TWO[0])),
  ("scores_AS", lambda: lists.lipo(TWO, TWO[:1], beta=0.1)),
  ("margin_A", lambda: reward.bradley_terry(TWO, margin_A=ONE[:, None])),
  ("weights_BT", lambda: sft.cross_entropy(TWO, TWO[:1])),
  ("lse_BT", lambda: sft.cross_entropy(TWO, TWO, ONE[:1], z_loss=0.1)),
]


@pytest.mark.parametrize(("name", "loss"), UNLIKE)
def test_arrays_of_unlike_shapes_are_refused(name, loss):
  with pytest.raises(ValueError, match=rf"{name} has shape \(.*\); expected \(3"):
    loss()


def test_cross_entropy_is_a_mean_over_supervised_tokens_with_its_z_loss():
  logps, lse = jnp.array([[-1.0, -3.0, jnp.nan]]), jnp.array([[2.0, 4.0, jnp.nan]])
  weights = jnp.array([[1.0, 1.0, 0.0]])
  assert sft.cross_entropy(logps, weights).value() == 2.0
  with_z = sft.cross_entropy(logps, weights, lse, z_loss=0.1).value()
  assert with_z == pytest.approx(2.0 + 0.1 * (4 + 16) / 2)
  assert with_z != pytest.approx(2.0 + 0.1 * (2 + 4) / 2)  # the square is of the log-sum-exp
  assert sft.cross_entropy(logps, weights * 0).value() == 0.0
  with pytest.raises(ValueError, match="z_loss needs lse_BT"):
    sft.cross_entropy(logps, weights, z_loss=0.1)
