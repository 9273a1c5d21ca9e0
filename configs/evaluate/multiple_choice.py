"""Multiple choice by log-likelihood: MMLU, ARC, HellaSwag, PIQA and files like them.

  python -m experiments.evaluate --config=configs/evaluate/multiple_choice.py \\
      --workdir=runs/arc --config.model.path=FOLDER --config.questions=arc.jsonl

No examples stand before a question; there is nothing to tune. `sandbox` computes in float32.
"""

from ml_collections import ConfigDict

from xwinjax.recipes import commands
from xwinjax.stages.config import choose

STAGE = "multiple_choice"


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  config = commands.ALONE[STAGE].values()
  choose(
    {"llama": lambda: None, "sandbox": lambda: config.model.update(dtype="float32")}, variant
  )()
  return config
