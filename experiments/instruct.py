"""New prompts, written by a model that is shown others (Self-Instruct).

  python -m experiments.instruct --config=configs/instruct.py --workdir=runs/instruct \\
      --config.model.path=FOLDER --config.seeds=FILE --config.heldout=FILE

Reads seeds in any format of docs/data_formats.md; answers in them are left out. Prompts that
repeat a seed, a held-out or an earlier new prompt (ROUGE-L), that are too short or too long, or
that a language model cannot serve are dropped; every reason is counted. Writes, under --workdir:

  prompts.jsonl    {"id", "messages"} a prompt
  manifest.json    inputs and outputs by sha256, settings, versions, figures
  parts/           all that was drawn, in shards: a killed run continues after the last
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/instruct.py", "instruct")

if __name__ == "__main__":
  sys.exit(command())
