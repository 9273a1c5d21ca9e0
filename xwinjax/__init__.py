"""The alignment chain of Xwin-LM, Self-Rewarding LMs and LIMA for Llama models.

  from xwinjax import OptimConfig, huggingface, init_state, make_optimizer, make_train_step
  from xwinjax import objectives

  config, params = huggingface.load("FOLDER")
  objective = objectives.weighted(
      (1.0, objectives.dpo(config, beta=0.1)), (0.2, objectives.nll_on_chosen(config))
  )
  optimizer = make_optimizer(OptimConfig(lr=1e-6), steps=1000)
  step, state = make_train_step(objective, optimizer), init_state(params, optimizer)
  state, metrics = step(state, batch)

docs/your_own_objective.md goes through it, with the batch and a loss of one's own. What is below is
imported when it is first used, so that `import xwinjax` costs nothing.
"""

import importlib
from typing import Any

_PUBLIC = {
  # modules
  "attention": "model.attention",
  "batching": "data.batching",
  "formats": "data.formats",
  "heldout": "eval.heldout",
  "huggingface": "checkpoint.huggingface",
  "items": "data.items",
  "llama": "model.llama",
  "losses": "losses",
  "objectives": "train.objectives",
  "sample": "sample",
  "score": "judge.score",
  "tiny": "testing.tiny",
  "values": "forward.values",
  "winrate": "eval.winrate",
  # functions and classes
  "LlamaConfig": "model.config:LlamaConfig",
  "Mean": "core.types:Mean",
  "Message": "data.records:Message",
  "OptimConfig": "train.optim:OptimConfig",
  "Pair": "data.records:Pair",
  "Renderer": "data.templates:Renderer",
  "Tokenizer": "data.tokenizer:Tokenizer",
  "UserError": "core.errors:UserError",
  "get_template": "data.templates:get_template",
  "init_state": "train.step:init_state",
  "make_optimizer": "train.optim:make_optimizer",
  "make_train_step": "train.step:make_train_step",
  "reference_logps": "stages.reference:reference_logps",
}


def __getattr__(name: str) -> Any:
  if name not in _PUBLIC:
    raise AttributeError(f"module 'xwinjax' has no attribute {name!r}")
  module, _, attribute = _PUBLIC[name].partition(":")
  owner = importlib.import_module(f"xwinjax.{module}")
  return getattr(owner, attribute) if attribute else owner


def __dir__() -> list[str]:
  return sorted(_PUBLIC)
