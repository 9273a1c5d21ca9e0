"""LIMA's ablation of quantity: 2^k times as many examples of the same quality.

  python -m experiments.sweep --config configs/ablations/lima_quantity.py:sandbox \\
      --workdir runs/quantity --seeds 0 1 2

The paper (7B, filtered Stack Exchange): 2,000 to 32,000 examples make no difference. Row xN has N
times 2,000 examples with `7b` (the first rows of data.train), and N times 64 on the sandbox.
"""

from ml_collections import ConfigDict

from configs import lima
from xwinjax.stages.config import choose

EXPERIMENT = "lima"
TIMES = (1, 2, 4, 8, 16)
SANDBOX, PAPER_COUNT = 64, 2000
AXIS = (
  f"times {SANDBOX} examples (sandbox) or {PAPER_COUNT:,} (paper)",
  {f"x{n}": n for n in TIMES},
)
EXPECTS = (("x16", "~", "x1"), ("x16", "~", "x4"))


def get_config(spec: str = "sandbox") -> ConfigDict:
  """VARIANT or VARIANT/ROW; the first row where none is named."""
  variant, _, row = spec.partition("/")
  config = lima.get_config(variant)
  choose(ROWS, row or "x1")(config)
  return config


def examples(times: int):
  def change(config: ConfigDict) -> None:
    if config.sandbox.on:
      config.sandbox.community.examples = SANDBOX * times
    else:
      config.sft.limit = PAPER_COUNT * times

  return change


ROWS = {f"x{n}": examples(n) for n in TIMES}
