"""MT-bench: two turns, graded 1 to 10; against another model's answers in both orders.

  python -m experiments.evaluate --config=configs/evaluate/mt_bench.py --workdir=runs/mt \\
      --config.model.path=FOLDER --config.questions=question.jsonl \\
      --config.references=reference_answer/gpt-4.jsonl --config.judge.by=openai:gpt-4o
  … --config.baseline=model_answer/vicuna-13b.jsonl           # pairwise as well

Temperatures are FastChat's by category. `sandbox` has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from xwinjax.recipes import commands
from xwinjax.stages.config import choose

STAGE = "mt_bench"


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  config = commands.ALONE[STAGE].values()
  config.judge.update(prompt="ten", mode="sampled", both_positions=True, samples=1, max_new=512)
  config.judge.params.update(temperature=0.0, top_p=1.0)
  choose({"llama": lambda: None, "sandbox": lambda: _small(config)}, variant)()
  return config


def _small(config: ConfigDict) -> None:
  config.generate.max_new = config.judge.max_new = 96
  config.generate.sampler.update(slots=64, block=8, window=32)
  config.judge.sampler.update(slots=64, block=8, window=32)
