"""How far to go after the reward model: gold and its score as KL grows. On the sandbox alone.

  python -m experiments.sweep --config configs/ablations/xwin_overoptimisation.py \\
      --workdir runs/overoptimisation --seeds 0 1 2

Gao et al. 2023 (arXiv 2210.10760) optimise against reward models of several sizes and data sets:
gold rises, then falls, while the score rises on; more data puts that off. Here best-of-n, n from 1
to 64, and DPO both start at the SFT model. DPO is the plain loss, for longer than the chain's, and
each of its saved steps is measured on validation prompts. Rows are shares of the reward model's
pairs, and careless annotators. Its size is the chain's: all of its models are of one size.
"""

from ml_collections import ConfigDict

from configs import xwin
from configs.ablations import xwin_annotators, xwin_reward
from xwinjax.recipes import sweep

EXPERIMENT = "xwin"
EXPECTS = (("all", ">", "sixteenth"), ("all", ">", "careless"))
FIGURES = sweep.figures(
  "xwin", "gold, DPO", "RM score, DPO", "KL, DPO", "RM accuracy", "SFT, best of 64 − of 16"
)


def get_config(row: str = "all") -> ConfigDict:
  config = xwin.row_of(ROWS, f"sandbox/{row}")
  config.dpo_from = "sft"  # as best-of-n
  config.dpo.nll_weight, config.dpo.train.epochs = 0.0, 6.0
  config.dpo.train.loop.checkpoint_every = 8
  config.sandbox.world.validation_prompts, config.choose.generate.samples = 32, 8
  return config


ROWS = {
  "all": xwin_reward.share(1),
  "quarter": xwin_reward.share(4),
  "sixteenth": xwin_reward.share(16),
  "careless": xwin_annotators.careless,
}
