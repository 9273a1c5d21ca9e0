"""Rotary embeddings, beyond what the logits' goldens say of them."""

import numpy as np
import pytest
from compiled import small_config

from xwinjax.model import rope
from xwinjax.model.config import RopeScaling

LLAMA31 = small_config(
  head_dim=128, rope_theta=500_000.0, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192)
)


def scaled_by_cases(config):
  """Llama 3's rule as its authors state it, in float64."""
  s, out = config.rope_scaling, []
  for i in range(0, config.head_dim, 2):
    frequency = config.rope_theta ** (-i / config.head_dim)
    wavelength = 2 * np.pi / frequency
    if wavelength > s.original_max_length / s.low_freq_factor:
      frequency /= s.factor
    elif wavelength >= s.original_max_length / s.high_freq_factor:
      smooth = s.original_max_length / wavelength - s.low_freq_factor
      smooth /= s.high_freq_factor - s.low_freq_factor
      frequency *= (1 - smooth) / s.factor + smooth
    out.append(frequency)
  return np.array(out)


def test_llama3_scaling_slows_long_waves_and_keeps_short_ones():
  wanted = scaled_by_cases(LLAMA31)
  assert np.allclose(rope.inverse_frequencies(LLAMA31), wanted, rtol=2e-6)
  unscaled = rope.inverse_frequencies(LLAMA31.replace(rope_scaling=None))
  ratio = unscaled / rope.inverse_frequencies(LLAMA31)
  assert ratio[0] == 1.0
  assert ratio[-1] == pytest.approx(8.0)
  assert ((ratio > 1.01) & (ratio < 7.99)).any()
  assert not np.allclose(unscaled, wanted, rtol=2e-6)


def turned(config, x_N, position):
  x = np.asarray(x_N, np.float32)[None, None, None]
  return np.asarray(rope.rotate(x, *rope.rotations(config, np.array([[position]]))))[0, 0, 0]


def test_a_plane_is_coordinates_i_and_i_plus_half():
  config = small_config(head_dim=4, rope_theta=100.0)
  half = np.sqrt(0.5)
  assert np.allclose(turned(config, [1, 0, 0, 0], np.pi / 4), [half, 0, half, 0], atol=1e-6)
  assert np.allclose(turned(config, [0, 1, 0, 0], 10 * np.pi / 4), [0, half, 0, half], atol=1e-6)


def test_scores_depend_on_the_distance_alone():
  config = small_config(head_dim=16)
  q, k = np.random.default_rng(0).normal(size=(2, 16))
  score = lambda at, of: turned(config, q, at) @ turned(config, k, of)
  assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-4)
  assert score(9, 4) != pytest.approx(score(10, 4), abs=1e-4)


def test_angles_of_long_contexts_keep_their_precision():
  config = small_config(head_dim=4, rope_theta=100.0)
  cos, _ = rope.rotations(config.replace(dtype="bfloat16"), np.array([[100_003]]))
  assert float(cos[0, 0, 0, 0]) == pytest.approx(np.cos(100_003), abs=1e-6)
  assert float(cos[0, 0, 0, 0]) != pytest.approx(np.cos(99_840), abs=1e-6)  # what bf16 makes of it
