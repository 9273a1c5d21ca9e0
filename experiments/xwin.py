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
  choose       (with data.validation_prompts) model/: of the step that RM score and KL choose
  evaluate_…   candidates.jsonl: of base, sft, rs and dpo for data.heldout_prompts, measured
  token_gains  tokens.jsonl: a few answers, each token's log-prob before and after DPO

The end is summary.json, a row for each of base, sft, rs and dpo, and report.html.
"""

import sys

from xwinjax.recipes import cli, xwin

command = cli.recipe(__doc__, "configs/xwin.py:sandbox", xwin.RECIPE)

if __name__ == "__main__":
  sys.exit(command())
