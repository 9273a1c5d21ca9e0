"""What a base model knows of its world: facts it writes rightly, lies it tells from truth."""

from __future__ import annotations

import random

import numpy as np

from xwinjax.core.types import Params
from xwinjax.data import items
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Counts
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.forward.over_items import jitted, over_items
from xwinjax.forward.values import pair_logps
from xwinjax.model.config import LlamaConfig
from xwinjax.sandbox.world import ATTRIBUTES, World


def measured(
  config: LlamaConfig, params: Params, tokenizer: Tokenizer, world: World
) -> dict[str, float]:
  """Shares of the world's facts, each beside a lie that differs in its value.

  `facts_written`: the model finds the fact likelier than the lie. `facts_judged`: after the fact it
  finds "Right!" likelier than "Wrong!", and after the lie the other way round; a coin has 0.25.
  A model that lacks the first cannot answer; one that lacks the second cannot be taught to judge.
  """
  rng, builder = random.Random(f"knowledge-{world.seed}"), items.Builder()
  facts = [world.fact(name, attribute) for name in world.names for attribute in ATTRIBUTES]
  for i, fact in enumerate(facts):
    true, false = (tokenizer.encode(f.sentence()) for f in (fact, world.invent(fact, rng)))
    words = [tokenizer.encode(word) for word in ("Right!", "Wrong!")]
    builder.tree(str(3 * i), tokenizer.opening, [true, false])
    builder.tree(str(3 * i + 1), [*tokenizer.opening, *true], words)
    builder.tree(str(3 * i + 2), [*tokenizer.opening, *false], words[::-1])
  data = builder.build(Counts(kept=3 * len(facts)), branched=True)
  data = data.with_fields(number=np.arange(len(data), dtype=np.int32))
  right = np.zeros(len(data), bool)
  for arrays, (logps, _) in over_items(
    jitted(pair_logps, config), params, data, BatchConfig(batch_tokens=4096, buckets=2), None
  ):
    present = arrays["example_weight"] > 0
    right[arrays["number"][present]] = (logps[..., 0] > logps[..., 1])[present]
  written, said_true, said_false = right.reshape(-1, 3).T
  return {
    "facts_written": float(written.mean()),
    "facts_judged": float((said_true & said_false).mean()),
  }
