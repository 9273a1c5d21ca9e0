"""DPO in Xwin's chain: what keeps it safe, and how much it gains over rejection sampling.

  python -m experiments.sweep --config configs/ablations/xwin_dpo.py --seeds 0 1 2 3 4 5 \\
      --workdir=runs/dpo_ablations

Everything before DPO is the same in all rows and is done once a seed. The paper pairs the best
candidate with one of a chosen rank, by the plain loss; it does not give its numbers.
"""

from ml_collections import ConfigDict

from configs import xwin
from xwinjax.recipes import sweep
from xwinjax.stages.config import choose

EXPERIMENT = "xwin"
FIGURES = sweep.figures(
  "xwin",
  "DPO − RS",
  "gold, DPO",
  "false claims, DPO − RS",
  "RM score, DPO",
  "KL, DPO",
  "tokens, DPO",
)


def get_config(row: str = "base") -> ConfigDict:
  config = xwin.get_config("sandbox")
  choose(ROWS, row)(config)
  return config


def base(config: ConfigDict) -> None:
  """As it is: best against last, rate 1e-4, with the chosen answers' likelihood."""


def plain(config: ConfigDict) -> None:
  """The plain loss of DPO, as in the papers."""
  config.dpo.nll_weight = 0.0


def rank_32(config: ConfigDict) -> None:
  """Best against the one in the middle."""
  config.select.rejected = ("rank:32",)


def rank_32_plain(config: ConfigDict) -> None:
  """Best against the one in the middle, by the plain loss."""
  config.select.rejected, config.dpo.nll_weight = ("rank:32",), 0.0


def two_rejected(config: ConfigDict) -> None:
  """Two pairs a prompt: against the last and the one in the middle."""
  config.select.rejected = ("rank:-1", "rank:32")


def rate_3e4(config: ConfigDict) -> None:
  """Three times the rate."""
  config.dpo.train.optim.lr = 3e-4


def rate_3e4_plain(config: ConfigDict) -> None:
  """Three times the rate, by the plain loss."""
  config.dpo.train.optim.lr, config.dpo.nll_weight = 3e-4, 0.0


def beta_03(config: ConfigDict) -> None:
  """Three times the pull towards the reference."""
  config.dpo.beta = 0.3


def smoothed(config: ConfigDict) -> None:
  """A tenth of the labels taken to be wrong."""
  config.dpo.label_smoothing = 0.1


ROWS = {
  f.__name__: f
  for f in (
    base,
    plain,
    rank_32,
    rank_32_plain,
    two_rejected,
    rate_3e4,
    rate_3e4_plain,
    beta_03,
    smoothed,
  )
}
