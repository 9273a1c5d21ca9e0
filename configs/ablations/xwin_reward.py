"""Xwin's analysis of the reward model: how many labelled pairs it learns from.

  python -m experiments.sweep --config configs/ablations/xwin_reward.py:sandbox \\
      --workdir runs/xwin_reward --seeds 0 1 2

The paper compares sizes of model and sets of data. Rows are shares of the pairs; with files of
one's own, of the first 40,000. xwin_annotators.py changes what the pairs are.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import sweep

EXPERIMENT = "xwin"
OWN = 40_000  # pairs of a set of one's own
EXPECTS = (("all", ">", "eighth"),)
FIGURES = sweep.figures(
  "xwin",
  "RM accuracy",
  "RM on truth",
  "gold, RS",
  "gold, DPO",
  "false claims, DPO",
  "SFT, best of 64 − of 16",
)


def get_config(spec: str = "sandbox") -> ConfigDict:
  return xwin.row_of(ROWS, spec)


def share(part: int):
  def change(config: ConfigDict) -> None:
    if config.sandbox.on:
      config.sandbox.world.pair_prompts //= part
      config.sandbox.label.contrasts //= part
    else:
      config.reward.limit = OWN // part

  return change


ROWS = {"all": share(1), "half": share(2), "eighth": share(8)}
