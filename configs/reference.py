"""Reference log-probs for DPO.

  python -m experiments.reference --config=configs/reference.py --workdir=runs/reference \\
      --config.model.path=FOLDER --config.data=FILE

max_length and template must be those of the DPO that will read them; `llama` and `sandbox` are
those of configs/dpo.py.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import commands


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  chain = xwin.get_config(variant)
  config = commands.ALONE["reference"].values(chain.dpo, model=chain.model)
  config.batch = chain.dpo.train.batch
  return config
