"""Log-probs of pairs under the reference model, computed once for all epochs of DPO.

  python -m experiments.reference --config=configs/reference.py --workdir=runs/reference \\
      --config.model.path=FOLDER --config.data=FILE
  python -m experiments.reference --config=configs/reference.py --workdir=runs/reference \\
      --config.model.path=runs/rs/model --config.data=runs/select/pairs.jsonl

Reads pairs and the model that DPO will start from. Writes, under --workdir:

  logps.jsonl     a key of model and data, then {"id", "chosen", "rejected"} for each pair, in nats
  manifest.json   inputs and outputs by sha256, settings, versions, figures
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/reference.py", "reference")

if __name__ == "__main__":
  sys.exit(command())
