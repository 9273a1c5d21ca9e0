"""Cross-entropy on supervised tokens."""

from __future__ import annotations

import jax

from xwinjax.core.dims import check_alike
from xwinjax.core.types import Mean


def cross_entropy(
  logps_BT: jax.Array,
  weights_BT: jax.Array,
  lse_BT: jax.Array | None = None,
  uniform_BT: jax.Array | None = None,
  *,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
) -> Mean:
  """-(1-ε) log p(target) - ε mean_v log p(v) + z_loss · logsumexp(logits)², in nats a token.

  ε = label_smoothing takes that share of a target from its token and spreads it over all V;
  `uniform_BT` is the mean over them (`logprobs.uniform_logps`). Both settings are 0 in all three
  papers of this package.

  Source: label smoothing from Szegedy et al. 2016, section 7; z-loss from PaLM (Chowdhery et al.
  2022), section 5.

  >>> import jax.numpy as jnp
  >>> float(cross_entropy(jnp.array([[-1.0, -3.0, 9.0]]), jnp.array([[1.0, 1.0, 0.0]])).value())
  2.0
  """
  check_alike(logps_BT=logps_BT, weights_BT=weights_BT, lse_BT=lse_BT, uniform_BT=uniform_BT)
  losses = -logps_BT
  if label_smoothing:
    if uniform_BT is None:
      raise ValueError("label_smoothing needs uniform_BT, the mean log-prob over the vocabulary")
    losses = (1 - label_smoothing) * losses - label_smoothing * uniform_BT
  if z_loss:
    if lse_BT is None:
      raise ValueError("z_loss needs lse_BT, the log-sum-exp of the logits")
    losses = losses + z_loss * lse_BT**2
  return Mean.of(losses, weights_BT)
