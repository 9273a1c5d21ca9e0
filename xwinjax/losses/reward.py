"""The pairwise Bradley-Terry loss of reward models."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from xwinjax.core.dims import check_alike


def bradley_terry(
  rewards_A2: jax.Array, *, margin_A: jax.Array | float = 0.0, centring: float = 0.0
) -> jax.Array:
  """-log σ(r_chosen - r_rejected - margin) + centring · (r_chosen + r_rejected)², a pair [A].

  Column 0 is the chosen answer. `margin_A` asks for a larger gap where annotators were sure
  (Llama 2, Touvron et al. 2023, eq. 2); `centring` pulls rewards towards zero mean, which the
  likelihood leaves free (Eisenstein et al. 2023, "Helping or Herding?").

  Source: Xwin-LM (Ni et al. 2024), the reward modelling stage; Bradley & Terry 1952.

  >>> bradley_terry(jnp.array([[1.0, 1.0], [2.0, 0.0]])).round(4).tolist()
  [0.6930999755859375, 0.12690000236034393]
  """
  if rewards_A2.shape[-1] != 2:
    raise ValueError(
      f"rewards_A2 has shape {rewards_A2.shape}; expected (A, 2) with column 0 the chosen answer"
    )
  rewards = rewards_A2.astype(jnp.float32)
  gap_A = rewards[..., 0] - rewards[..., 1]
  if jnp.ndim(margin_A):
    check_alike(gap_A=gap_A, margin_A=margin_A)
  losses_A = -jax.nn.log_sigmoid(gap_A - margin_A)
  if centring:
    losses_A = losses_A + centring * (rewards[..., 0] + rewards[..., 1]) ** 2
  return losses_A


def pessimistic(rewards_AK: jax.Array, *, spread_weight: float) -> jax.Array:
  """mean_k r - λ var_k r of the rewards of K models, [A]; λ = spread_weight.

  Where the members of an ensemble disagree, none of them is to be believed.

  Source: uncertainty-weighted optimisation, Coste et al. 2023, "Reward Model Ensembles Help
  Mitigate Overoptimization".

  >>> pessimistic(jnp.array([[1.0, 3.0], [2.0, 2.0]]), spread_weight=0.5).tolist()
  [1.5, 2.0]
  """
  rewards = rewards_AK.astype(jnp.float32)
  return rewards.mean(-1) - spread_weight * rewards.var(-1)
