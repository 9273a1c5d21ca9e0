"""What a model gives for a batch: hidden states, log-probs, rewards.

Every function takes (model, params, batch), and settings by name: see `forward.over_items`. A batch
is a dict of arrays as `data.batching` makes them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from xwinjax.core.types import Batch, Params
from xwinjax.losses import logprobs
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig


def hidden_states(
  model: LlamaConfig, params: Params, batch: Batch, key: jax.Array | None = None
) -> jax.Array:
  """The trunk's hidden states [B, T, D] for a batch; `key` draws dropout, None runs without."""
  return llama.apply(
    model, params, batch["tokens"], batch.get("positions"), batch.get("segments"), dropout_key=key
  )


def token_logps(
  model: LlamaConfig, params: Params, batch: Batch, key: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(logps, lse, weights) [B, T] of a batch's supervised tokens; see `losses.logprobs`."""
  return logprobs.token_logps(
    hidden_states(model, params, batch, key),
    llama.unembedding(params),
    batch["tokens"],
    batch["mask"],
    batch.get("segments"),
    batch.get("gather"),
    model.operands,
  )


def pair_logps(
  model: LlamaConfig, params: Params, batch: Batch, key: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """(log-probs, supervised tokens) of both answers of each pair, [B, E, 2]; chosen first."""
  logps_BT, _, weights_BT = token_logps(model, params, batch, key)
  E = batch["example_weight"].shape[1]
  sums = [logprobs.branch_sums(x, batch["segments"], E, 2) for x in (logps_BT, weights_BT)]
  return sums[0], sums[1]


def pair_rewards(
  model: LlamaConfig, params: Params, batch: Batch, *, hidden_BTD: jax.Array | None = None
) -> jax.Array:
  """The reward head's value at the last token of both answers of each pair, [B, E, 2].

  `hidden_BTD` are the batch's hidden states, where they are at hand.
  """
  if hidden_BTD is None:
    hidden_BTD = hidden_states(model, params, batch)
  E = batch["example_weight"].shape[1]
  return logprobs.last_of_branch(llama.reward(params, hidden_BTD), batch["segments"], E, 2)


def branch_rewards(model: LlamaConfig, params: Params, batch: Batch, *, branches: int) -> jax.Array:
  """The reward head's value at the last token of each branch, [B, branches]; an example a row."""
  rewards_BT = llama.reward(params, hidden_states(model, params, batch))
  return logprobs.last_of_branch(rewards_BT, batch["segments"], 1, branches)[:, 0]


def branch_logps(model: LlamaConfig, params: Params, batch: Batch, *, branches: int) -> jax.Array:
  """The log-prob (nats) of each branch's supervised tokens, [B, branches]; an example a row."""
  logps_BT, _, _ = token_logps(model, params, batch)
  return logprobs.branch_sums(logps_BT, batch["segments"], 1, branches)[:, 0]


def level_probabilities(
  model: LlamaConfig, params: Params, batch: Batch, *, branches: int, levels: tuple[int, ...]
) -> jax.Array:
  """p(token | branch) of each token in `levels` after each branch, [B, branches, levels] in f32.

  An example a row; logits are computed at the branches' ends alone.
  """
  hidden_BTD = hidden_states(model, params, batch)
  at_BT = jnp.broadcast_to(jnp.arange(hidden_BTD.shape[1]), hidden_BTD.shape[:2])
  last_BR = logprobs.last_of_branch(at_BT, batch["segments"], 1, branches)[:, 0]
  hidden = jnp.take_along_axis(hidden_BTD, last_BR[..., None], axis=1)
  logps = jax.nn.log_softmax(llama.unembed(params, hidden), axis=-1)
  return jnp.exp(logps[..., jnp.asarray(levels)])
