"""A pairwise reward model (Xwin-LM, section 3.2).

  python -m experiments.reward --config=configs/reward.py --workdir=runs/reward \\
      --config.model.path=FOLDER --config.data=FILE

The numbers are those of configs/xwin.py: `llama` for a model of about 7B, `sandbox` for the
built-in one of a million parameters. All of them are ours; the paper does not give them.
"""

from ml_collections import ConfigDict

from configs import xwin

LOSSES = {  # docs/losses.md
  "margin": {"use_margin": True},  # pairs with a margin, or two scores
  "centred": {"centring": 0.01},
  "lm_regularised": {"lm_weight": 0.01},
}


def get_config(variant: str = "llama") -> ConfigDict:
  """llama, sandbox, …; or llama with something added to its loss."""
  return xwin.stage("reward", variant, LOSSES)
