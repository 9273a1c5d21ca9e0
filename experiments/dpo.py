"""Direct preference optimisation on pairs, against stored reference log-probs.

  python -m experiments.dpo --config=configs/dpo.py --workdir=runs/dpo \\
      --config.model.path=FOLDER --config.data=FILE --config.reference=FILE
  python -m experiments.dpo --config=configs/dpo.py --workdir=runs/dpo \\
      --config.model.path=runs/rs/model --config.data=runs/select/pairs.jsonl \\
      --config.reference=runs/reference/logps.jsonl --config.beta=0.1

Reads the model to start from, pairs, and what experiments.reference wrote for the two. Writes,
under --workdir:

  model/          the trained model, a Hugging Face folder with its tokenizer and template
  metrics.jsonl   loss, accuracy, margin, log-probs, … of every step
  manifest.json   inputs and outputs by sha256, settings, versions, figures
  checkpoints/    the training state: a killed run continues from it
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/dpo.py", "dpo")

if __name__ == "__main__":
  sys.exit(command())
