"""A judge against people's rankings (Self-Rewarding LMs, table of judge metrics).

  python -m experiments.judge_metrics --config=configs/judge_metrics.py --workdir=runs/metrics \\
      --config.candidates=FILE
"""

from ml_collections import ConfigDict

from xwinjax.recipes import commands


def get_config() -> ConfigDict:
  return commands.ALONE["judge_metrics"].values()
