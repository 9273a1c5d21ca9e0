"""LIMA: a base model, an end-of-turn token, few good examples, a judge's choice of epoch.

  python -m experiments.lima --config=configs/lima.py:sandbox --workdir=runs/lima
  python -m experiments.lima --config=configs/lima.py:7b --workdir=runs/lima_7b \\
      --config.model.path=FOLDER --config.data.train=FILE --config.data.dev=FILE \\
      --config.data.test_prompts=FILE --config.judge.reward=FOLDER

data.dev holds prompts with answers: the checkpoint is chosen by what the judge thinks of the
model's own answers to them, and perplexity is measured on the answers there. Each stage works in a
folder of its own under --workdir; one that is done is skipped, one that was killed continues. In
order:

  world, pretrain   (sandbox) the world's files; model/: the base, which knows its facts
  community         (sandbox) train.jsonl, dev.jsonl, test_prompts.jsonl, test_dialogues.jsonl
  tokens            model/: the base with the template's end-of-turn token
  mix               (with data.dialogues) mixed.jsonl
  sft               model/: after the last epoch; epochs/: dev loss of each; steps/: those to judge
  choose            model/: of the epoch whose answers are judged best
  evaluate, judge   candidates.jsonl: its answers to data.test_prompts, judged
  dialogues         (with data.test_dialogues) dialogues.jsonl: graded in the sandbox

The judge is --config.judge.by=rm (with judge.reward), self (a language model, with
judge.model) or gold (the sandbox's). The end is summary.json and report.html.
"""

import sys

from xwinjax.recipes import cli, lima

command = cli.recipe(__doc__, "configs/lima.py:sandbox", lima.RECIPE)

if __name__ == "__main__":
  sys.exit(command())
