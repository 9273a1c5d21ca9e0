"""Xwin's analysis of the order: RS from SFT or base, DPO with or without RS before it.

  python -m experiments.sweep --config configs/ablations/xwin_start.py:sandbox \\
      --workdir runs/xwin_start --seeds 0 1 2

The paper fine-tunes on the best answers before DPO. What it starts from, it does not say.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import sweep

EXPERIMENT = "xwin"
EXPECTS = (("chain", ">", "no_rs"),)
FIGURES = sweep.figures(
  "xwin",
  "gold, DPO",
  "gold, RS",
  "RS − SFT",
  "false claims, RS",
  "false claims, DPO",
  "KL, RS",
  "KL, DPO",
)


def get_config(spec: str = "sandbox") -> ConfigDict:
  return xwin.row_of(ROWS, spec)


def chain(config: ConfigDict) -> None:
  """SFT → RS → DPO."""


def rs_from_base(config: ConfigDict) -> None:
  """RS starts from the base model again."""
  config.rs_from = "base"


def no_rs(config: ConfigDict) -> None:
  """DPO on the SFT model, with it as the reference."""
  config.dpo_from = "sft"


ROWS = {f.__name__: f for f in (chain, rs_from_base, no_rs)}
