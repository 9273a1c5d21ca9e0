"""Xwin's analysis of SFT: how many conversations the first model is trained on.

  python -m experiments.sweep --config configs/ablations/xwin_sft.py:sandbox \\
      --workdir runs/xwin_sft --seeds 0 1 2

The paper: quality rises with the turns of the data, and less and less so. Row xN has N times 250
conversations on the sandbox, and N times 1,000 of a set of one's own; always the first ones.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import sweep

EXPERIMENT = "xwin"
TIMES = (32, 8, 2, 1)
SANDBOX, OWN = 250, 1000
AXIS = (f"times {SANDBOX} conversations (sandbox) or {OWN:,}", {f"x{n}": n for n in TIMES})
EXPECTS = (("x32", ">", "x1"), ("x8", ">", "x1"))
FIGURES = sweep.figures("xwin", "gold, SFT", "false claims, SFT", "gold, RS", "gold, DPO")


def get_config(spec: str = "sandbox") -> ConfigDict:
  return xwin.row_of(ROWS, spec)


def conversations(times: int):
  def change(config: ConfigDict) -> None:
    config.sft.limit = (SANDBOX if config.sandbox.on else OWN) * times

  return change


ROWS = {f"x{n}": conversations(n) for n in TIMES}
