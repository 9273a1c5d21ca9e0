"""One pass over items: every item once, in numpy, with what it was computed from."""

import jax.numpy as jnp
import numpy as np
import pytest
from compiled import small_config

from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Builder
from xwinjax.data.records import Counts
from xwinjax.forward.over_items import jitted, over_items

BATCH = BatchConfig(2, buckets=2, multiple=4, microbatches=2, bucket_places=0)
MODEL = small_config()


def token_sums(model, params, batch, *, times=1):
  return {"sum": times * params * batch["tokens"].sum(1)}


@pytest.fixture(scope="module")
def sequences():
  builder = Builder()
  for n in (3, 9, 4, 2, 11):
    builder.sequence(str(n), [n] * n, [0] + [1] * (n - 1))
  return builder.build(Counts(), branched=False)


@pytest.fixture(scope="module")
def trees():
  """Prompts with one, three and two answers."""
  builder = Builder()
  for answers in (1, 3, 2):
    builder.tree(str(answers), [1, 2, 3], [[4, 5]] * answers)
  return builder.build(Counts(), branched=True, number=np.arange(3))


def test_every_item_comes_once_with_its_own_value(sequences):
  sums = []
  for arrays, values in over_items(jitted(token_sums, MODEL), jnp.int32(3), sequences, BATCH):
    assert isinstance(values["sum"], np.ndarray)
    assert values["sum"].tolist() == (3 * arrays["tokens"].sum(1)).tolist()
    sums += values["sum"][values["sum"] > 0].tolist()
  assert sorted(sums) == sorted(3 * n * n for n in (3, 9, 4, 2, 11))


def test_progress_counts_answers_and_tokens(sequences, trees):
  for data, answers in ((sequences, 5), (trees, 6)):
    heard = []
    on_rows = lambda n, tokens, heard=heard: heard.append((n, tokens))
    batches = list(over_items(jitted(token_sums, MODEL), 1, data, BATCH, on_rows=on_rows))
    assert len(heard) == len(batches)
    assert np.sum(heard, 0).tolist() == [answers, data.lengths.sum()]


def test_a_batch_is_read_while_the_next_one_runs(sequences):
  events = []

  def forward(params, batch):
    events.append("run")
    return batch["tokens"]

  for _ in over_items(forward, 1, sequences, BATCH):
    events.append("read")
  assert events == ["run", "run", "read", "run", "read", "read"]


def test_a_second_pass_compiles_nothing(sequences):
  first = jitted(token_sums, MODEL, times=2)
  list(over_items(first, 1, sequences, BATCH))
  compiled = first._cache_size()
  again = jitted(token_sums, MODEL, times=2)
  list(over_items(again, 2, sequences, BATCH))
  assert again is first
  assert again._cache_size() == compiled
  assert jitted(token_sums, MODEL, times=3) is not first  # the twin: other settings are another
