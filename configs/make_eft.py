"""Judging examples from answers that people have ranked (Self-Rewarding LMs).

  python -m experiments.make_eft --config=configs/make_eft.py --workdir=runs/eft \\
      --config.judge.model=FOLDER --config.rankings=FILE

That the judge's order must agree with people's, the balance over scores and a quarter held out are
the paper's; how they are measured is ours. `sandbox` has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import self_rewarding


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return self_rewarding.stage("make_eft", variant)
