"""A loss far above that of the steps before is reported."""

import numpy as np

from xwinjax.train.spikes import LEAST, RECENT, Spikes, found


def curve(noise=0.1, steps=200):
  """A falling loss with noise, as metrics rows."""
  rng = np.random.default_rng(0)
  loss = 2 * np.exp(-np.arange(steps) / 60) + 0.5 + noise * rng.standard_normal(steps)
  return [{"step": n + 1, "loss": float(x)} for n, x in enumerate(loss)]


def test_a_jump_is_found_and_noise_is_not():
  rows = curve()
  assert found(rows) == []
  rows[120]["loss"] += 2
  assert found(rows) == [121]


def test_a_run_that_stays_high_is_told_once():
  rows = curve()
  for row in rows[120:140]:
    row["loss"] += 3
  assert found(rows) == [121]


def test_what_is_not_finite_or_missing_is_no_spike():
  rows = curve()
  rows[120]["loss"], rows[121]["loss"] = None, float("nan")
  del rows[122]["loss"]
  assert found(rows) == []


def test_steps_that_agree_leave_room():
  watch = Spikes()
  assert [watch.usual(1.0) for _ in range(LEAST)] == [None] * LEAST
  assert watch.usual(1.1) is None
  assert watch.usual(1.5) == 1.0


def test_too_few_steps_have_no_spread():
  watch = Spikes()
  assert [watch.usual(x) for x in (1.0, 1.0, 50.0)] == [None] * 3
  assert RECENT > LEAST
