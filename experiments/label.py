"""Preference pairs labelled by a judge: answers of several models, rated; Xwin-Pair's way.

  python -m experiments.label --config=configs/label.py --workdir=runs/label \\
      --config.candidates=runs/a/candidates.jsonl,runs/b/candidates.jsonl \\
      --config.judge.by=openai:gpt-4o
  python -m experiments.label --config=configs/label.py --workdir=runs/label \\
      --config.candidates='runs/*/candidates.jsonl' --config.judge.by=self:FOLDER \\
      --config.people=pairs.jsonl

Reads {"prompt", "candidates": [{"text"}, …]} rows, a file a model, prompts of one turn or several.
Every judge may rate (docs/evaluation.md). `people` are pairs in any format of docs/data_formats.md,
met by their texts, or votes, met by the models' names: how far the judge agrees is told. Writes,
under --workdir:

  pairs.jsonl        {"prompt", "chosen", "rejected", "margin"}, for the reward stage and DPO; meta
                     says whose the answers are
  candidates.jsonl   all models' answers to a prompt in one row, with "scores"
  judgements.jsonl   what was written, with each score or why there is none
  manifest.json      inputs and outputs by sha256, settings, versions, figures
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/label.py", "label")

if __name__ == "__main__":
  sys.exit(command())
