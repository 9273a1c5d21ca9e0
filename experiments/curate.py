"""A thousand examples out of files of many, LIMA's way, and a table of what was dropped and why.

  python -m experiments.curate --config=configs/curate.py --workdir=runs/curated \\
      --config.sources="('se=posts.jsonl', 'alpaca.json')" --config.heldout=test_prompts.jsonl

Sources are conversations in any format of docs/data_formats.md, or questions with "answers", as
dumps of Stack Exchange have them; --config.sources=FILE may be repeated. In turn: score, length,
style (first person, references to other answers, links), held-out texts, near-duplicates; then
sampling over sources and domains. Needs the [curate] extra. Writes, under --workdir:

  examples.jsonl   what was chosen, for experiments.lima and experiments.sft
  dev.jsonl        further ones of the same kind, for the choice of a checkpoint
  dropped.jsonl    {"id", "reason", "like"?} of every other row
  manifest.json    inputs and outputs by sha256, settings, counts by source and reason
"""

import sys
from pathlib import Path

from xwinjax.recipes import cli
from xwinjax.stages import curate


def main(config: curate.CurateConfig, workdir: Path, redo: bool) -> None:
  cli.check_folder(workdir)
  cli.shown(workdir, curate.table(curate.run(config, workdir, redo=redo)), curate.WRITES)


command = cli.Command("curate", __doc__, "configs/curate.py", curate.CurateConfig, main)

if __name__ == "__main__":
  sys.exit(command())
