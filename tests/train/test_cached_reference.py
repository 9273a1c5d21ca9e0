"""Reference log-probs taken once, in other batches, are those the step would compute itself."""

import jax
import numpy as np
import pytest

from xwinjax.data.batching import BatchConfig, build_batch, make_plan
from xwinjax.data.items import Builder
from xwinjax.data.records import Counts
from xwinjax.forward import values
from xwinjax.stages import reference


@pytest.fixture(scope="module")
def pairs():
  rng, builder = np.random.default_rng(0), Builder()
  ids = lambda n: rng.integers(1, 64, n).tolist()
  for i, (prompt, chosen, rejected) in enumerate([(5, 4, 3), (9, 2, 7), (3, 6, 6), (7, 5, 1)]):
    builder.tree(str(i), ids(prompt), (ids(chosen), ids(rejected)))
  return builder.build(Counts(), branched=True, margin=np.zeros(4, np.float32))


@pytest.fixture(scope="module")
def cached(config, params, pairs):
  return reference.reference_logps(
    config, params, pairs, BatchConfig(2, buckets=2, bucket_places=0), None
  )


def test_cached_equals_live(config, params, pairs, cached):
  numbered = pairs.with_fields(number=np.arange(4))
  batch = build_batch(numbered, make_plan(numbered, BatchConfig(4, buckets=1), seed=1), 0)
  live = jax.jit(lambda p, b: values.pair_logps(config, p, b)[0])(params, batch)
  assert np.allclose(cached[batch["number"]], live, atol=1e-5)
  assert not np.allclose(cached[batch["number"]][::-1], live, atol=1e-2)  # another pair's
  other = jax.tree.map(lambda x: 1.01 * x, params)
  moved = jax.jit(lambda p, b: values.pair_logps(config, p, b)[0])(other, batch)
  assert not np.allclose(cached[batch["number"]], moved, atol=1e-3)  # another model's
