"""Chooses from scored candidates: answers to fine-tune on, and pairs for DPO.

  python -m experiments.select --config=configs/select.py --workdir=runs/select \\
      --config.candidates=FILE
  python -m experiments.select --config=configs/select.py --workdir=runs/select \\
      --config.candidates=runs/score/candidates.jsonl --config.rank=1 \\
      --config.rejected=rank:32 --config.rejected=std:1

Reads candidates with scores. Writes, under --workdir:

  examples.jsonl   each prompt with its answer of the wanted rank, for experiments.sft
  pairs.jsonl      each prompt's best answer against the rejected ones, for experiments.dpo
  manifest.json    inputs and outputs by sha256, settings, versions, figures
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/select.py", "select")

if __name__ == "__main__":
  sys.exit(command())
