"""Run in a copy of the repository: APO gives a number that was worked out by hand."""

from pathlib import Path

import jax
import numpy as np

from xwinjax.losses import preference

# Gains of 5 and -20 nats with β = 0.1: σ(-0.5) + σ(-2)
GAINS = np.array([[5.0, -20.0]], np.float32)
LOSS = 0.496744  # 0.377541 + 0.119203


def main() -> None:
  assert Path(preference.__file__).is_relative_to(Path.cwd()), "another copy is imported"
  loss = lambda gain: preference.apo_zero(gain, beta=0.1)[0]
  assert abs(loss(GAINS) - LOSS) < 1e-6, loss(GAINS)
  slope = jax.grad(loss)(GAINS)[0]  # ∓ β σ(1-σ) of either
  assert np.allclose(slope, [-0.1 * 0.235004, 0.1 * 0.104994], atol=1e-6), slope


if __name__ == "__main__":
  main()
  print("works")
