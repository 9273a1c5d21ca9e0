"""What is minimised: functions (params, batch, key) -> (Mean or several, metrics).

Each builder binds a model to a loss of `xwinjax.losses`. The train step minimises the sum of the
returned means, each divided once by its whole weight; weights may depend on the batch but not on
the parameters. A new objective is a new function of this signature, and `weighted` adds them up.

A batch is a dict of arrays (see `data.batching`): tokens, positions, segments, mask, all [B, T];
gather [G, M]; for pairs also example_weight [B, E], margin [B, E], and reference [B, E, 2].
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from xwinjax.core.types import Batch, Mean, Metrics, Params
from xwinjax.forward.values import hidden_states, pair_logps, pair_rewards, token_logps
from xwinjax.losses import logprobs, preference
from xwinjax.losses import reward as reward_losses
from xwinjax.losses import sft as sft_losses
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig

Means = Mean | tuple[Mean, ...]
Objective = Callable[[Params, Batch, jax.Array | None], tuple[Means, Metrics]]


def sft(model: LlamaConfig, *, z_loss: float = 0.0) -> Objective:
  """Mean cross-entropy of supervised tokens, in nats a token."""

  def objective(params, batch, key):
    logps_BT, lse_BT, weights_BT = token_logps(model, params, batch, key)
    loss = sft_losses.cross_entropy(logps_BT, weights_BT, lse_BT, z_loss=z_loss)
    return loss, {"nll": Mean.of(-logps_BT, weights_BT)}

  return objective


def nll_on_chosen(model: LlamaConfig) -> Objective:
  """Mean cross-entropy of the chosen answers of a batch of pairs."""

  def objective(params, batch, key):
    logps_BT, _, weights_BT = token_logps(model, params, batch, key)
    E = batch["example_weight"].shape[1]
    logps, lengths = (
      logprobs.branch_sums(x, batch["segments"], E, 1)[..., 0] * (batch["example_weight"] > 0)
      for x in (logps_BT, weights_BT)
    )
    loss = Mean(-jnp.sum(logps), jnp.sum(lengths))
    return loss, {"nll_chosen": loss}

  return objective


def reward(
  model: LlamaConfig, *, use_margin: bool = False, centring: float = 0.0, lm_weight: float = 0.0
) -> Objective:
  """Bradley-Terry on the rewards at each answer's last token.

  `lm_weight` adds that much cross-entropy of the chosen answers through the language model's own
  head, which keeps the trunk able to write (Yang et al. 2024, "Regularizing Hidden States").
  """

  def objective(params, batch, key):
    hidden_BTD = hidden_states(model, params, batch, key)
    rewards_BE2 = pair_rewards(model, params, batch, hidden_BTD=hidden_BTD)
    weight_BE = batch["example_weight"]
    margin = batch["margin"] if use_margin else 0.0
    losses_BE = reward_losses.bradley_terry(rewards_BE2, margin_A=margin, centring=centring)
    gap_BE = rewards_BE2[..., 0] - rewards_BE2[..., 1]
    loss = Mean.of(losses_BE, weight_BE)
    metrics = {
      "accuracy": Mean.of((gap_BE > 0).astype(jnp.float32), weight_BE),
      "margin": Mean.of(gap_BE, weight_BE),
      "reward": Mean.of(rewards_BE2.mean(-1), weight_BE),
    }
    if not lm_weight:
      return loss, metrics
    chosen = (batch["segments"] % logprobs.BRANCHES) == 1
    logps_BT, _, weights_BT = logprobs.token_logps(
      hidden_BTD,
      llama.unembedding(params),
      batch["tokens"],
      batch["mask"] * chosen,
      batch["segments"],
      batch.get("gather"),  # rejected answers' tokens too, with weight 0
      model.operands,
    )
    nll = Mean.of(-logps_BT, weights_BT)
    metrics["nll_chosen"] = nll
    return (loss, Mean(lm_weight * nll.total, nll.weight)), metrics

  return objective


def dpo(
  model: LlamaConfig,
  *,
  beta: float = 0.1,
  variant: str = "sigmoid",
  label_smoothing: float = 0.0,
  length_normalised: bool = False,
) -> Objective:
  """Direct preference optimisation against reference log-probs carried by the batch.

  The metrics' gains, margin and accuracy are of what the loss compares: means over tokens with
  `length_normalised`, sums without.
  """

  def objective(params, batch, key):
    policy_BE2, lengths_BE2 = pair_logps(model, params, batch, key)
    weight_BE, reference_BE2 = batch["example_weight"], batch["reference"]
    divisors_BE2 = lengths_BE2 if length_normalised else None
    losses_BE = preference.dpo(
      policy_BE2,
      reference_BE2,
      beta=beta,
      variant=variant,
      label_smoothing=label_smoothing,
      lengths_A2=divisors_BE2,
    )
    gain_BE2 = preference.gains(policy_BE2, reference_BE2, divisors_BE2)
    margin_BE = beta * (gain_BE2[..., 0] - gain_BE2[..., 1])
    metrics = {
      "accuracy": Mean.of((margin_BE > 0).astype(jnp.float32), weight_BE),
      "margin": Mean.of(margin_BE, weight_BE),
      "logp_chosen": Mean.of(policy_BE2[..., 0], weight_BE),
      "logp_rejected": Mean.of(policy_BE2[..., 1], weight_BE),
      "gain_chosen": Mean.of(gain_BE2[..., 0], weight_BE),
      "gain_rejected": Mean.of(gain_BE2[..., 1], weight_BE),
    }
    return Mean.of(losses_BE, weight_BE), metrics

  return objective


def weighted(*parts: tuple[float, Objective]) -> Objective:
  """The weighted sum of objectives on the same batch: `weighted((1.0, dpo(…)), (0.2, nll(…)))`.

  Each part runs the model for itself; XLA merges what is the same computation. With dropout all
  parts see the same key.
  """

  def objective(params, batch, key):
    means: list[Mean] = []
    metrics: Metrics = {}
    for i, (weight, part) in enumerate(parts):
      loss, values = part(params, batch, key)
      part_means = loss if isinstance(loss, tuple) else (loss,)
      means += [Mean(weight * mean.total, mean.weight) for mean in part_means]
      metrics |= {name if name not in metrics else f"{name}_{i}": v for name, v in values.items()}
    return tuple(means), metrics

  return objective
