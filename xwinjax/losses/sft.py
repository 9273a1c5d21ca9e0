"""Cross-entropy on supervised tokens."""

from __future__ import annotations

import jax

from xwinjax.core.types import Mean


def cross_entropy(
  logps_BT: jax.Array,
  weights_BT: jax.Array,
  lse_BT: jax.Array | None = None,
  *,
  z_loss: float = 0.0,
) -> Mean:
  """-log p(target) + z_loss · logsumexp(logits)², in nats a supervised token.

  Source: z-loss from PaLM (Chowdhery et al. 2022), section 5; 0 in all three papers of this
  package.

  >>> import jax.numpy as jnp
  >>> float(cross_entropy(jnp.array([[-1.0, -3.0, 9.0]]), jnp.array([[1.0, 1.0, 0.0]])).value())
  2.0
  """
  losses = -logps_BT
  if z_loss:
    if lse_BT is None:
      raise ValueError("z_loss needs lse_BT, the log-sum-exp of the logits")
    losses = losses + z_loss * lse_BT**2
  return Mean.of(losses, weights_BT)
