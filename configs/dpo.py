"""DPO on pairs of candidates (Xwin-LM, section 3.5).

  python -m experiments.dpo --config=configs/dpo.py --workdir=runs/dpo \\
      --config.model.path=FOLDER --config.data=FILE \\
      --config.reference=FILE

The numbers are those of configs/xwin.py: `llama` for a model of about 7B, `sandbox` for the
built-in one of a million parameters. All of them are ours; the paper does not give them.
"""

from ml_collections import ConfigDict

from configs import xwin


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return xwin.stage("dpo", variant)
