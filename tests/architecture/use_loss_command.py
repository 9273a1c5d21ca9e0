"""Run in a copy of the repository: the loss has a config, and the stage takes it."""

from pathlib import Path

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.losses import preference
from xwinjax.recipes import cli
from xwinjax.recipes.commands import ALONE
from xwinjax.stages import dpo
from xwinjax.stages.config import from_config_dict

# log σ(0.5) = -0.474077 and log σ(-0.5) = -0.974077: (0.9 · 0.474077 - 0.1 · 0.974077) / 0.8
LOSS = 0.411577


def taken(values) -> dpo.DPOConfig:
  _, config, _, _ = ALONE["dpo"].parts(from_config_dict(ALONE["dpo"].config, values), False)
  dpo.STAGE.check(config)
  return config


def main() -> None:
  assert Path(preference.__file__).is_relative_to(Path.cwd()), "another copy is imported"
  values = cli.load("configs/dpo.py")
  values.variant, values.label_smoothing = "robust", 0.1
  taken(values)
  made = taken(cli.load("configs/dpo.py:robust"))
  assert (made.variant, made.label_smoothing) == ("robust", 0.1)
  values.label_smoothing, refused = 0.5, ""
  try:
    taken(values)
  except UserError as e:
    refused = str(e)
  assert refused.startswith("config.label_smoothing is 0.5; expected >= 0 and < 0.5"), refused
  policy, reference = np.array([[-5.0, -12.0]]), np.array([[-6.0, -8.0]])  # a margin of 5
  loss = preference.dpo(policy, reference, beta=0.1, variant="robust", label_smoothing=0.1)
  assert abs(loss[0] - LOSS) < 1e-6, loss


if __name__ == "__main__":
  main()
  print("works")
