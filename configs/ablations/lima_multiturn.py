"""LIMA's study of dialogues: 30 of them among the examples, or none.

  python -m experiments.sweep --config configs/ablations/lima_multiturn.py:sandbox \\
      --workdir runs/multiturn --seeds 0 1 2

The paper (65B): excellent turns rise from 45.2 % to 76.1 %, failures fall from 15 of 42 turns to
1 of 46. On the sandbox all other examples are of a single turn in both rows, and the gold scorer
grades the replies. With `65b` or `7b`, row dialogues_30 adds data/lima/dialogues.jsonl, and people
grade the replies to data.test_dialogues (docs/annotate.md).
"""

from ml_collections import ConfigDict

from configs import lima
from xwinjax.stages.config import choose

EXPERIMENT = "lima"
FIGURES = {
  "excellent": ("dialogues", "excellent", "share"),
  "pass": ("dialogues", "pass", "share"),
  "fail": ("dialogues", "fail", "share"),
  "quality": ("score",),
}
PAPER = {"none": "45.2 % excellent, 15 of 42 fail", "dialogues_30": "76.1 %, 1 of 46"}
EXPECTS = (("dialogues_30", ">", "none"),)
SINGLE_TURN = ("list", "compare", "rewrite", "count")


def get_config(spec: str = "sandbox") -> ConfigDict:
  """VARIANT or VARIANT/ROW; the first row where none is named."""
  variant, _, row = spec.partition("/")
  config = lima.get_config(variant)
  if config.sandbox.on:
    config.sandbox.community.kinds = SINGLE_TURN
  choose(ROWS, row or "none")(config)
  return config


def none(config: ConfigDict) -> None:
  """Single turns alone."""


def dialogues_30(config: ConfigDict) -> None:
  """And 30 dialogues."""
  if config.sandbox.on:
    config.sandbox.community.dialogues = 30
  else:
    config.data.dialogues = "data/lima/dialogues.jsonl"


ROWS = {"none": none, "dialogues_30": dialogues_30}
