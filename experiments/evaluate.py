"""What a model is worth: many samples for held-out prompts, scored and compared.

  python -m experiments.evaluate --config=configs/evaluate.py --workdir=runs/evaluate \\
      --config.model.path=FOLDER --config.prompts=FILE
  python -m experiments.evaluate --config=configs/evaluate.py --workdir=runs/evaluate_dpo \\
      --config.model.path=runs/dpo/model --config.prompts=heldout.jsonl \\
      --config.reward=runs/reward/model --config.reference=runs/sft/model \\
      --config.previous=runs/evaluate_rs

  python -m experiments.evaluate --config=configs/evaluate/alpaca_eval.py --workdir=runs/alpaca \\
      --config.model.path=FOLDER --config.prompts=outputs.json --config.judge.by=openai:gpt-4o

alpaca_eval.py, mt_bench.py and reward_bench.py in configs/evaluate/ are benchmarks with a judge,
multiple_choice.py is one by log-likelihood: docs/evaluation.md, and --help with their config. The
first one, evaluate.py, measures a model.

Measures length and repeats always; score and best-of-k where a reward model is named; KL where a
reference is; win rate where another model's evaluation is. Writes, under --workdir:

  candidates.jsonl   the samples with their scores
  manifest.json      the figures, with inputs and outputs by sha256, settings and versions
  parts/             whole shards of prompts: a killed run continues after the last
"""

import sys

from xwinjax.recipes import cli, commands

command = cli.stage(__doc__, "configs/evaluate.py", "evaluate", others=commands.BENCHMARKS)

if __name__ == "__main__":
  sys.exit(command())
