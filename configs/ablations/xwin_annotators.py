"""Xwin's reward model under other annotators: blind to truth, or careless. On the sandbox alone.

  python -m experiments.sweep --config configs/ablations/xwin_annotators.py \\
      --workdir runs/xwin_annotators --seeds 0 1 2

The paper names unstable labels as a limit of its own. Up to the labels all rows are the same.
"""

from ml_collections import ConfigDict

from configs import xwin
from configs.ablations import xwin_reward

EXPERIMENT, FIGURES = "xwin", xwin_reward.FIGURES
EXPECTS = (("base", ">", "careless"),)


def get_config(row: str = "base") -> ConfigDict:
  return xwin.row_of(ROWS, f"sandbox/{row}")


def base(config: ConfigDict) -> None:
  """As they are: a pair in two differs in one fact alone, and little noise."""


def no_contrasts(config: ConfigDict) -> None:
  """No pairs that differ in one fact alone: a reward model blind to truth."""
  config.sandbox.label.contrasts = 0


def careless(config: ConfigDict) -> None:
  """Annotators who see gaps through five times the noise."""
  config.sandbox.label.noise *= 5


ROWS = {f.__name__: f for f in (base, no_contrasts, careless)}
