"""A pairwise reward model (Xwin-LM, section 3.2).

  python -m experiments.reward --config=configs/reward.py --workdir=runs/reward \\
      --config.model.path=FOLDER --config.data=FILE

The numbers are those of configs/xwin.py: `llama` for a model of about 7B, `sandbox` for the
built-in one of a million parameters. All of them are ours; the paper does not give them.
"""

from ml_collections import ConfigDict

from configs import xwin


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return xwin.stage("reward", variant)
