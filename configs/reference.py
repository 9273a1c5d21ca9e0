"""Reference log-probs for DPO.

  python -m experiments.reference --config=configs/reference.py --workdir=runs/reference \\
      --config.model.path=FOLDER --config.data=FILE

max_length and template must be those of the DPO that will read them; `llama` and `sandbox` are
those of configs/dpo.py.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.stages.config import to_config_dict
from xwinjax.stages.reference import ReferenceConfig


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  dpo, config = xwin.stage("dpo", variant), to_config_dict(ReferenceConfig())
  for name in ("model", "format", "limit", "max_length"):
    config[name] = dpo[name]
  config.batch = dpo.train.batch
  return config
