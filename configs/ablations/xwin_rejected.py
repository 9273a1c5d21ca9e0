"""Xwin's analysis of DPO's pairs: the best candidate against which other.

  python -m experiments.sweep --config configs/ablations/xwin_rejected.py:sandbox \\
      --workdir runs/xwin_rejected --seeds 0 1 2

The paper tries ranks of the 64, and the candidate nearest to mean − k standard deviations.
Everything before the pairs is done once a seed. xwin_dpo.py has the loss and its rate.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import sweep

EXPERIMENT = "xwin"
RULES = {
  "last": "rank:-1",
  "rank_48": "rank:48",
  "rank_32": "rank:32",
  "rank_16": "rank:16",
  "rank_2": "rank:2",
  "std_1": "std:1",
  "std_2": "std:2",
  "random": "random",
}
FIGURES = sweep.figures(
  "xwin",
  "gold, DPO",
  "DPO − RS",
  "false claims, DPO − RS",
  "RM score, DPO",
  "KL, DPO",
  "tokens, DPO",
)


def get_config(spec: str = "sandbox") -> ConfigDict:
  return xwin.row_of(ROWS, spec)


def rejected(rule: str):
  def change(config: ConfigDict) -> None:
    config.select.rejected = (rule,)

  return change


ROWS = {name: rejected(rule) for name, rule in RULES.items()}
