"""The pairwise Bradley-Terry loss of reward models."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def bradley_terry(
  rewards_P2: jax.Array, *, margin_P: jax.Array | float = 0.0, centring: float = 0.0
) -> jax.Array:
  """-log σ(r_chosen - r_rejected - margin) + centring · (r_chosen + r_rejected)², a pair [P].

  Column 0 is the chosen answer. `margin_P` asks for a larger gap where annotators were sure
  (Llama 2, Touvron et al. 2023, eq. 2); `centring` pulls rewards towards zero mean, which the
  likelihood leaves free (Eisenstein et al. 2023, "Helping or Herding?").

  Source: Xwin-LM (Ni et al. 2024), the reward modelling stage; Bradley & Terry 1952.

  >>> bradley_terry(jnp.array([[1.0, 1.0], [2.0, 0.0]])).round(4).tolist()
  [0.6930999755859375, 0.12690000236034393]
  """
  if rewards_P2.shape[-1] != 2:
    raise ValueError(
      f"rewards_P2 has shape {rewards_P2.shape}; expected (P, 2) with column 0 the chosen answer"
    )
  rewards = rewards_P2.astype(jnp.float32)
  gap_P = rewards[..., 0] - rewards[..., 1]
  losses_P = -jax.nn.log_sigmoid(gap_P - margin_P)
  if centring:
    losses_P = losses_P + centring * (rewards[..., 0] + rewards[..., 1]) ** 2
  return losses_P
