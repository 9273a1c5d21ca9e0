"""Candidates: many sampled answers for every prompt of a file.

  python -m experiments.sample --config=configs/sample.py --workdir=runs/sample \\
      --config.model.path=FOLDER --config.prompts=FILE
  python -m experiments.sample --config=configs/sample.py --workdir=runs/sample \\
      --config.model.path=runs/sft/model --config.prompts=prompts.jsonl \\
      --config.generate.samples=16 --config.generate.params.temperature=0.7

Reads prompts in any format of docs/data_formats.md; answers in it are left out. Writes, under
--workdir:

  candidates.jsonl   {"id", "prompt", "candidates": [{"text", "logp", "tokens", "finish"}, …]}
  manifest.json      inputs and outputs by sha256, settings, versions, figures
  parts/             whole shards of prompts: a killed run continues after the last
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/sample.py", "sample")

if __name__ == "__main__":
  sys.exit(command())
