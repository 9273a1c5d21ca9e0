"""Run in a copy of the repository: the loss has a config, and the stage takes it."""

from pathlib import Path

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.losses import preference, table
from xwinjax.recipes import cli
from xwinjax.recipes.commands import ALONE
from xwinjax.stages import dpo
from xwinjax.stages.config import from_config_dict

# p = σ(0.5) = 0.622459: p (log p - log 0.999) + (1-p) (log (1-p) - log 0.001)
LOSS = 1.945734


def taken(values) -> dpo.DPOConfig:
  _, config, _, _ = ALONE["dpo"].parts(from_config_dict(ALONE["dpo"].config, values), False)
  dpo.STAGE.check(config)
  return config


def main() -> None:
  assert Path(preference.__file__).is_relative_to(Path.cwd()), "another copy is imported"
  values = cli.load("configs/dpo.py")
  values.variant, values.label_smoothing = "exo", 0.1
  taken(values)
  made = taken(cli.load("configs/dpo.py:exo"))
  assert (made.variant, made.label_smoothing) == ("exo", 0.001)
  values.label_smoothing, refused = 0.5, ""
  try:
    taken(values)
  except UserError as e:
    refused = str(e)
  assert refused.startswith("config.label_smoothing is 0.5; expected >= 0 and < 0.5"), refused
  gain = np.array([[1.0, -4.0]], np.float32)  # a margin of 5
  loss = table.LOSSES["exo"](gain, beta=0.1, label_smoothing=0.001)
  assert abs(loss[0] - LOSS) < 1e-5, loss


if __name__ == "__main__":
  main()
  print("works")
