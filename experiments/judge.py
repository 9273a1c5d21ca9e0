"""Scores of candidates by a judge: a language model, a reward model, or the sandbox's gold.

  python -m experiments.judge --config=configs/judge.py --workdir=runs/judge \\
      --config.model.path=FOLDER --config.candidates=FILE
  python -m experiments.judge --config=configs/judge.py --workdir=runs/judge \\
      --config.by=rm --config.reward=FOLDER --config.candidates=FILE

Reads {"prompt", "candidates": [{"text"}, …]} rows, as the sample stage writes them or made by hand.
A language model writes config.samples judgements an answer, whose scores are averaged; with
--config.mode=expected its score is read from the logits instead, with both it is both. Writes,
under --workdir:

  candidates.jsonl    the same rows, each candidate with "scores": {"self": …}; none where no
                      judgement could be read
  judgements.jsonl    what was written, with each score or why there is none
  manifest.json       inputs and outputs by sha256, settings, versions, figures
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/judge.py", "judge")

if __name__ == "__main__":
  sys.exit(command())
