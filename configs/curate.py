"""Curation of examples (LIMA, section 2).

  python -m experiments.curate --config=configs/curate.py --workdir=runs/curated \\
      --config.sources=posts.jsonl --config.heldout=test_prompts.jsonl

The defaults are the paper's for Stack Exchange: at least 10 votes, 1,200 to 4,096 characters, no
first person, no references to other answers, temperature 3 over the sites; near-duplicates and
n-grams are ours. `alpaca` has lengths for rows of Alpaca's kind, which are short.
"""

from ml_collections import ConfigDict

from xwinjax.stages.config import choose, to_config_dict
from xwinjax.stages.curate import CurateConfig


def get_config(variant: str = "stack_exchange") -> ConfigDict:
  """stack_exchange or alpaca."""
  change = choose({"stack_exchange": lambda c: c, "alpaca": alpaca}, variant)
  return change(to_config_dict(CurateConfig()))


def alpaca(config: ConfigDict) -> ConfigDict:
  config.filters.shortest = 80
  config.filters.longest = 1200
  config.filters.least_score = 4.5  # AlpaGasus' threshold, where rows have a judge's score
  return config
