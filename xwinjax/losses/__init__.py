"""Losses on plain arrays: they know nothing of models, batches or optimizers."""

from xwinjax.losses.logprobs import branch_sums, last_of_branch, target_weights, token_logps
from xwinjax.losses.preference import dpo, gains
from xwinjax.losses.reward import bradley_terry
from xwinjax.losses.sft import cross_entropy

__all__ = [
  "bradley_terry",
  "branch_sums",
  "cross_entropy",
  "dpo",
  "gains",
  "last_of_branch",
  "target_weights",
  "token_logps",
]
