"""Preference labelling by a judge (Xwin-LM, Xwin-Pair).

  python -m experiments.label --config=configs/label.py --workdir=runs/label \\
      --config.candidates=runs/a/candidates.jsonl,runs/b/candidates.jsonl \\
      --config.judge.by=openai:gpt-4o
  … --config.judge.by=self:FOLDER, rm:FOLDER, logps:FOLDER, gold (with --config.gold=world.json)

Grades from 1 to 10 by a judge that writes, three each at temperature 0.7; the best answer of a
prompt against the worst. `sandbox` has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from xwinjax.recipes import commands
from xwinjax.stages.config import choose


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  config = commands.ALONE["label"].values()
  config.judge.update(prompt="ten", samples=3)
  choose({"llama": lambda: None, "sandbox": lambda: _small(config)}, variant)()
  return config


def _small(config: ConfigDict) -> None:
  config.judge.max_new = 96
  config.judge.sampler.update(slots=64, block=8, window=32)
