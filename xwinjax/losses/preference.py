"""Direct preference optimisation and its relatives, on sequence log-probs alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp

VARIANTS = ("sigmoid", "ipo", "hinge")


def gains(
  policy_A2: jax.Array, reference_A2: jax.Array, lengths_A2: jax.Array | None = None
) -> jax.Array:
  """log π(y|x) - log π_ref(y|x) of both answers [A, 2], in nats (per token given lengths)."""
  for name, array in (("policy_A2", policy_A2), ("reference_A2", reference_A2)):
    if array.shape[-1] != 2:
      raise ValueError(
        f"{name} has shape {array.shape}; expected (A, 2) with column 0 the chosen answer"
      )
  gain_A2 = policy_A2.astype(jnp.float32) - reference_A2.astype(jnp.float32)
  return gain_A2 if lengths_A2 is None else gain_A2 / jnp.maximum(lengths_A2, 1)


def dpo(
  policy_A2: jax.Array,
  reference_A2: jax.Array,
  *,
  beta: float,
  variant: str = "sigmoid",
  label_smoothing: float = 0.0,
  lengths_A2: jax.Array | None = None,
) -> jax.Array:
  """The loss of each pair [A]; column 0 of every array is the chosen answer.

  With m = gain(chosen) - gain(rejected), gain = log π - log π_ref, and ε = label_smoothing:

    sigmoid   -(1-ε) log σ(βm) - ε log σ(-βm)     DPO, Rafailov et al. 2023, eq. 7; ε > 0 is the
                                                  conservative form of Mitchell 2023
    ipo       (m - 1/(2β))²                       Azar et al. 2023, eq. 17
    hinge     max(0, 1 - βm)                      SLiC, Zhao et al. 2023

  With `lengths_A2` (tokens) each gain is a mean over tokens rather than a sum, which removes the
  pull towards long answers. While the policy equals the reference, `sigmoid` is log 2.

  Source: Xwin-LM (Ni et al. 2024) and Self-Rewarding LMs (Yuan et al. 2024) use `sigmoid`.

  >>> same = jnp.array([[-5.0, -7.0]])
  >>> round(float(dpo(same, same, beta=0.1)[0]), 6)
  0.693147
  """
  if variant not in VARIANTS:
    raise ValueError(f"variant {variant!r} is not one of {', '.join(VARIANTS)}")
  if label_smoothing and variant != "sigmoid":
    raise ValueError(f"label_smoothing is defined for variant 'sigmoid', not {variant!r}")
  gain_A2 = gains(policy_A2, reference_A2, lengths_A2)
  margin_A = gain_A2[..., 0] - gain_A2[..., 1]
  if variant == "ipo":
    return (margin_A - 1 / (2 * beta)) ** 2
  if variant == "hinge":
    return jax.nn.relu(1 - beta * margin_A)
  right, wrong = jax.nn.log_sigmoid(beta * margin_A), jax.nn.log_sigmoid(-beta * margin_A)
  return -(1 - label_smoothing) * right - label_smoothing * wrong
