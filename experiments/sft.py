"""Supervised fine-tuning of a language model on conversations.

  python -m experiments.sft --config=configs/sft.py --workdir=runs/sft \\
      --config.model.path=FOLDER --config.data=FILE
  python -m experiments.sft --config=configs/sft.py:sandbox --workdir=runs/sft \\
      --config.model.path=FOLDER --config.data=train.jsonl --config.heldout=dev.jsonl \\
      --config.train.epochs=3 --config.train.optim.lr=2e-5

Reads conversations in any format of docs/data_formats.md (messages, Alpaca, ShareGPT, LIMA, …;
.json, .jsonl, .gz, .parquet) and a Hugging Face Llama folder. Writes, under --workdir:

  model/          the trained model, a Hugging Face folder with its tokenizer and template
  metrics.jsonl   loss, gradient norm, learning rate, … of every step
  manifest.json   inputs and outputs by sha256, settings, versions, figures
  checkpoints/    the training state: a killed run continues from it
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/sft.py", "sft")

if __name__ == "__main__":
  sys.exit(command())
