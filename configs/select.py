"""Which ranks are trained on (Xwin-LM, sections 3.4 and 3.5).

  python -m experiments.select --config=configs/select.py --workdir=runs/select \\
      --config.candidates=FILE

Fine-tuning on rank 1 is the paper's; the rule for the rejected answer of a pair, and leaving out
answers that were cut off, are ours. `llama` and `sandbox` are as in configs/xwin.py.
"""

from ml_collections import ConfigDict

from configs import xwin


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return xwin.stage("select", variant)
