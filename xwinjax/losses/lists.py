"""Losses of lists: several answers to a prompt, with a score each; a number for each list.

policy_AS, gain_AS, lengths_AS   as in `losses.preference`, of all S answers
scores_AS                        how good each is, by a reward model or a judge
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from xwinjax.core.dims import check_alike
from xwinjax.losses.preference import token_means


def plackett_luce(gain_AS: jax.Array, scores_AS: jax.Array, *, beta: float) -> jax.Array:
  """-Σ_k log (exp(β gain_k) / Σ_{j ≥ k} exp(β gain_j)), answers by falling score.

  The likelihood of the whole ranking; of two answers it is DPO.

  Source: Rafailov et al. 2023, appendix A.3.
  """
  check_alike(gain_AS=gain_AS, scores_AS=scores_AS)
  order_AS = jnp.argsort(-scores_AS, axis=-1)
  value_AS = beta * jnp.take_along_axis(gain_AS, order_AS, axis=-1)
  after_AS = jax.lax.cumlogsumexp(value_AS, axis=value_AS.ndim - 1, reverse=True)
  return jnp.sum(after_AS - value_AS, axis=-1)


def rrhf(policy_AS: jax.Array, lengths_AS: jax.Array, scores_AS: jax.Array) -> jax.Array:
  """Σ_{score_i < score_j} max(0, p_i - p_j), p = log π(y|x) / |y|.

  Source: RRHF, Yuan et al. 2023; theirs is added to the best answer's cross-entropy.
  """
  check_alike(policy_AS=policy_AS, scores_AS=scores_AS)
  value_AS = token_means(policy_AS, lengths_AS)
  gap_ASS = value_AS[..., :, None] - value_AS[..., None, :]
  worse_ASS = scores_AS[..., :, None] < scores_AS[..., None, :]
  return jnp.sum(jnp.where(worse_ASS, jax.nn.relu(gap_ASS), 0.0), axis=(-2, -1))


def lipo(gain_AS: jax.Array, scores_AS: jax.Array, *, beta: float) -> jax.Array:
  """Σ_{ψ_i > ψ_j} Δ_ij log(1 + exp(-(s_i - s_j))), s = β gain: LiPO-λ.

  Δ_ij = |2^ψ_i - 2^ψ_j| · |1/log(1+τ_i) - 1/log(1+τ_j)|, τ the rank of an answer by s (1 the
  first; no gradient). ψ_i is the mean of P(i beats j) = σ(score_i - score_j) over all j, i's own
  included.

  Source: Liu et al. 2024, "LiPO", after LambdaRank (Burges et al. 2006).
  """
  check_alike(gain_AS=gain_AS, scores_AS=scores_AS)
  value_AS = beta * gain_AS
  label_AS = jax.nn.sigmoid(scores_AS[..., :, None] - scores_AS[..., None, :]).mean(-1)
  rank_AS = 1 + jnp.argsort(jnp.argsort(-jax.lax.stop_gradient(value_AS), axis=-1), axis=-1)
  pairs = lambda x_AS: x_AS[..., :, None] - x_AS[..., None, :]
  weight_ASS = jnp.abs(pairs(2.0**label_AS)) * jnp.abs(pairs(1 / jnp.log1p(rank_AS)))
  better_ASS = scores_AS[..., :, None] > scores_AS[..., None, :]
  losses_ASS = jnp.where(better_ASS, weight_ASS * -jax.nn.log_sigmoid(pairs(value_AS)), 0.0)
  return jnp.sum(losses_ASS, axis=(-2, -1))
