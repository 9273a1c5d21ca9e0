"""What is minimised: functions (params, batch, key) -> (Mean or several, metrics).

Each builder binds a model to a loss of `xwinjax.losses`. The model is a Llama's config, or any
`forward.values.Forward`: (params, batch, key) -> (hidden states, head). The train step minimises
the sum of the returned means, each divided once by its whole weight; weights may depend on the
batch but not on the parameters. A new objective is a new function of this signature, and `weighted`
adds them up.

A batch is a dict of arrays (see `data.batching`): tokens, positions, segments, mask, all [B, T];
gather [G, M]; for pairs also example_weight [B, E], margin [B, E], and reference [B, E, 2].
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from xwinjax.core.types import Batch, Mean, Metrics, Params
from xwinjax.forward.values import (
  Model,
  answer_sums,
  hidden_and_head,
  last_rewards,
  logps_of,
  operands_of,
  token_logps,
)
from xwinjax.losses import logprobs, preference, table
from xwinjax.losses import reward as reward_losses
from xwinjax.losses import sft as sft_losses
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig

Means = Mean | tuple[Mean, ...]
# The reference's parameters, or what takes them out of the policy's: those beside its adapters.
Reference = Params | Callable[[Params], Params]
Objective = Callable[[Params, Batch, jax.Array | None], tuple[Means, Metrics]]


def sft(model: Model, *, z_loss: float = 0.0, label_smoothing: float = 0.0) -> Objective:
  """Mean cross-entropy of supervised tokens, in nats a token; `nll` is that without its extras."""

  def objective(params, batch, key):
    hidden_BTD, kernel_DV = hidden_and_head(model, params, batch, key)
    logps_BT, lse_BT, weights_BT = logps_of(model, batch, hidden_BTD, kernel_DV, batch["mask"])
    uniform_BT = None
    if label_smoothing:
      uniform_BT = logprobs.uniform_logps(hidden_BTD, kernel_DV, lse_BT)
    loss = sft_losses.cross_entropy(
      logps_BT, weights_BT, lse_BT, uniform_BT, z_loss=z_loss, label_smoothing=label_smoothing
    )
    metrics = {"nll": Mean.of(-logps_BT, weights_BT)}
    if z_loss:
      metrics["log_partition"] = Mean.of(lse_BT, weights_BT)
    return loss, metrics

  return objective


def nll_on_chosen(model: Model) -> Objective:
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
  model: Model, *, use_margin: bool = False, centring: float = 0.0, lm_weight: float = 0.0
) -> Objective:
  """Bradley-Terry on the rewards at each answer's last token.

  `lm_weight` adds that much cross-entropy of the chosen answers through the language model's own
  head, which keeps the trunk able to write (Yang et al. 2024, "Regularizing Hidden States").

  Raises: ValueError for `lm_weight` with a model of one's own, which has the one head it returns.
  """
  if lm_weight and not isinstance(model, LlamaConfig):
    raise ValueError("lm_weight needs a second head, of logits; only a Llama's is known here")

  def objective(params, batch, key):
    hidden_BTD, kernel_D = hidden_and_head(model, params, batch, key, reward=True)
    rewards_BE2 = last_rewards(batch, hidden_BTD, kernel_D)
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
    # The batch's gather holds rejected answers' tokens too, here with weight 0.
    mask = batch["mask"] * chosen
    logps_BT, _, weights_BT = logps_of(model, batch, hidden_BTD, llama.unembedding(params), mask)
    nll = Mean.of(-logps_BT, weights_BT)
    metrics["nll_chosen"] = nll
    return (loss, Mean(lm_weight * nll.total, nll.weight)), metrics

  return objective


def dpo(
  model: Model,
  *,
  beta: float = 0.1,
  variant: str = "sigmoid",
  length_normalised: bool = False,
  reference: Reference | None = None,
  rivals: int = 5,
  **settings: float,
) -> Objective:
  """Preference optimisation by a loss of `losses.table`, or a sum such as "sigmoid + 0.2*dpop".

  `settings` are those that the losses name: label_smoothing, gap, …. The batch's `reference` may be
  missing where no loss takes it; its `desirable` [B, E] is for unpaired answers, its `scores`
  [B, E, S] for lists. `reference` are the reference's parameters, of which "tdpo" takes logits;
  `rivals` are the most probable other tokens that "cringe" draws from.

  The metrics' margin and accuracy are of what the losses compare: gains, or log-probs where none
  takes a reference; means over tokens with `length_normalised`, or where a loss takes them. Of
  lists they compare the first answer with the last. A sum's losses are logged one by one, too.

  Raises: ValueError for a variant that is not in the table.
  """
  needed, kind = table.needs(variant), table.kind_of(variant)
  if "kl_A2" in needed and reference is None:
    raise ValueError(f"variant {variant!r} takes the reference's parameters")
  letters = "AS" if kind == "lists" else "A2"

  def objective(params, batch, key):
    answers = batch["scores"].shape[-1] if kind == "lists" else 2
    hidden_BTD, kernel_DV = head = hidden_and_head(model, params, batch, key)
    logps_BT, _, weights_BT = logps_of(model, batch, hidden_BTD, kernel_DV, batch["mask"])
    policy, lengths = (answer_sums(batch, x, answers) for x in (logps_BT, weights_BT))
    given = {f"policy_{letters}": policy, f"lengths_{letters}": lengths}
    gain = None
    if table.takes_reference(variant) or "reference" in batch:
      gain = preference.gains(policy, batch["reference"], lengths if length_normalised else None)
      given[f"gain_{letters}"] = gain
    if kind == "unpaired":
      given |= {"desirable_A": batch["desirable"], "weight_A": batch["example_weight"]}
    elif kind == "lists":
      given["scores_AS"] = batch["scores"]
    if "kl_A2" in needed:
      fixed = reference(params) if callable(reference) else reference
      given["kl_A2"] = answer_sums(batch, _divergences(model, fixed, batch, head))
    if "contrast_A2" in needed:
      contrasts_BT = _contrasts(model, batch, head, key, rivals)
      given["contrast_A2"] = answer_sums(batch, contrasts_BT)
    losses = table.each(variant, **given, beta=beta, **settings)
    metrics = preference_metrics(variant, given, batch["example_weight"], beta)
    if len(losses) > 1:
      weight_BE = batch["example_weight"]
      metrics |= {f"loss_{name}": Mean.of(values, weight_BE) for name, _, values in losses}
    return Mean.of(table.weighted_sum(losses), batch["example_weight"]), metrics

  return objective


def preference_metrics(
  variant: str, given: dict[str, jax.Array], weight_BE: jax.Array, beta: float
) -> Metrics:
  """What a preference loss's training is watched by; see `dpo`."""
  kind, needed = table.kind_of(variant), table.needs(variant)
  letters = "AS" if kind == "lists" else "A2"
  policy, lengths = given[f"policy_{letters}"], given[f"lengths_{letters}"]
  gain = given.get(f"gain_{letters}")
  if kind == "unpaired":
    gain_BE, kl_BE = given["gain_A2"][..., 0], given["gain_A2"][..., 1]
    good_BE = weight_BE * (given["desirable_A"] > 0)
    return {
      "gain_desirable": Mean.of(gain_BE, good_BE),
      "gain_undesirable": Mean.of(gain_BE, weight_BE - good_BE),
      "kl": Mean.of(kl_BE, weight_BE),
    }
  compared = gain
  if not table.takes_reference(variant):
    by_token = f"lengths_{letters}" in needed
    compared = preference.token_means(policy, lengths) if by_token else policy
  assert compared is not None
  margin_BE = beta * (compared[..., 0] - compared[..., -1])
  metrics = {
    "accuracy": Mean.of((margin_BE > 0).astype(jnp.float32), weight_BE),
    "margin": Mean.of(margin_BE, weight_BE),
  }
  for name, values in (("logp", policy), ("gain", gain), ("kl", given.get("kl_A2"))):
    if values is not None:
      metrics[f"{name}_chosen"] = Mean.of(values[..., 0], weight_BE)
      metrics[f"{name}_rejected"] = Mean.of(values[..., -1], weight_BE)
  return metrics


def _divergences(model: Model, reference: Params, batch: Batch, head) -> jax.Array:
  """KL(reference ‖ policy) of each supervised token, [B, T]."""
  theirs = hidden_and_head(model, jax.lax.stop_gradient(reference), batch)
  return _over_logits(model, logprobs.divergence, [head, theirs], batch)


def _contrasts(model: Model, batch: Batch, head, key: jax.Array | None, rivals: int) -> jax.Array:
  """Cringe's contrast of each supervised token, [B, T]."""
  own = None if key is None else jax.random.fold_in(key, 1)  # dropout has the key itself
  noise = logprobs.drawn(own, batch["tokens"], batch.get("gather"), rivals)
  return _over_logits(model, logprobs.contrast, [head], batch, noise)


def _over_logits(model: Model, statistic, heads, batch: Batch, *more: jax.Array) -> jax.Array:
  tokens, mask = batch["tokens"], batch["mask"]
  segments, gather = batch.get("segments"), batch.get("gather")
  operands = operands_of(model)
  return logprobs.over_logits(
    statistic, heads, tokens, mask, segments, gather, *more, operands=operands
  )


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
