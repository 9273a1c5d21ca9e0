"""Scores of candidates by a reward model: the multiwise set of Xwin-LM.

  python -m experiments.score --config=configs/score.py --workdir=runs/score \\
      --config.model.path=FOLDER --config.candidates=FILE
  python -m experiments.score --config=configs/score.py --workdir=runs/score \\
      --config.model.path=runs/reward/model --config.candidates=runs/sample/candidates.jsonl

Reads {"prompt", "candidates": [{"text"}, …]} rows, as the sample stage writes them or made by hand.
Writes, under --workdir:

  candidates.jsonl   the same rows, each candidate with "scores": {"rm": …}
  manifest.json      inputs and outputs by sha256, settings, versions, figures
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/score.py", "score")

if __name__ == "__main__":
  sys.exit(command())
