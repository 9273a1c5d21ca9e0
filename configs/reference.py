"""Reference log-probs for DPO.

  python -m experiments.reference --config=configs/reference.py --workdir=runs/reference \\
      --config.model.path=FOLDER --config.data=FILE

max_length and template must be those of the DPO that will read them; `llama` and `sandbox` are
those of configs/dpo.py, and so are `unpaired` (for kto) and `lists` (for losses of lists).
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import commands


def get_config(variant: str = "llama") -> ConfigDict:
  """llama, sandbox, …; or llama for another kind of data: unpaired, lists."""
  kinds = ("unpaired", "lists")
  dpo = xwin.stage("dpo", variant, {kind: {} for kind in kinds})
  config = commands.ALONE["reference"].values(dpo, model=dpo.model)
  config.batch = dpo.train.batch
  if variant in kinds:
    config.kind = variant
  return config
