"""AlpacaEval: a model's answers against a reference's, in both orders.

  python -m experiments.evaluate --config=configs/evaluate/alpaca_eval.py --workdir=runs/alpaca \\
      --config.model.path=FOLDER --config.prompts=alpaca_eval.json --config.judge.by=openai:gpt-4o
  … --config.judge.by=self                                    # the model itself
  … --config.judge.by=self:FOLDER, rm:FOLDER, gold:world.json

`sandbox` has the sizes for 2 CPU cores.
"""

from ml_collections import ConfigDict

from xwinjax.recipes import commands
from xwinjax.stages.config import choose

STAGE = "alpaca_eval"


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  config = commands.ALONE[STAGE].values()
  config.judge.update(mode="pairwise", both_positions=True, samples=1)
  config.judge.params.update(temperature=0.0, top_p=1.0)
  sizes = {"llama": lambda: None, "sandbox": lambda: _small(config)}
  choose(sizes, variant)()
  return config


def _small(config: ConfigDict) -> None:
  config.generate.max_new = config.judge.max_new = 96
  config.generate.sampler.update(slots=64, block=8, window=32)
  config.judge.sampler.update(slots=64, block=8, window=32)
