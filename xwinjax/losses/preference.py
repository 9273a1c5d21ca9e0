"""Losses of pairs of answers, on sequence log-probs alone: a number for each pair.

  policy_A2   log π(y|x), the sum over an answer's tokens, in nats; column 0 is the chosen answer
  gain_A2     log π(y|x) - log π_ref(y|x): see `gains`
  lengths_A2  an answer's supervised tokens
  m           gain(chosen) - gain(rejected)

The reference's log-probs are constants: no loss sends a gradient there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from xwinjax.core.dims import check_alike

SHAPE = "{name} has shape {shape}; expected (A, 2) with column 0 the chosen answer"


def _check_pairs(gain_A2: jax.Array) -> None:
  if not gain_A2.ndim or gain_A2.shape[-1] != 2:
    raise ValueError(SHAPE.format(name="gain_A2", shape=gain_A2.shape))


def gains(
  policy_A2: jax.Array, reference_A2: jax.Array, lengths_A2: jax.Array | None = None
) -> jax.Array:
  """log π(y|x) - log π_ref(y|x) of both answers [A, 2], in nats (per token given lengths).

  Of lists it is that of all answers, [A, S].
  """
  for name, array in (("policy_A2", policy_A2), ("reference_A2", reference_A2)):
    if array.ndim < 2:
      raise ValueError(SHAPE.format(name=name, shape=array.shape))
  check_alike(policy_A2=policy_A2, reference_A2=reference_A2)
  gain_A2 = policy_A2.astype(jnp.float32) - reference_A2.astype(jnp.float32)
  return gain_A2 if lengths_A2 is None else token_means(gain_A2, lengths_A2)


def margins(gain_A2: jax.Array) -> jax.Array:
  """What the chosen answer has more than the rejected one, [A]."""
  _check_pairs(gain_A2)
  return gain_A2[..., 0] - gain_A2[..., 1]


def token_means(policy_A2: jax.Array, lengths_A2: jax.Array) -> jax.Array:
  """log π(y|x) / |y|, [A, 2]; an answer of no tokens has 0."""
  check_alike(policy_A2=policy_A2, lengths_A2=lengths_A2)
  return policy_A2.astype(jnp.float32) / jnp.maximum(lengths_A2, 1)


def _right_and_wrong(gain_A2: jax.Array, beta: float) -> tuple[jax.Array, jax.Array]:
  """(log σ(βm), log σ(-βm)): how likely a label is, and the opposite one."""
  margin_A = margins(gain_A2)
  return jax.nn.log_sigmoid(beta * margin_A), jax.nn.log_sigmoid(-beta * margin_A)


def dpo(gain_A2: jax.Array, *, beta: float, label_smoothing: float = 0.0) -> jax.Array:
  """-(1-ε) log σ(βm) - ε log σ(-βm), with ε = label_smoothing.

  ε = 0 is DPO (Rafailov et al. 2023, eq. 7); ε > 0 its conservative form, cDPO (Mitchell 2023), for
  labels of which a share ε is wrong. While the policy equals the reference, it is log 2.

  Source: Xwin-LM (Ni et al. 2024) and Self-Rewarding LMs (Yuan et al. 2024) use ε = 0.

  >>> round(float(dpo(jnp.array([[-5.0, -5.0]]), beta=0.1)[0]), 6)
  0.693147
  """
  right, wrong = _right_and_wrong(gain_A2, beta)
  return -(1 - label_smoothing) * right - label_smoothing * wrong


def robust(gain_A2: jax.Array, *, beta: float, label_smoothing: float = 0.0) -> jax.Array:
  """(-(1-ε) log σ(βm) + ε log σ(-βm)) / (1-2ε): unbiased where a share ε < ½ of labels is wrong.

  Source: Chowdhury et al. 2024, "Provably Robust DPO".
  """
  right, wrong = _right_and_wrong(gain_A2, beta)
  return (label_smoothing * wrong - (1 - label_smoothing) * right) / (1 - 2 * label_smoothing)


def ipo(gain_A2: jax.Array, *, beta: float) -> jax.Array:
  """(m - 1/(2β))²: the margin is drawn to a number, not to infinity.

  Source: Azar et al. 2023, eq. 17.

  >>> ipo(jnp.array([[5.0, 0.0]]), beta=0.1).tolist()
  [0.0]
  """
  return (margins(gain_A2) - 1 / (2 * beta)) ** 2


def hinge(gain_A2: jax.Array, *, beta: float) -> jax.Array:
  """max(0, 1 - βm). Source: SLiC, Zhao et al. 2023; in this form Liu et al. 2023 (RSO)."""
  return jax.nn.relu(1 - beta * margins(gain_A2))


def dpop(gain_A2: jax.Array, *, beta: float, penalty: float) -> jax.Array:
  """-log σ(β (m - λ max(0, -gain(chosen)))), with λ = penalty: the chosen must not lose.

  Source: DPO-Positive, Pal et al. 2024 ("Smaug"); theirs is λ = 50 with β = 0.3.
  """
  margin_A, lost_A = margins(gain_A2), jax.nn.relu(-gain_A2[..., 0])
  return -jax.nn.log_sigmoid(beta * (margin_A - penalty * lost_A))


def cpo(policy_A2: jax.Array, *, beta: float) -> jax.Array:
  """-log σ(β (log π(chosen) - log π(rejected))): DPO whose reference is uniform.

  Source: contrastive preference optimisation, Xu et al. 2024; theirs is trained together
  with the chosen answers' cross-entropy.
  """
  return dpo(policy_A2.astype(jnp.float32), beta=beta)


def simpo(policy_A2: jax.Array, lengths_A2: jax.Array, *, beta: float, gap: float) -> jax.Array:
  """-log σ(β (log π(chosen)/|chosen| - log π(rejected)/|rejected|) - γ), with γ = gap.

  Source: SimPO, Meng et al. 2024, eq. 6.

  >>> round(float(simpo(jnp.array([[-6.0, -8.0]]), jnp.array([[3, 4]]), beta=2.0, gap=0.0)[0]), 6)
  0.693147
  """
  return -jax.nn.log_sigmoid(beta * margins(token_means(policy_A2, lengths_A2)) - gap)


def odds_ratio(policy_A2: jax.Array, lengths_A2: jax.Array) -> jax.Array:
  """-log σ(log odds(chosen) - log odds(rejected)), odds = p / (1-p), p = exp(log π(y|x)/|y|).

  Source: ORPO, Hong et al. 2024, eqs. 4 and 7; theirs weighs it by 0.1 beside the chosen answers'
  cross-entropy.
  """
  # A p that rounds to 1 has odds of 1e7 or so, and no gradient, rather than infinite ones.
  logp_A2 = jnp.minimum(token_means(policy_A2, lengths_A2), -1e-7)
  return -jax.nn.log_sigmoid(margins(logp_A2 - jnp.log(-jnp.expm1(logp_A2))))


def tdpo(gain_A2: jax.Array, kl_A2: jax.Array, *, beta: float, kl_weight: float) -> jax.Array:
  """-log σ(β (m - α (D(rejected) - sg D(chosen)))), with α = kl_weight, sg stopping gradients.

  D(y) = Σ_t KL(π_ref(·|x, y_<t) ‖ π(·|x, y_<t)), over an answer's tokens, is `kl_A2`: the rejected
  answer's divergence from the reference is held down token by token.

  Source: TDPO₂, Zeng et al. 2024, "Token-level DPO"; theirs is α = 0.5.
  """
  check_alike(gain_A2=gain_A2, kl_A2=kl_A2)
  apart_A = kl_A2[..., 1] - jax.lax.stop_gradient(kl_A2[..., 0])
  return -jax.nn.log_sigmoid(beta * (margins(gain_A2) - kl_weight * apart_A))


def cringe(
  policy_A2: jax.Array,
  lengths_A2: jax.Array,
  contrast_A2: jax.Array,
  *,
  gate_margin: float,
  gate_temperature: float,
  contrast_weight: float,
) -> jax.Array:
  """σ((b - M) / τ) · (nll(chosen)/|chosen| + α contrast(rejected)/|rejected|): pairwise Cringe.

  M = log π(chosen) - log π(rejected); b, τ and α are the three settings. The contrast of a token is
  -log σ(s⁺ - s), s its logit and s⁺ that of another token, drawn from the k most probable ones:
  see `logprobs.contrasts`; `contrast_A2` is its sum over an answer. The gate closes on pairs that
  are apart already.

  Source: Xu et al. 2023, "Some things are more CRINGE than others"; the loss of a token is
  Adolphs et al. 2022.
  """
  gate_A = jax.nn.sigmoid((gate_margin - margins(policy_A2)) / gate_temperature)
  nll_A2 = -token_means(policy_A2, lengths_A2)
  contrast_A2 = token_means(contrast_A2, lengths_A2)
  return gate_A * (nll_A2[..., 0] + contrast_weight * contrast_A2[..., 1])


def kto(
  gain_A2: jax.Array,
  desirable_A: jax.Array,
  weight_A: jax.Array,
  *,
  beta: float,
  desirable_weight: float,
  undesirable_weight: float,
) -> jax.Array:
  """λ (1 - σ(±β (gain - z))): + for a desirable answer and its λ, - for an undesirable one.

  Unpaired: column 0 is an answer that somebody liked or did not (`desirable_A`, 1 or 0), column 1
  another prompt's answer in its place. z = max(0, mean gain of column 1) over the batch, weighed by
  `weight_A`, estimates KL(π ‖ π_ref) and gets no gradient. Micro-batches have a z each.

  Source: Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization".
  """
  _check_pairs(gain_A2)
  check_alike(gain_A=gain_A2[..., 0], desirable_A=desirable_A, weight_A=weight_A)
  apart = jnp.sum(jnp.where(weight_A > 0, gain_A2[..., 1] * weight_A, 0.0))
  z = jax.nn.relu(jax.lax.stop_gradient(apart / jnp.maximum(jnp.sum(weight_A), 1e-9)))
  sign_A = jnp.where(desirable_A > 0, 1.0, -1.0)
  factor_A = jnp.where(desirable_A > 0, desirable_weight, undesirable_weight)
  return factor_A * jax.nn.sigmoid(-sign_A * beta * (gain_A2[..., 0] - z))
