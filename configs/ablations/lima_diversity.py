"""LIMA's ablation of diversity and quality of the prompts' source.

  python -m experiments.sweep --config configs/ablations/lima_diversity.py:sandbox \\
      --workdir runs/diversity --seeds 0 1 2

The paper (7B, 2,000 examples each, usefulness 1 to 6): Stack Exchange, filtered, against the same
unfiltered and against wikiHow, whose answers are good and whose questions are all of one kind. On
the sandbox: all five kinds of question with answers that got many votes, with any answers, and one
kind of question with answers that got many. With `7b`, data.train is data/lima/ROW.jsonl, made by
experiments.curate; --config.data.train=FOLDER/{row}.jsonl puts it elsewhere.
"""

from ml_collections import ConfigDict

from configs import lima
from xwinjax.stages.config import choose

EXPERIMENT = "lima"
PAPER = {"diverse_filtered": 3.83, "diverse_unfiltered": 3.33, "uniform": 3.49}
EXPECTS = (("diverse_filtered", ">", "diverse_unfiltered"), ("diverse_filtered", ">", "uniform"))


def get_config(spec: str = "sandbox") -> ConfigDict:
  """VARIANT or VARIANT/ROW; the first row where none is named."""
  variant, _, row = spec.partition("/")
  config, row = lima.get_config(variant), row or next(iter(ROWS))
  if not config.sandbox.on:
    config.data.train = f"data/lima/{row}.jsonl"
  choose(ROWS, row)(config)
  return config


def diverse_filtered(config: ConfigDict) -> None:
  """Many kinds of question, good answers: the recipe as it is."""


def diverse_unfiltered(config: ConfigDict) -> None:
  """Many kinds of question, answers of any quality."""
  config.sandbox.community.filtered = False


def uniform(config: ConfigDict) -> None:
  """One kind of question, good answers."""
  config.sandbox.community.kinds = ("list",)


ROWS = {f.__name__: f for f in (diverse_filtered, diverse_unfiltered, uniform)}
