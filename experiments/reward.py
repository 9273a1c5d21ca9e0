"""A Bradley-Terry reward model from a language model and preference pairs.

  python -m experiments.reward --config=configs/reward.py --workdir=runs/reward \\
      --config.model.path=FOLDER --config.data=FILE
  python -m experiments.reward --config=configs/reward.py --workdir=runs/reward \\
      --config.model.path=runs/sft/model --config.data=pairs.jsonl --config.heldout=test.jsonl

Reads pairs ({"prompt", "chosen", "rejected"}, HH-RLHF transcripts or Alpaca pairs) and a Hugging
Face Llama folder. Writes, under --workdir:

  model/                 the reward model, as LlamaForSequenceClassification with one label
  metrics.jsonl          loss, accuracy, margin, … of every step
  heldout_scores.jsonl   the reward of both answers of every held-out pair
  manifest.json          inputs and outputs by sha256, settings, versions, figures
  checkpoints/           the training state: a killed run continues from it
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/reward.py", "reward")

if __name__ == "__main__":
  sys.exit(command())
