"""Candidates for every prompt (Xwin-LM, section 3.3).

  python -m experiments.sample --config=configs/sample.py --workdir=runs/sample \\
      --config.model.path=FOLDER --config.prompts=FILE

64 candidates a prompt, all different, is the paper's; temperature 1 without filters and the longest
answer are ours. `sandbox` has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import xwin


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return xwin.stage("sample", variant)
