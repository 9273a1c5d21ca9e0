"""The whole Xwin chain: SFT → reward model → 64 scored candidates → rejection sampling → DPO.

  python -m experiments.xwin --config=configs/xwin.py:sandbox --workdir=runs/demo
  python -m experiments.xwin --config=configs/xwin.py:llama --workdir=runs/llama \\
      --config.model.path=FOLDER --config.data.sft=FILE --config.data.pairs=FILE \\
      --config.data.prompts=FILE --config.data.heldout_prompts=FILE

Each stage works in a folder of its own under --workdir and ends with a manifest.json; one that is
done is skipped, one that was killed continues. In order:

  world        (sandbox) world.json, documents, prompts, conversations, tokenizer/
  pretrain     (sandbox) model/: the base, which knows the world's facts
  sft          model/: fine-tuned on data.sft
  label        (sandbox) pairs.jsonl, heldout_pairs.jsonl: answers of the SFT model, compared
  reward       model/: the reward model, trained on data.pairs; heldout_scores.jsonl
  sample       candidates.jsonl: answers of the SFT model to data.prompts
  score        candidates.jsonl: with the reward model's scores
  select       examples.jsonl, pairs.jsonl: the ranks to train on
  rs           model/: rejection-sampling fine-tuning on the examples
  reference    logps.jsonl: the pairs' log-probs before DPO
  dpo          model/: trained on the pairs
  evaluate_…   candidates.jsonl: of base, sft, rs and dpo for data.heldout_prompts, measured

The end is summary.json, a row for each of base, sft, rs and dpo, and report.html.
"""

import sys
from pathlib import Path

from xwinjax.stages import chain, cli


def main(config: chain.XwinConfig, workdir: Path, redo: bool) -> None:
  summary = chain.run(config, str(workdir), redo=redo)
  print(chain.table(summary))
  print()
  for name in ("summary.json", "report.html"):
    if (workdir / name).exists():
      print(workdir / name)


# The chain gives every stage its model, files, mesh and seed.
FILLED_IN = (
  r"^(sft|rs|reward|sample|score|select|dpo|evaluate|sandbox\.\w+)\."
  r"(model|mesh|seed|data|heldout|prompts|candidates|reference|reward|previous|gold|world)$"
)
command = cli.Command(__doc__, "configs/xwin.py:sandbox", chain.XwinConfig, main, hide=FILLED_IN)

if __name__ == "__main__":
  sys.exit(command())
