"""Scores of candidates by a reward model (Xwin-LM, section 3.3).

  python -m experiments.score --config=configs/score.py --workdir=runs/score \\
      --config.model.path=FOLDER --config.candidates=FILE

There is nothing to tune here; the sizes of a batch do not change the scores. `sandbox` has those
for 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import xwin


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return xwin.stage("score", variant)
