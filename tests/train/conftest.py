import numpy as np
import pytest
from compiled import small_config, small_params

from xwinjax.core.segments import segment


@pytest.fixture(scope="session")
def config():
  """One layer, which compiles in half the time of two."""
  return small_config(num_layers=1)


@pytest.fixture(scope="session")
def params(config):
  return small_params(config)


@pytest.fixture(scope="session")
def sft_batch():
  """Eight rows of 12 whose supervised tokens are spread very unevenly."""
  rng = np.random.default_rng(0)
  mask = np.zeros((8, 12), np.uint8)
  for row, n in zip(mask, (1, 11, 2, 9, 0, 5, 1, 1), strict=True):
    row[12 - n :] = 1
  return {"tokens": rng.integers(1, 64, (8, 12)).astype(np.int32), "mask": mask}


@pytest.fixture(scope="session")
def pair_batch():
  """Four rows of one pair each: a prompt of 4 with answers of 5 and 3; the last row is padding."""
  rng = np.random.default_rng(1)
  tokens = rng.integers(1, 64, (4, 14)).astype(np.int32)
  tokens[:, 9] = tokens[:, 3]  # each answer opens with the prompt's last token
  segments = np.repeat([segment(1), segment(1, 1), segment(1, 2), 0], [3, 6, 4, 1])
  positions = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 3, 4, 5, 6, 0])
  mask = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0])
  real = np.array([1, 1, 1, 0])[:, None]
  return {
    "tokens": tokens * real.astype(np.int32),
    "mask": (mask * real).astype(np.uint8),
    "positions": (positions * real).astype(np.int32),
    "segments": (segments * real).astype(np.int32),
    "example_weight": real.astype(np.float32),
    "margin": rng.uniform(0, 1, (4, 1)).astype(np.float32),
    "reference": rng.normal(-20, 3, (4, 1, 2)).astype(np.float32),
  }
