"""Measures a model on held-out prompts.

  python -m experiments.evaluate --config=configs/evaluate.py --workdir=runs/evaluate \\
      --config.model.path=FOLDER --config.prompts=FILE \\
      --config.reward=FOLDER --config.reference=FOLDER

64 samples a prompt, for best-of-k up to 64 as in the paper's figures; the rest is ours. `sandbox`
has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import xwin


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return xwin.stage("evaluate", variant)
