"""Run in a copy of the repository: SimPO gives a number that was worked out by hand."""

from pathlib import Path

import jax
import numpy as np

from xwinjax.losses import preference

# Chosen: 5 tokens of -2 nats; rejected: 4 of -3. With β = 2 and γ = 0.5: σ(-4 + 6 - 0.5) = σ(1.5)
LOGPS, LENGTHS = np.array([[-10.0, -12.0]]), np.array([[5, 4]])
LOSS = 0.201413  # log(1 + e^-1.5)


def main() -> None:
  assert Path(preference.__file__).is_relative_to(Path.cwd()), "another copy is imported"
  loss = lambda logps: preference.simpo(logps, LENGTHS, beta=2.0, gamma=0.5)[0]
  assert abs(loss(LOGPS) - LOSS) < 1e-6, loss(LOGPS)
  slope = jax.grad(loss)(LOGPS)[0]  # -(1 - σ(1.5)) β / |y|, of the other sign for the rejected
  assert np.allclose(slope, [-0.182426 * 2 / 5, 0.182426 * 2 / 4], atol=1e-6), slope


if __name__ == "__main__":
  main()
  print("works")
