"""A judge against people's rankings (Self-Rewarding LMs, table of judge metrics).

  python -m experiments.judge_metrics --config=configs/judge_metrics.py --workdir=runs/metrics \\
      --config.candidates=FILE
"""

from ml_collections import ConfigDict

from xwinjax.stages.config import to_config_dict
from xwinjax.stages.judge_metrics import JudgeMetricsConfig


def get_config() -> ConfigDict:
  return to_config_dict(JudgeMetricsConfig())
