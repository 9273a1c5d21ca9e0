"""How often a judge prefers the better of two answers.

  python -m experiments.evaluate --config=configs/evaluate/reward_bench.py --workdir=runs/rb \\
      --config.pairs=pairs.jsonl --config.judge.by=rm:FOLDER
  … --config.judge.by=self:FOLDER, openai:MODEL, logps:FOLDER

Judges that write compare in both orders. `sandbox` has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from xwinjax.recipes import commands
from xwinjax.stages.config import choose

STAGE = "reward_bench"


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  config = commands.ALONE[STAGE].values()
  config.judge.update(by="rm", mode="pairwise", both_positions=True, samples=1)
  config.judge.params.update(temperature=0.0, top_p=1.0)
  choose({"llama": lambda: None, "sandbox": lambda: _small(config)}, variant)()
  return config


def _small(config: ConfigDict) -> None:
  config.judge.max_new = 96
  config.judge.sampler.update(slots=64, block=8, window=32)
