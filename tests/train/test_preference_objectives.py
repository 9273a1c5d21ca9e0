"""Losses of what a batch of pairs alone does not hold: token-wise KL, drawn rivals, single answers,
lists. Each against sums by hand over the answers' own logits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import logits, small_params
from goldens.reference import log_softmax

from xwinjax.core.segments import segment
from xwinjax.losses import lists, preference
from xwinjax.train import objectives
from xwinjax.train.step import make_gradient

PLACES = ((slice(3, 8), slice(4, 9)), (slice(9, 12), slice(10, 13)))  # of states, of their targets
WEIGHT = np.array([1.0, 1, 1, 0])


def value(objective, params, batch, key=None):
  """(loss, metrics), each mean divided out."""
  loss, metrics = jax.jit(lambda p, b: objective(p, b, key))(params, batch)
  means = loss if isinstance(loss, tuple) else (loss,)
  return float(sum(m.value() for m in means)), {k: float(m.value()) for k, m in metrics.items()}


@pytest.fixture(scope="module")
def all_logits(config, params, pair_batch):
  """Log-probs [pair, place, word] by the model, and by another."""
  batch = [pair_batch[name] for name in ("tokens", "positions", "segments")]
  return tuple(
    log_softmax(np.asarray(logits(config, p, *batch), np.float64))
    for p in (params, small_params(config, seed=5))
  )


def test_tdpo_holds_the_divergence_of_each_token(config, params, pair_batch, all_logits):
  ours, theirs = all_logits
  each = (np.exp(theirs) * (theirs - ours)).sum(-1)
  kl = np.array([[row[states].sum() for states, _ in PLACES] for row in each[:3]])
  objective = objectives.dpo(
    config, variant="tdpo", reference=small_params(config, seed=5), beta=0.2, kl_weight=0.5
  )
  loss, metrics = value(objective, params, pair_batch)
  assert metrics["kl_chosen"] == pytest.approx(kl[:, 0].mean(), rel=1e-4)
  assert metrics["kl_rejected"] == pytest.approx(kl[:, 1].mean(), rel=1e-4)
  policy = np.array([metrics["logp_chosen"], metrics["logp_rejected"]])
  assert np.isfinite(policy).all()
  plain = objectives.dpo(config, variant="tdpo", reference=params, beta=0.2, kl_weight=0.5)
  unmoved, metrics = value(plain, params, pair_batch)
  assert metrics["kl_rejected"] == pytest.approx(0, abs=1e-4)
  assert unmoved == pytest.approx(value(objectives.dpo(config, beta=0.2), params, pair_batch)[0])
  assert loss != pytest.approx(unmoved, abs=1e-3)
  with pytest.raises(ValueError, match="takes the reference's parameters"):
    objectives.dpo(config, variant="tdpo", kl_weight=0.5)


def test_cringe_takes_the_most_probable_other_token(config, params, pair_batch, all_logits):
  ours, settings = all_logits[0], {"gate_margin": 0.0, "gate_temperature": 5.0}
  wanted, without = [], []
  for b, row in enumerate(ours[:3]):
    logps, contrasts = [], []
    for states, targets in PLACES:
      words = pair_batch["tokens"][b][targets]
      own = row[states][np.arange(len(words)), words]
      others = row[states].copy()
      others[np.arange(len(words)), words] = -np.inf
      logps.append(own)
      contrasts.append(np.logaddexp(0, own - others.max(-1)))
    gate = 1 / (1 + np.exp((logps[0].sum() - logps[1].sum()) / 5.0))
    wanted.append(gate * (-logps[0].mean() + 2.0 * contrasts[1].mean()))
    without.append(gate * -logps[0].mean())
  batch = {name: x for name, x in pair_batch.items() if name != "reference"}
  objective = objectives.dpo(config, variant="cringe", rivals=1, contrast_weight=2.0, **settings)
  loss, _ = value(objective, params, batch)
  assert loss == pytest.approx(np.mean(wanted), rel=1e-4)
  assert loss != pytest.approx(np.mean(without), rel=1e-2)
  drawn = objectives.dpo(config, variant="cringe", rivals=5, contrast_weight=2.0, **settings)
  keys = [jax.random.key(i) for i in (0, 0, 1)]
  first, again, other = (value(drawn, params, batch, key)[0] for key in keys)
  assert first == again != other


def test_kto_takes_its_kl_from_another_prompts_answer(config, params, pair_batch):
  desirable = np.array([1.0, 0, 1, 0], np.float32)[:, None]
  batch = pair_batch | {"desirable": desirable}
  settings = {"beta": 0.2, "desirable_weight": 1.0, "undesirable_weight": 2.0}
  plain, _ = objectives.dpo(config, beta=0.2)(params, batch, None)
  policy = jnp.stack([jnp.asarray(x) for x in _policy(config, params, batch)])
  gain = preference.gains(policy, jnp.asarray(batch["reference"][:, 0]))
  wanted = preference.kto(gain[:3], desirable[:3, 0], jnp.ones(3), **settings).mean()
  objective = objectives.dpo(config, variant="kto", **settings)
  loss, metrics = value(objective, params, batch)
  assert loss == pytest.approx(float(wanted), rel=1e-4)
  assert metrics["kl"] == pytest.approx(float(gain[:3, 1].mean()), rel=1e-3)
  assert metrics["gain_undesirable"] == pytest.approx(float(gain[1, 0]), rel=1e-3)
  assert value(objective, params, batch | {"desirable": 1 - desirable})[0] != pytest.approx(loss)
  assert loss != pytest.approx(float(plain.value()))


def _policy(config, params, batch):
  from xwinjax.forward import values

  return values.pair_logps(config, params, batch)[0][:, 0]


@pytest.fixture(scope="module")
def list_batch(pair_batch):
  """The rows of the pairs, whose longer answer is now two: three answers of 2, 2 and 3 tokens."""
  segments = np.repeat(
    [segment(1), segment(1, 1), segment(1, 2), segment(1, 3), 0], [3, 3, 3, 4, 1]
  ) * (WEIGHT[:, None] > 0)
  positions = np.array([0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6, 0])
  mask = np.array([0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0]) * (WEIGHT[:, None] > 0)
  rng = np.random.default_rng(3)
  return pair_batch | {
    "segments": segments.astype(np.int32),
    "positions": (positions * (WEIGHT[:, None] > 0)).astype(np.int32),
    "mask": mask.astype(np.uint8),
    "scores": -np.sort(-rng.normal(size=(4, 1, 3))).astype(np.float32),
    "reference": rng.normal(-8, 1, (4, 1, 3)).astype(np.float32),
  }


@pytest.mark.parametrize("variant", ["plackett_luce", "lipo", "rrhf"])
def test_lists_compare_all_answers_of_a_prompt(config, params, list_batch, variant):
  from xwinjax.forward import values

  policy, lengths = values.pair_logps(config, params, list_batch, answers=3)
  assert lengths[:3, 0].tolist() == [[2, 2, 3]] * 3
  policy, lengths, scores = policy[:3, 0], lengths[:3, 0], list_batch["scores"][:3, 0]
  gain = policy - list_batch["reference"][:3, 0]
  wanted = {
    "plackett_luce": lambda s: lists.plackett_luce(gain, s, beta=0.1),
    "lipo": lambda s: lists.lipo(gain, s, beta=0.1),
    "rrhf": lambda s: lists.rrhf(policy, lengths, s),
  }[variant]
  objective = objectives.dpo(config, variant=variant, beta=0.1)
  loss, metrics = value(objective, params, list_batch)
  assert loss == pytest.approx(float(wanted(scores).mean()), rel=1e-4)
  assert loss != pytest.approx(float(wanted(scores[:, ::-1]).mean()), rel=1e-3)
  compared = policy / lengths if variant == "rrhf" else gain
  margin = 0.1 * (compared[:, 0] - compared[:, -1]).mean()
  assert metrics["margin"] == pytest.approx(float(margin), rel=1e-3)


@pytest.mark.parametrize(
  ("variant", "settings"),
  [
    ("ipo + 0.5*simpo", {"gap": 0.5}),
    ("cringe", {"gate_margin": 0.0, "gate_temperature": 5.0, "contrast_weight": 1.0, "rivals": 1}),
  ],
)
def test_microbatches_give_the_gradient_of_the_whole(config, params, pair_batch, variant, settings):
  objective = objectives.dpo(config, variant=variant, **settings)
  of = lambda n: jax.jit(make_gradient(objective, n))(params, pair_batch, jax.random.key(0))[2]
  near = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-3, atol=1e-5), of(1), of(2))
  assert all(jax.tree.leaves(near))
