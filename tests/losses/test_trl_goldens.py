"""Preference and reward losses against TRL's own, in float64.

The whole set lies with the shared goldens; six of its pairs, the edge cases among them, are stored
in tests/goldens so that the check never goes missing.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xwinjax.losses import preference, reward

STORED = Path(__file__).parents[1] / "goldens" / "trl_losses.json"


@pytest.fixture(scope="module", params=["stored", "shared"])
def trl(request):
  if request.param == "stored":
    return {name: np.array(x) for name, x in json.loads(STORED.read_text()).items()}
  return dict(np.load(request.getfixturevalue("shared") / "goldens" / "trl_losses.npz"))


def columns(trl, chosen, rejected):
  return jnp.asarray(np.stack([trl[chosen], trl[rejected]], -1), jnp.float32)


def pairs(trl):
  """(policy, reference, lengths), each [A, 2]."""
  return (
    columns(trl, "policy_chosen_logps", "policy_rejected_logps"),
    columns(trl, "ref_chosen_logps", "ref_rejected_logps"),
    columns(trl, "chosen_len", "rejected_len"),
  )


def agrees(trl, case, loss, x):
  """Whether each loss, their mean and its gradient to x [A, 2] are TRL's."""
  value, gradient = jax.value_and_grad(lambda x: loss(x).mean())(x)
  near = {"rtol": 1e-4, "atol": 1e-5}
  return (
    np.allclose(loss(x), trl[f"{case}/each"], **near)
    and np.allclose(value, trl[f"{case}/mean"], **near)
    and np.allclose(gradient[:, 0], trl[f"{case}/grad_chosen"], **near)
    and np.allclose(gradient[:, 1], trl[f"{case}/grad_rejected"], **near)
  )


DPO = {
  "dpo_sigmoid_b0.1": {"beta": 0.1},
  "dpo_sigmoid_b0.5": {"beta": 0.5},
  "dpo_hinge_b0.1": {"loss": preference.hinge, "beta": 0.1},
  "dpo_ipo_sum_b0.1": {"loss": preference.ipo, "beta": 0.1},
  "dpo_ipo_lengthnorm_b0.1": {"loss": preference.ipo, "beta": 0.1, "normalised": True},
  "dpo_conservative_b0.1_ls0.1": {"beta": 0.1, "label_smoothing": 0.1},
  "dpo_robust_b0.1_ls0.1": {"loss": preference.robust, "beta": 0.1, "label_smoothing": 0.1},
}


def our_dpo(trl, options):
  _, reference, lengths = pairs(trl)
  settings = {k: v for k, v in options.items() if k not in ("loss", "normalised")}
  loss, divisors = options.get("loss", preference.dpo), lengths if "normalised" in options else None
  return lambda x: loss(preference.gains(x, reference, divisors), **settings)


@pytest.mark.parametrize("case", DPO)
def test_dpo_equals_trl(trl, case):
  assert agrees(trl, case, our_dpo(trl, DPO[case]), pairs(trl)[0])


@pytest.mark.parametrize("case", DPO)
def test_dpo_with_another_beta_or_swapped_answers_does_not(trl, case):
  policy, _, _ = pairs(trl)
  assert not agrees(trl, case, our_dpo(trl, DPO[case] | {"beta": 0.2}), policy)
  swapped = our_dpo(
    trl
    | {
      "ref_chosen_logps": trl["ref_rejected_logps"],
      "ref_rejected_logps": trl["ref_chosen_logps"],
    },
    DPO[case],
  )
  assert not agrees(trl, case, swapped, policy[:, ::-1])


def test_robust_dpo_is_a_composition(trl):
  """Chowdhury et al. 2024: ((1-ε) l(chosen > rejected) - ε l(rejected > chosen)) / (1-2ε)."""
  policy, reference, _ = pairs(trl)
  gain = preference.gains(policy, reference)
  right, wrong = preference.dpo(gain, beta=0.1), preference.dpo(gain[:, ::-1], beta=0.1)
  robust = preference.robust(gain, beta=0.1, label_smoothing=0.1)
  assert np.allclose(robust, (0.9 * right - 0.1 * wrong) / 0.8, rtol=1e-5)
  assert not np.allclose(robust, (0.9 * right + 0.1 * wrong) / 0.8, rtol=1e-5)


def test_exo_is_a_composition(trl):
  """Ji et al. 2024: the reverse KL from the smoothed preference to σ(β · margin)."""
  policy, reference, _ = pairs(trl)

  def exo(x, ε=1e-3):
    gain = preference.gains(x, reference)
    logit = 0.1 * (gain[:, 0] - gain[:, 1])
    right, wrong = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)
    return jnp.exp(right) * (right - np.log1p(-ε)) + jnp.exp(wrong) * (wrong - np.log(ε))

  assert agrees(trl, "dpo_exo_b0.1_ls0.001", exo, policy)
  assert not agrees(trl, "dpo_exo_b0.1_ls0.001", lambda x: exo(x, 0.01), policy)


REWARD = {
  "rm": (False, 0.0),
  "rm_margin": (True, 0.0),
  "rm_center0.01": (False, 0.01),
  "rm_margin_center0.01": (True, 0.01),
}


@pytest.mark.parametrize("case", REWARD)
def test_bradley_terry_equals_trl(trl, case):
  use_margin, centring = REWARD[case]
  rewards = columns(trl, "reward_chosen", "reward_rejected")
  margin = jnp.asarray(trl["reward_margin"], jnp.float32)

  def loss(x, sign=1, more=0.0):
    return reward.bradley_terry(
      x, margin_A=sign * margin if use_margin else 0.0, centring=centring + more
    )

  assert agrees(trl, case, loss, rewards)
  assert not agrees(trl, case, loss, rewards[:, ::-1])
  assert not agrees(trl, case, lambda x: loss(x, more=0.02), rewards)
  if use_margin:
    assert not agrees(trl, case, lambda x: loss(x, sign=-1), rewards)
