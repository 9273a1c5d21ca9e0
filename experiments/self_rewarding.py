"""Self-Rewarding LMs: a model that writes prompts, answers them, judges the answers and learns.

  python -m experiments.self_rewarding --config=configs/self_rewarding.py:sandbox \\
      --workdir=runs/self
  python -m experiments.self_rewarding --config=configs/self_rewarding.py:llama \\
      --workdir=runs/self_llama --config.model.path=FOLDER --config.data.ift=FILE \\
      --config.data.eft=FILE --config.data.heldout_prompts=FILE

Each stage works in a folder of its own under --workdir and ends with a manifest.json; one that is
done is skipped, one that was killed continues. In order:

  world, pretrain   (sandbox) the world's files, judgements among them; the base model M0
  baseline/sft      model/: fine-tuned on data.ift alone
  make_eft          (eft=rankings) eft.jsonl: its judgements that agree with people's rankings
  M1/mix, M1/sft    model/: M0 fine-tuned on data.ift and the judging examples
  M2/instruct       prompts.jsonl: new ones, written by M1
  M2/sample         candidates.jsonl: M1's answers to them
  M2/judge          candidates.jsonl with M1's scores; judgements.jsonl
  M2/pairs          pairs.jsonl: highest against lowest score
  M2/reference, dpo, choose   model/: M1 after DPO, at the step whose answers M1 scores best
  M3/…              the same from M2
  …/evaluate        candidates.jsonl: of every model for data.heldout_prompts, measured
  …/judging         every model as judge: against people's values, and of its own answers

Whether the model judges itself or another judges in its place is one line: --config.judge.by=self,
rm (with --config.judge.reward=FOLDER) or gold. The end is summary.json, a row for each model, and
report.html.
"""

import sys

from xwinjax.recipes import cli, self_rewarding

command = cli.recipe(__doc__, "configs/self_rewarding.py:sandbox", self_rewarding.RECIPE)

if __name__ == "__main__":
  sys.exit(command())
