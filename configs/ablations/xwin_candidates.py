"""Xwin's analysis of candidates: how many are scored for a prompt.

  python -m experiments.sweep --config configs/ablations/xwin_candidates.py:sandbox \\
      --workdir runs/xwin_candidates --seeds 0 1 2

The paper: more candidates are better, with a sweet spot in what they cost. Row nN takes the first
N of the same 64, so that rows differ in nothing else; one alone leaves nothing to choose.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import sweep

EXPERIMENT = "xwin"
COUNTS = (64, 32, 16, 8, 4, 2)
AXIS = ("candidates a prompt", {f"n{n}": n for n in COUNTS})
EXPECTS = (("n64", ">", "n4"), ("n16", ">", "n4"))
FIGURES = sweep.figures(
  "xwin", "gold, RS", "RS − SFT", "false claims, RS", "KL, RS", "gold, DPO", "DPO − RS"
)


def get_config(spec: str = "sandbox") -> ConfigDict:
  return xwin.row_of(ROWS, spec)


def candidates(n: int):
  def change(config: ConfigDict) -> None:
    config.select.first = n

  return change


ROWS = {f"n{n}": candidates(n) for n in COUNTS}
