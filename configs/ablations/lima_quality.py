"""LIMA's ablation of the answers' quality, at the same number of examples.

  python -m experiments.sweep --config configs/ablations/lima_quality.py:sandbox \\
      --workdir runs/quality --seeds 0 1 2

The paper (7B, 2,000 Stack Exchange examples): 3.83 filtered, 3.33 unfiltered. On the sandbox the
filter is votes, which are gold scores seen through noise; `votes_3` is a looser filter, ours. With
`7b`, data.train is data/lima/ROW.jsonl, made by experiments.curate.
"""

from ml_collections import ConfigDict

from configs import lima
from xwinjax.stages.config import choose

EXPERIMENT = "lima"
PAPER = {"filtered": 3.83, "unfiltered": 3.33}
EXPECTS = (("filtered", ">", "unfiltered"),)


def get_config(spec: str = "sandbox") -> ConfigDict:
  """VARIANT or VARIANT/ROW; the first row where none is named."""
  variant, _, row = spec.partition("/")
  config, row = lima.get_config(variant), row or next(iter(ROWS))
  if not config.sandbox.on:
    config.data.train = f"data/lima/{row}.jsonl"
  choose(ROWS, row)(config)
  return config


def filtered(config: ConfigDict) -> None:
  """Answers with 4.5 votes of 5 or more: the recipe as it is."""


def unfiltered(config: ConfigDict) -> None:
  """Answers of any quality."""
  config.sandbox.community.filtered = False


def votes_3(config: ConfigDict) -> None:
  """Answers with 3 votes or more."""
  config.sandbox.community.votes = 3.0


ROWS = {f.__name__: f for f in (filtered, unfiltered, votes_3)}
