"""What SFT, reward modelling and DPO minimise, against sums taken by hand over each sequence."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import close, logits
from goldens.reference import log_softmax

from xwinjax.core.types import Mean
from xwinjax.losses import logprobs, preference, table
from xwinjax.model import llama
from xwinjax.train import objectives

KEY = jax.random.key(0)


def value(objective, params, batch):
  """(loss, metrics), each mean divided out."""

  def whole(params, batch):
    loss, metrics = objective(params, batch, KEY)
    means = loss if isinstance(loss, tuple) else (loss,)
    return sum(m.value() for m in means), {name: m.value() for name, m in metrics.items()}

  return jax.tree.map(float, jax.jit(whole)(params, batch))


def answers(batch, pair):
  """Both answers of a pair as whole sequences: (ids, number of answer tokens)."""
  row = batch["tokens"][pair]
  return (row[:9], 5), (np.r_[row[:3], row[9:13]], 3)


def sequence_logp(config, params, ids, n):
  """Sum of the log-probs of the last n tokens, from plain logits."""
  row = log_softmax(np.asarray(logits(config, params, ids[None]), np.float64)[0])
  return sum(row[t, ids[t + 1]] for t in range(len(ids) - 1 - n, len(ids) - 1))


def gains(policy, reference, lengths=None):
  return preference.gains(jnp.asarray(policy), jnp.asarray(reference), lengths)


@pytest.fixture(scope="module")
def pair_logps(config, params, pair_batch):
  return np.array(
    [
      [sequence_logp(config, params, ids, n) for ids, n in answers(pair_batch, pair)]
      for pair in range(3)
    ]
  )


def test_sft_is_the_mean_over_supervised_tokens_of_the_batch(config, params, sft_batch):
  tokens, mask = sft_batch["tokens"], sft_batch["mask"]
  logps = log_softmax(np.asarray(logits(config, params, tokens), np.float64))
  each = [-logps[b, t - 1, tokens[b, t]] for b, t in zip(*np.nonzero(mask[:, :]), strict=True) if t]
  loss, metrics = value(objectives.sft(config), params, sft_batch)
  assert loss == pytest.approx(np.mean(each), abs=1e-4)
  assert metrics["nll"] == pytest.approx(loss, abs=1e-6)
  unshifted = [-logps[b, t, tokens[b, t]] for b, t in zip(*np.nonzero(mask), strict=True)]
  assert loss != pytest.approx(np.mean(unshifted), abs=1e-2)


def test_z_loss_adds_the_squared_log_partition(config, params, sft_batch):
  raw = np.asarray(logits(config, params, sft_batch["tokens"]), np.float64)
  squares = (np.log(np.exp(raw).sum(-1)) ** 2)[:, :-1][sft_batch["mask"][:, 1:] == 1]
  plain, _ = value(objectives.sft(config), params, sft_batch)
  with_z, metrics = value(objectives.sft(config, z_loss=0.01), params, sft_batch)
  assert with_z - plain == pytest.approx(0.01 * squares.mean(), rel=1e-3)
  assert metrics["nll"] == pytest.approx(plain, abs=1e-5)


def test_dpo_takes_both_answers_log_probs_from_one_row(config, params, pair_batch, pair_logps):
  loss, metrics = value(objectives.dpo(config, beta=0.2), params, pair_batch)
  reference = pair_batch["reference"][:3, 0]
  wanted = preference.dpo(gains(pair_logps, reference), beta=0.2).mean()
  assert loss == pytest.approx(float(wanted), abs=1e-4)
  assert metrics["logp_chosen"] == pytest.approx(pair_logps[:, 0].mean(), abs=1e-3)
  assert metrics["logp_rejected"] == pytest.approx(pair_logps[:, 1].mean(), abs=1e-3)
  swapped = preference.dpo(gains(pair_logps[:, ::-1], reference), beta=0.2)
  assert loss != pytest.approx(float(swapped.mean()), abs=1e-2)


def test_length_normalised_dpo_divides_by_answer_tokens(config, params, pair_batch, pair_logps):
  objective = objectives.dpo(config, length_normalised=True, beta=0.2, variant="ipo")
  loss, _ = value(objective, params, pair_batch)
  reference = pair_batch["reference"][:3, 0]
  lengths = jnp.array([[5.0, 3.0]] * 3)
  wanted = preference.ipo(gains(pair_logps, reference, lengths), beta=0.2)
  assert loss == pytest.approx(float(wanted.mean()), rel=1e-4)
  one_more = preference.ipo(gains(pair_logps, reference, lengths + 1), beta=0.2)
  assert loss != pytest.approx(float(one_more.mean()), rel=1e-3)


def test_length_normalised_dpo_logs_what_its_loss_compares(config, params, pair_batch, pair_logps):
  """One reference is such that sums and means disagree on which answer gained more."""
  gain = np.array([-10.0, -9.0])  # of 5 and 3 tokens: -2 and -3 a token
  reference = np.zeros((4, 1, 2), np.float32)
  reference[:3, 0] = pair_logps - gain
  batch = pair_batch | {"reference": reference}
  for normalised, wanted in ((True, gain / [5, 3]), (False, gain)):
    objective = objectives.dpo(config, beta=0.2, length_normalised=normalised)
    loss, metrics = value(objective, params, batch)
    margin = 0.2 * (wanted[0] - wanted[1])
    assert metrics["margin"] == pytest.approx(margin, abs=1e-4)
    assert metrics["accuracy"] == (margin > 0)
    assert [metrics["gain_chosen"], metrics["gain_rejected"]] == pytest.approx(wanted, abs=1e-3)
    assert loss == pytest.approx(np.logaddexp(0, -margin), abs=1e-4)


@pytest.mark.parametrize("variant", ["sigmoid", "hinge"])
def test_the_first_dpo_loss_is_that_of_no_preference(
  config, params, pair_batch, pair_logps, variant
):
  reference = np.zeros((4, 1, 2), np.float32)
  reference[:3, 0] = pair_logps
  first = {"sigmoid": np.log(2), "hinge": 1.0}[variant]
  objective = objectives.dpo(config, beta=0.1, variant=variant)
  loss, metrics = value(objective, params, pair_batch | {"reference": reference})
  assert loss == pytest.approx(first, abs=1e-5)
  assert metrics["margin"] == pytest.approx(0, abs=1e-4)
  of_other_rows = pair_batch | {"reference": np.roll(reference, 1, 0)}
  assert value(objective, params, of_other_rows)[0] != pytest.approx(first, abs=1e-5)


@pytest.fixture(scope="module")
def reward_params(params):
  kernel = np.random.default_rng(3).normal(size=16).astype(np.float32)
  return llama.with_reward_head(params) | {"reward": {"kernel": kernel}}


def test_reward_reads_the_last_token_of_each_answer(config, reward_params, pair_batch):
  loss, metrics = value(objectives.reward(config), reward_params, pair_batch)

  def rewards(which):  # of the token `which` places from the end of each answer
    hidden = jax.jit(llama.apply, static_argnums=0)
    return np.array(
      [
        [
          float(llama.reward(reward_params, hidden(config, reward_params, ids[None]))[0, which])
          for ids, _ in answers(pair_batch, pair)
        ]
        for pair in range(3)
      ]
    )

  def wanted(r):
    return np.logaddexp(0, -(r[:, 0] - r[:, 1])).mean()

  assert loss == pytest.approx(wanted(rewards(-1)), abs=1e-4)
  assert metrics["reward"] == pytest.approx(rewards(-1).mean(), abs=1e-4)
  assert metrics["accuracy"] == pytest.approx((rewards(-1) @ [1, -1] > 0).mean())
  assert loss != pytest.approx(wanted(rewards(-2)), abs=1e-3)


def test_an_untrained_reward_head_has_the_loss_of_a_coin(config, params, pair_batch):
  loss, metrics = value(objectives.reward(config), llama.with_reward_head(params), pair_batch)
  assert loss == pytest.approx(np.log(2), abs=1e-6)
  assert metrics["accuracy"] == 0.0  # a tie is not right


def test_margins_and_the_language_model_term_enter_the_reward_loss(
  config, reward_params, pair_batch, pair_logps
):
  plain, _ = value(objectives.reward(config), reward_params, pair_batch)
  with_margin, _ = value(objectives.reward(config, use_margin=True), reward_params, pair_batch)
  assert with_margin > 1.5 * plain
  both, metrics = value(objectives.reward(config, lm_weight=0.5), reward_params, pair_batch)
  nll = -pair_logps[:, 0].sum() / 15  # three chosen answers of five tokens
  assert metrics["nll_chosen"] == pytest.approx(nll, abs=1e-4)
  assert both == pytest.approx(plain + 0.5 * nll, abs=1e-4)
  assert both != pytest.approx(plain - 0.5 * pair_logps[:, 1].sum() / 9, abs=1e-4)


def products(jaxpr):
  """The shapes of all matrix products of a traced program, those of its parts too."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      yield equation.outvars[0].aval.shape
    for part in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
      inner = getattr(part, "jaxpr", part)
      if hasattr(inner, "eqns"):
        yield from products(inner)


def places_with_logits(objective, params, batch, vocabulary) -> int:
  jaxpr = jax.make_jaxpr(lambda p, b: objective(p, b, None)[0])(params, batch).jaxpr
  return sum(math.prod(s[:-1]) for s in products(jaxpr) if s[-1] == vocabulary)


def test_the_language_model_term_of_rewards_has_logits_at_supervised_places_alone(
  config, reward_params, pair_batch
):
  objective = objectives.reward(config, lm_weight=0.5)
  gather = np.full((1, 40), -1, np.int32)
  gather[0, :24] = np.flatnonzero(pair_batch["mask"])
  gathered = pair_batch | {"gather": gather}
  both = [value(objective, reward_params, b) for b in (pair_batch, gathered)]
  assert close(*both, rtol=1e-6, atol=1e-6)
  missing = pair_batch | {"gather": np.where(np.arange(40) > 2, gather, -1)}
  assert not close(both[0], value(objective, reward_params, missing), rtol=1e-3)
  count = lambda b: places_with_logits(objective, reward_params, b, config.vocab_size)
  assert (count(pair_batch), count(gathered)) == (4 * 14, 40)


def test_nll_on_chosen_leaves_rejected_answers_out(config, params, pair_batch, pair_logps):
  loss, _ = value(objectives.nll_on_chosen(config), params, pair_batch)
  assert loss == pytest.approx(-pair_logps[:, 0].sum() / 15, abs=1e-4)
  assert loss != pytest.approx(-pair_logps.sum() / 24, abs=1e-3)


def test_padding_rows_do_not_count(config, params, pair_batch):
  poisoned = {name: x.copy() for name, x in pair_batch.items()}
  poisoned["reference"][3] = np.nan
  objective = objectives.dpo(config)
  loss, _ = value(objective, params, pair_batch)
  assert value(objective, params, poisoned)[0] == loss
  poisoned["example_weight"][3] = 1
  assert np.isnan(value(objective, params, poisoned)[0])


def test_weighted_objectives_add_up(config, params, pair_batch):
  dpo, nll = objectives.dpo(config), objectives.nll_on_chosen(config)
  loss, metrics = value(objectives.weighted((1.0, dpo), (0.2, nll)), params, pair_batch)
  parts = [value(o, params, pair_batch)[0] for o in (dpo, nll)]
  assert loss == pytest.approx(parts[0] + 0.2 * parts[1], abs=1e-5)
  assert loss != pytest.approx(parts[0] + parts[1], abs=1e-3)
  assert {"accuracy", "nll_chosen"} <= set(metrics)


@pytest.mark.parametrize(
  ("variant", "settings"), [("simpo", {"gap": 0.5}), ("cpo", {}), ("odds_ratio", {})]
)
def test_losses_without_a_reference_need_none(
  config, params, pair_batch, pair_logps, variant, settings
):
  objective = objectives.dpo(config, beta=2.0, variant=variant, **settings)
  without = {name: x for name, x in pair_batch.items() if name != "reference"}
  loss, metrics = value(objective, params, without)
  lengths = jnp.array([[5.0, 3.0]] * 3)
  policy = jnp.asarray(pair_logps)
  compared = policy if variant == "cpo" else policy / lengths
  taken = {"policy_A2": policy, "lengths_A2": lengths, "beta": 2.0, **settings}
  ((_, _, wanted),) = table.each(variant, **taken)
  assert loss == pytest.approx(float(wanted.mean()), rel=1e-4)
  assert metrics["margin"] == pytest.approx(
    2 * float((compared @ jnp.array([1, -1])).mean()), rel=1e-4
  )
  assert "gain_chosen" not in metrics
  logged = value(objective, params, pair_batch)[1]
  assert logged["gain_chosen"] != pytest.approx(logged["logp_chosen"], abs=1e-2)
  assert logged["margin"] == pytest.approx(metrics["margin"], rel=1e-5)
  with pytest.raises(KeyError, match="reference"):
    value(objectives.dpo(config), params, without)


def test_a_sum_of_losses_is_their_weighted_sum_each_logged(config, params, pair_batch):
  both, metrics = value(objectives.dpo(config, variant="ipo + 0.5*hinge"), params, pair_batch)
  ipo, hinge = (
    value(objectives.dpo(config, variant=name), params, pair_batch)[0] for name in ("ipo", "hinge")
  )
  assert both == pytest.approx(ipo + 0.5 * hinge, rel=1e-5)
  assert [metrics["loss_ipo"], metrics["loss_hinge"]] == pytest.approx([ipo, hinge], rel=1e-5)
  assert both != pytest.approx(ipo + hinge, rel=1e-3)


def test_label_smoothing_spreads_a_share_of_each_target(config, params, sft_batch):
  raw = log_softmax(np.asarray(logits(config, params, sft_batch["tokens"]), np.float64))
  spread = raw.mean(-1)[:, :-1][sft_batch["mask"][:, 1:] == 1].mean()
  plain, _ = value(objectives.sft(config), params, sft_batch)
  smoothed, metrics = value(objectives.sft(config, label_smoothing=0.1), params, sft_batch)
  assert smoothed == pytest.approx(0.9 * plain - 0.1 * spread, rel=1e-4)
  assert smoothed != pytest.approx(plain - 0.1 * spread, rel=1e-3)
  assert metrics["nll"] == pytest.approx(plain, abs=1e-5)


def test_labels_are_shifted_in_one_place(config, params, sft_batch, pair_batch, monkeypatch):
  """Breaking `next_tokens` changes every objective: none of them shifts labels for itself."""
  made = {
    "sft": (objectives.sft, sft_batch),
    "dpo": (objectives.dpo, pair_batch),
    "nll": (objectives.nll_on_chosen, pair_batch),
  }
  before = {name: value(make(config), params, batch)[0] for name, (make, batch) in made.items()}
  monkeypatch.setattr(logprobs, "next_tokens", lambda tokens_BT: tokens_BT)
  for name, (make, batch) in made.items():
    assert value(make(config), params, batch)[0] != pytest.approx(before[name], abs=1e-3), name


def test_half_precision_gives_nearly_the_same_loss(config, params, sft_batch):
  wanted, _ = value(objectives.sft(config), params, sft_batch)
  got, _ = value(objectives.sft(config.replace(dtype="bfloat16")), params, sft_batch)
  assert got == pytest.approx(wanted, rel=0.02)
  assert got != wanted


def test_means_add_by_sum_and_weight():
  parts = [Mean(jnp.array(6.0), jnp.array(3.0)), Mean(jnp.array(1.0), jnp.array(1.0))]
  assert (parts[0] + parts[1]).value() == 1.75
  assert np.mean([p.value() for p in parts]) == 1.5  # a mean of means is something else
  assert Mean.of(jnp.array([1.0, jnp.nan]), jnp.array([2.0, 0.0])).value() == 1.0
  assert close(Mean(jnp.array(0.0), jnp.array(0.0)).value(), 0.0)
