"""What a model gives for a batch: hidden states, log-probs, rewards.

Every function takes (model, params, batch), and settings by name: see `forward.over_items`. A batch
is a dict of arrays as `data.batching` makes them. A model is a Llama's config, or any `Forward`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from xwinjax.core.types import Batch, Params
from xwinjax.losses import logprobs
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig

# (params, batch, key or None) -> (hidden states [B, T, D], the head on them): a kernel [D, V] that
# gives logits or, in a reward model, [D]. Where the batch has segments, it is the model that keeps
# a token from seeing what `core.segments` says it does not.
Forward = Callable[[Params, Batch, jax.Array | None], tuple[jax.Array, jax.Array]]
Model = LlamaConfig | Forward


def hidden_states(
  model: LlamaConfig, params: Params, batch: Batch, key: jax.Array | None = None
) -> jax.Array:
  """The trunk's hidden states [B, T, D] for a batch; `key` draws dropout, None runs without."""
  return llama.apply(
    model, params, batch["tokens"], batch.get("positions"), batch.get("segments"), dropout_key=key
  )


def hidden_and_head(
  model: Model, params: Params, batch: Batch, key: jax.Array | None = None, *, reward: bool = False
) -> tuple[jax.Array, jax.Array]:
  """(hidden states [B, T, D], the head's kernel [D, V]; with `reward` that of rewards, [D])."""
  if not isinstance(model, LlamaConfig):
    return model(params, batch, key)
  head = params["reward"]["kernel"] if reward else llama.unembedding(params)
  return hidden_states(model, params, batch, key), head


def logps_of(
  model: Model, batch: Batch, hidden_BTD: jax.Array, kernel_DV: jax.Array, mask_BT: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(logps, lse, weights) [B, T] of the tokens in `mask_BT`; see `losses.logprobs`."""
  return logprobs.token_logps(
    hidden_BTD,
    kernel_DV,
    batch["tokens"],
    mask_BT,
    batch.get("segments"),
    batch.get("gather"),
    operands_of(model),
  )


def operands_of(model: Model) -> str:
  """The dtype that a Llama's products are computed in; "" where it is that of their numbers."""
  return model.operands if isinstance(model, LlamaConfig) else ""


def token_logps(
  model: Model, params: Params, batch: Batch, key: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(logps, lse, weights) [B, T] of a batch's supervised tokens; see `losses.logprobs`."""
  return logps_of(model, batch, *hidden_and_head(model, params, batch, key), batch["mask"])


def pair_logps(
  model: Model, params: Params, batch: Batch, key: jax.Array | None = None, *, answers: int = 2
) -> tuple[jax.Array, jax.Array]:
  """(log-probs, supervised tokens) of both answers of each pair, [B, E, 2]; chosen first.

  Of lists they are of all `answers`, [B, E, answers].
  """
  logps_BT, _, weights_BT = token_logps(model, params, batch, key)
  return answer_sums(batch, logps_BT, answers), answer_sums(batch, weights_BT, answers)


def answer_sums(batch: Batch, values_BT: jax.Array, answers: int = 2) -> jax.Array:
  """Sums over each answer's tokens, [B, E, answers]."""
  examples = batch["example_weight"].shape[1]
  return logprobs.branch_sums(values_BT, batch["segments"], examples, answers)


def last_rewards(batch: Batch, hidden_BTD: jax.Array, kernel_D: jax.Array) -> jax.Array:
  """The rewards at the last token of both answers of each pair, [B, E, 2] in f32."""
  rewards_BT = hidden_BTD.astype(jnp.float32) @ kernel_D
  return logprobs.last_of_branch(rewards_BT, batch["segments"], batch["example_weight"].shape[1], 2)


def pair_rewards(model: Model, params: Params, batch: Batch) -> jax.Array:
  """The reward head's value at the last token of both answers of each pair, [B, E, 2]."""
  return last_rewards(batch, *hidden_and_head(model, params, batch, reward=True))


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
