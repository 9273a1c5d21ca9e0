"""Every preference and list loss against PyTorch's or TRL's numbers in tests/goldens/losses.json.

Each case is broken on purpose, too: a sign, a normaliser, a setting, and its check must fail.
"""

import inspect
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xwinjax.losses import lists, logprobs, preference, reward, sft, table

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "losses.json").read_text())
GIVEN = {name: jnp.asarray(x, jnp.float32) for name, x in GOLDENS["inputs"].items()}
GIVEN["weight_A"] = jnp.ones_like(GIVEN["desirable_A"])

# case -> (loss, its settings)
CASES = {
  "cpo_b0.1": ("cpo", {"beta": 0.1}),
  "simpo_b2_g1": ("simpo", {"beta": 2.0, "gap": 1.0}),
  "odds_ratio": ("odds_ratio", {}),
  "dpop_b0.3_p50": ("dpop", {"beta": 0.3, "penalty": 50.0}),
  "tdpo_b0.1_a0.5": ("tdpo", {"beta": 0.1, "kl_weight": 0.5}),
  "tdpo_by_kl": ("tdpo", {"beta": 0.1, "kl_weight": 0.5}),
  "cringe": ("cringe", {"gate_margin": -1.0, "gate_temperature": 10.0, "contrast_weight": 0.5}),
  "kto_b0.1": ("kto", {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.33}),
  "plackett_luce_b0.1": ("plackett_luce", {"beta": 0.1}),
  "rrhf": ("rrhf", {}),
  "lipo_b0.1": ("lipo", {"beta": 0.1}),
}


def inputs(policy, given):
  """What losses may take, as a function of the policy's log-probs of pairs or lists."""
  kind = "A2" if policy.shape[-1] == 2 else "AS"
  gain = preference.gains(policy, given[f"reference_{kind}"])
  return given | {f"policy_{kind}": policy, f"gain_{kind}": gain}


def agrees(case, name, settings, change=lambda given: given, loss=None) -> bool:
  """Whether each loss, and the gradient of their mean, are the stored ones."""
  loss, wanted = loss or table.LOSSES[name], GOLDENS[case]
  taken = inspect.signature(loss).parameters

  def each(x):
    given = inputs(x, change(GIVEN)) if wanted["of"].startswith("policy") else None
    given = given or inputs(GIVEN["policy_A2"], change(GIVEN)) | {wanted["of"]: x}
    return loss(**{k: v for k, v in given.items() if k in taken}, **settings)

  x = GIVEN[wanted["of"]]
  near = {"rtol": 2e-4, "atol": 1e-5}
  return np.allclose(each(x), wanted["each"], **near) and np.allclose(
    jax.grad(lambda x: each(x).mean())(x), wanted["gradient"], **near
  )


@pytest.mark.parametrize("case", CASES)
def test_a_loss_and_its_gradient_are_the_stored_ones(case):
  name, settings = CASES[case]
  assert agrees(case, name, settings)


def but(loss, change):
  """The loss with something done to what it takes."""
  changed = lambda **given: loss(**{k: change(k, v) for k, v in given.items()})
  changed.__signature__ = inspect.signature(loss)  # pyright: ignore[reportFunctionMemberAccess]
  return changed


@pytest.mark.parametrize("case", CASES)
def test_twin_a_wrong_sign_shows(case):
  name, settings = CASES[case]
  minus = lambda k, v: -v if k.startswith(("policy", "gain")) else v
  assert not agrees(case, name, settings, loss=but(table.LOSSES[name], minus))


@pytest.mark.parametrize(
  ("case", "setting"), [(case, s) for case, (_, settings) in CASES.items() for s in settings]
)
def test_twin_another_setting_shows(case, setting):
  name, settings = CASES[case]
  assert not agrees(case, name, settings | {setting: settings[setting] * 1.1})


def reads(name: str, case: str) -> list[str]:
  """The arrays that a loss takes, but the one that the case differentiates."""
  made = {"gain_A2": "reference_A2", "gain_AS": "reference_AS"}
  taken = [made.get(p, p) for p in inspect.signature(table.LOSSES[name]).parameters]
  return [p for p in taken if p in GIVEN and p not in ("weight_A", GOLDENS[case]["of"])]


@pytest.mark.parametrize(
  ("case", "array"), [(case, p) for case, (name, _) in CASES.items() for p in reads(name, case)]
)
def test_twin_another_pairs_numbers_show(case, array):
  """The reference, lengths, scores, … of the next example in each one's place."""
  name, settings = CASES[case]
  rolled = lambda given: given | {array: jnp.roll(given[array], 1, axis=0)}
  assert not agrees(case, name, settings, rolled)


@pytest.mark.parametrize("case", [c for c in CASES if GOLDENS[c]["of"].endswith("_A2")])
def test_twin_exchanged_answers_show(case):
  name, settings = CASES[case]
  exchange = lambda k, v: v[:, ::-1] if k.endswith("_A2") else v
  assert not agrees(case, name, settings, loss=but(table.LOSSES[name], exchange))


def test_every_loss_has_a_case():
  stored = {"sigmoid", "ipo", "hinge", "robust"}  # in test_trl_goldens.py
  assert stored | {name for name, _ in CASES.values()} == set(table.LOSSES)


def test_kto_leaves_padding_out_of_its_kl():
  settings = CASES["kto_b0.1"][1]
  gain = inputs(GIVEN["policy_A2"], GIVEN)["gain_A2"]
  desirable, weight = GIVEN["desirable_A"], GIVEN["weight_A"]
  whole = preference.kto(gain, desirable, weight, **settings)
  padded = [
    jnp.concatenate([x, jnp.full_like(x[:1], fill)])
    for x, fill in ((gain, jnp.nan), (desirable, 0.0), (weight, 0.0))
  ]
  assert np.allclose(preference.kto(*padded, **settings)[:-1], whole)
  counted = padded[2].at[-1].set(1.0)
  assert not np.allclose(preference.kto(*padded[:2], counted, **settings)[:-1], whole)


def test_plackett_luce_of_two_is_dpo():
  gain = inputs(GIVEN["policy_A2"], GIVEN)["gain_A2"]
  ranked = jnp.tile(jnp.array([2.0, 1.0]), (len(gain), 1))
  dpo = preference.dpo(gain, beta=0.1)
  assert np.allclose(lists.plackett_luce(gain, ranked, beta=0.1), dpo, rtol=1e-5)
  assert not np.allclose(lists.plackett_luce(gain, ranked[:, ::-1], beta=0.1), dpo, rtol=1e-5)


# Token losses: hidden states times an identity head are the stored logits themselves.
TARGETS = jnp.asarray(GOLDENS["inputs"]["targets_T"], jnp.int32)
EYE = jnp.eye(11)


def at_places(x_TV):
  """Rows whose state t has the logits of place t, its label the next token: [1, T+1]."""
  hidden = jnp.concatenate([x_TV, jnp.zeros((1, x_TV.shape[1]))])[None]
  tokens = jnp.concatenate([jnp.zeros(1, jnp.int32), TARGETS])[None]
  return hidden, tokens, jnp.ones_like(tokens)


def label_smoothing(x, share=0.1):
  hidden, tokens, mask = at_places(x)
  logps, lse, weights = logprobs.token_logps(hidden, EYE, tokens, mask)
  uniform = logprobs.uniform_logps(hidden, EYE, lse)
  each = sft.cross_entropy(logps, weights, lse, uniform, label_smoothing=share)
  return each.value()


def z_loss(x, power=1.0):
  hidden, tokens, mask = at_places(x)
  logps, lse, weights = logprobs.token_logps(hidden, EYE, tokens, mask)
  squares = sft.cross_entropy(logps, weights, lse, z_loss=power).value()
  return squares - sft.cross_entropy(logps, weights).value()


def token_kl(x, turned=False):
  hidden, tokens, mask = at_places(x)
  heads = [(hidden, EYE), (at_places(GIVEN["reference_logits_TV"])[0], EYE)]
  values = logprobs.over_logits(logprobs.divergence, heads[:: -1 if turned else 1], tokens, mask)
  return values[0, :-1].mean()


def contrasts(x, k=1):
  hidden, tokens, mask = at_places(x)
  noise = logprobs.drawn(None if k == 1 else jax.random.key(0), tokens, None, k)
  heads = [(hidden, EYE)]
  values = logprobs.over_logits(logprobs.contrast, heads, tokens, mask, None, None, noise)
  return values[0, :-1].mean()


TOKEN_CASES = {  # case -> (its mean over the places, the same broken)
  "label_smoothing_0.1": (label_smoothing, lambda x: label_smoothing(x, 0.2)),
  "z_loss": (z_loss, lambda x: z_loss(x, 0.5)),
  "token_kl": (token_kl, lambda x: token_kl(x, turned=True)),
  "contrast_k1": (contrasts, lambda x: contrasts(x, 5)),
}


@pytest.mark.parametrize("case", TOKEN_CASES)
def test_a_token_loss_and_its_gradient_are_the_stored_ones(case):
  wanted, x = GOLDENS[case], GIVEN["logits_TV"]

  def same(loss):
    value, gradient = jax.value_and_grad(loss)(x)
    return np.allclose(value, np.mean(wanted["each"]), rtol=1e-4) and np.allclose(
      gradient, wanted["gradient"], rtol=1e-3, atol=1e-5
    )

  right, broken = TOKEN_CASES[case]
  assert same(right)
  assert not same(broken)


def test_chunks_of_logits_give_what_all_at_once_give(monkeypatch):
  whole = jax.value_and_grad(token_kl)(GIVEN["logits_TV"])
  monkeypatch.setattr(logprobs, "LOGITS", 3 * 2 * 11)  # three of eight places at once
  parts = jax.value_and_grad(token_kl)(GIVEN["logits_TV"])
  assert np.allclose(whole[0], parts[0], rtol=1e-5)
  assert np.allclose(whole[1], parts[1], rtol=1e-5, atol=1e-7)
  monkeypatch.setattr(logprobs, "_joined", lambda x, like: x.swapaxes(0, 1).reshape(1, -1)[:, 1:9])
  assert not np.allclose(token_kl(GIVEN["logits_TV"]), whole[0], rtol=1e-3)


def test_a_rival_is_one_of_the_k_most_probable_other_tokens_by_its_chance():
  row = jnp.array([3.0, 2.0, 1.0, 0.0, -9.0])
  n = 4000
  noise = jax.random.gumbel(jax.random.key(1), (1, n, 2))
  losses = logprobs.contrast(jnp.zeros((1, n), int), jnp.tile(row, (1, n, 1)), noise)[0]
  of = {s: float(jax.nn.softplus(3.0 - s)) for s in (2.0, 1.0)}  # token 0 is the target
  shares = {s: float(np.isclose(losses, value, rtol=1e-4).mean()) for s, value in of.items()}
  assert sum(shares.values()) == 1.0
  assert shares[2.0] == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)


REWARDS = {
  "ensemble": lambda x: reward.bradley_terry(x.swapaxes(1, 2)).mean(-1),
  "pessimistic_1": lambda x: reward.pessimistic(x, spread_weight=1.0),
}


@pytest.mark.parametrize("case", REWARDS)
def test_ensembles_are_the_stored_ones(case):
  wanted, x = GOLDENS[case], GIVEN["rewards_A2K"]
  loss = REWARDS[case]
  assert np.allclose(loss(x), wanted["each"], rtol=1e-4, atol=1e-5)
  gradient = jax.grad(lambda x: loss(x).mean())(x)
  assert np.allclose(gradient, wanted["gradient"], rtol=1e-3, atol=1e-5)
  assert not np.allclose(loss(x[..., :2]), wanted["each"], rtol=1e-4, atol=1e-5)
