"""Judging examples (EFT) from answers that people have ranked.

  python -m experiments.make_eft --config=configs/make_eft.py --workdir=runs/eft \\
      --config.judge.model.path=FOLDER --config.rankings=FILE --config.people=human

Reads {"prompt", "candidates": [{"text", "scores": {"human": 3}}, …]} rows; higher is better. The
model judges every answer; its judgements are kept where its order of a question's answers agrees
with people's, and balanced over the scores. Writes, under --workdir:

  eft.jsonl              conversations: the judge's prompt, and the judgement as its answer
  heldout_judged.jsonl   questions set apart, to measure judges on
  manifest.json          inputs and outputs by sha256, settings, versions, figures
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/make_eft.py", "make_eft")

if __name__ == "__main__":
  sys.exit(command())
