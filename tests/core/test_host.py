"""What every command sets before its first computation."""

import jax

from xwinjax.core import host


def test_steps_are_not_dispatched_ahead():
  """Else a step takes its memory before the last one has given its own back."""
  jax.config.update("jax_cpu_enable_async_dispatch", True)
  host.prepare()
  assert not jax.config.read("jax_cpu_enable_async_dispatch")
