"""Xwin's analysis of ranks: which of 64 scored candidates is fine-tuned on.

  python -m experiments.sweep --config configs/ablations/xwin_rank.py:sandbox \\
      --workdir runs/xwin_rank --seeds 0 1 2

The paper: the higher the rank, the better. Row rank_R trains RS on each prompt's R-th best answer.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import sweep

EXPERIMENT = "xwin"
RANKS = (1, 8, 16, 32, 48)
AXIS = ("rank of 64", {f"rank_{r}": r for r in RANKS})
EXPECTS = (("rank_1", ">", "rank_16"), ("rank_1", ">", "rank_32"))
FIGURES = sweep.figures("xwin", "gold, RS", "RS − SFT", "false claims, RS", "KL, RS", "gold, DPO")


def get_config(spec: str = "sandbox") -> ConfigDict:
  return xwin.row_of(ROWS, spec)


def rank(r: int):
  def change(config: ConfigDict) -> None:
    config.select.rank = r

  return change


ROWS = {f"rank_{r}": rank(r) for r in RANKS}
