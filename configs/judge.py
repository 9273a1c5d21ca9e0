"""A judge's scores of candidates (Self-Rewarding LMs).

  python -m experiments.judge --config=configs/judge.py --workdir=runs/judge \\
      --config.model.path=FOLDER --config.candidates=FILE

Three judgements an answer at temperature 0.7 and top-p 0.9 are the paper's; their length is ours.
`sandbox` has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import self_rewarding


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return self_rewarding.stage("judge", variant)
