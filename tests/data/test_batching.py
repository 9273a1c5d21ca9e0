"""The plan of a run and the arrays of its batches."""

import itertools

import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.core.segments import BRANCHES
from xwinjax.data import batching, pipeline
from xwinjax.data.batching import BatchConfig, build_batch, make_plan
from xwinjax.data.records import Counts

LENGTHS = np.random.default_rng(0).integers(6, 90, 203).tolist()
CONFIGS = {
  "buckets": BatchConfig(batch_size=8, buckets=4, bucket_places=0),
  "tokens": BatchConfig(batch_tokens=512, buckets=3, bucket_places=0),
  "packed": BatchConfig(batch_size=4, packing=128),
  "packed tokens": BatchConfig(batch_tokens=1024, packing=128, microbatches=2),
  "short ones packed": BatchConfig(batch_tokens=1024, packing=64, buckets=3, bucket_places=0),
}


@pytest.fixture(params=CONFIGS)
def planned(request, make_items):
  """(items, config, plan of three epochs on two shards) for each way of batching."""
  made, config = make_items(LENGTHS), CONFIGS[request.param]
  return made, config, make_plan(made, config, seed=1, epochs=3, shards=2)


def seen(batches) -> Counts:
  return Counts(i for batch in batches for row in batch.rows for i in row)


def epochs_are_whole(made, config, plan) -> bool:
  """Whether each epoch has every item exactly once."""
  ends = [0]
  for epoch in range(3):
    one = batching._epoch(made.lengths, config, plan.heights, 1, epoch)
    ends.append(ends[-1] + len(one))
  parts = [plan.batches[a:b] for a, b in itertools.pairwise(ends)]
  return ends[-1] == len(plan.batches) and all(
    seen(part) == dict.fromkeys(range(len(made)), 1) for part in parts
  )


def test_every_item_comes_once_an_epoch(planned):
  assert epochs_are_whole(*planned)


def test_twin_a_lost_or_doubled_item_is_noticed(planned, monkeypatch):
  made, config, _ = planned
  epoch = batching._epoch

  def wrong(*args):
    first, *rest = epoch(*args)
    return [batching.PlannedBatch(first.length, (*first.rows[:-1], first.rows[0])), *rest]

  monkeypatch.setattr(batching, "_epoch", wrong)
  assert not epochs_are_whole(made, config, make_plan(made, config, seed=1, epochs=3, shards=2))


def test_the_plan_is_a_pure_function_of_data_settings_and_seed(planned, make_items):
  made, config, plan = planned
  again = make_items(LENGTHS)
  assert again.fingerprint() == made.fingerprint()
  assert make_plan(again, config, seed=1, epochs=3, shards=2) == plan
  assert make_plan(made, config, seed=2, epochs=3, shards=2).batches != plan.batches
  epochs = np.array_split(np.array([b.rows[0][0] for b in plan.batches]), 3)
  assert not np.array_equal(epochs[0], epochs[1][: len(epochs[0])])
  # A longer run begins as a shorter one.
  assert (
    make_plan(made, config, seed=1, epochs=1, shards=2).batches
    == plan.batches[: plan.steps_per_epoch]
  )


def test_a_batch_does_not_depend_on_when_it_is_asked_for(planned):
  made, _, plan = planned
  last, first = (build_batch(made, plan, i) for i in (len(plan.batches) - 1, 0))
  for name, array in build_batch(made, plan, 0).items():
    assert np.array_equal(array, first[name])
  assert not np.array_equal(first["tokens"], last["tokens"])


def test_shapes_are_few_and_within_their_tokens(planned):
  made, config, plan = planned
  shapes = {
    tuple((k, v.shape) for k, v in build_batch(made, plan, i).items())
    for i in range(len(plan.batches))
  }
  assert len(shapes) <= (1 if config.packing == 128 else config.buckets)
  for length, height in plan.heights.items():
    assert height % (2 * config.microbatches) == 0
    if config.batch_tokens:
      assert length * height <= config.batch_tokens
    else:
      assert height == config.batch_size
  for batch in plan.batches:
    assert len(batch.rows) <= plan.heights[batch.length]
    assert all(sum(made.lengths[i] for i in row) <= batch.length for row in batch.rows)


def test_packing_fills_rows(planned):
  made, config, plan = planned
  if config.packing:
    assert plan.fill(made.lengths) > 0.85
    assert plan.examples > 1


def test_what_is_longer_than_a_packed_row_lies_in_one_of_its_own(make_items):
  made = make_items(LENGTHS)
  plan = make_plan(made, CONFIGS["short ones packed"], seed=0)
  assert sorted(plan.heights) == [64, 80, 96]
  for batch in plan.batches:
    for row in batch.rows:
      assert len(row) == 1 or sum(made.lengths[i] for i in row) <= 64
  longer = [row for b in plan.batches if b.length > 64 for row in b.rows]
  assert {i for row in longer for i in row} >= {i for i, n in enumerate(LENGTHS) if n > 64}
  only = make_plan(make_items([70, 80]), CONFIGS["short ones packed"], seed=0)
  assert set(only.heights) == {80}
  assert all(len(row) == 1 for row in only.batches[0].rows)


def test_arrays_hold_the_planned_items(planned):
  made, _, plan = planned
  for index in (0, len(plan.batches) // 2, len(plan.batches) - 1):
    batch, planned_rows = build_batch(made, plan, index), plan.batches[index].rows
    for b, row in enumerate(planned_rows):
      at = 0
      for e, i in enumerate(row):
        n = made.lengths[i]
        assert (batch["tokens"][b, at : at + n] == i + 1).all()
        assert batch["mask"][b, at : at + n].tolist() == [0] + [1] * (n - 1)
        if "segments" in batch:
          assert batch["positions"][b, at : at + n].tolist() == list(range(n))
          assert (batch["segments"][b, at : at + n] == (e + 1) * BRANCHES).all()
        at += n
      assert not batch["tokens"][b, at:].any()
      assert not batch["mask"][b, at:].any()
    assert not batch["tokens"][len(planned_rows) :].any()


def gathers_every_target(batch) -> bool:
  """Whether the places of each group are exactly those of supervised tokens."""
  groups = len(batch["gather"])
  for gather, mask in zip(batch["gather"], np.split(batch["mask"], groups), strict=True):
    places = np.zeros(mask.size, int)
    np.add.at(places, gather[gather >= 0], 1)
    if not np.array_equal(places, mask.ravel()) or (gather < -1).any():
      return False
  return True


def test_gather_names_every_target(planned):
  made, config, plan = planned
  for index in range(0, len(plan.batches), 5):
    batch = build_batch(made, plan, index)
    assert batch["gather"].shape[0] == plan.groups == 2 * config.microbatches
    assert gathers_every_target(batch)


def test_twin_a_shifted_gather_is_noticed(planned):
  made, _, plan = planned
  batch = build_batch(made, plan, 0)
  batch["gather"] = np.where(batch["gather"] >= 0, batch["gather"] - 1, -1)
  assert not gathers_every_target(batch)


def test_shards_share_a_batch_without_overlap(planned):
  made, _, plan = planned
  assert plan.shards > 1
  for index in (0, len(plan.batches) - 1):
    whole = build_batch(made, plan, index)
    parts = [build_batch(made, plan, index, shards=[s]) for s in range(plan.shards)]
    for name, array in whole.items():
      together = np.concatenate([part[name] for part in parts])
      assert np.array_equal(together, array)
      swapped = np.concatenate([part[name] for part in parts[::-1]])
      assert name != "tokens" or not np.array_equal(swapped, array)  # the check's twin
    ends = build_batch(made, plan, index, shards=[0, plan.shards - 1])
    for name in whole:
      assert np.array_equal(ends[name], np.concatenate([parts[0][name], parts[-1][name]]))


def test_branched_items_bring_their_fields(make_items):
  made = make_items([9, 12, 10, 7, 8], branched=True)
  plan = make_plan(made, BatchConfig(batch_size=2, packing=32), seed=0)
  found = Counts()
  for index, planned_batch in enumerate(plan.batches):
    batch = build_batch(made, plan, index)
    assert batch["margin"].shape == batch["example_weight"].shape == (2, plan.examples)
    for b, row in enumerate(planned_batch.rows):
      assert batch["margin"][b, : len(row)].tolist() == [float(i) for i in row]
      assert batch["example_weight"][b].tolist() == [
        float(e < len(row)) for e in range(plan.examples)
      ]
      found.update(row)
    branches = set((batch["segments"] % BRANCHES).ravel().tolist())
    assert branches == {0, 1, 2}
  assert found == dict.fromkeys(range(5), 1)


def test_pairs_in_rows_of_their_own_are_still_branched(make_items):
  made = make_items([9, 12, 10, 7], branched=True)
  plan = make_plan(made, BatchConfig(batch_size=2), seed=0)
  batch = build_batch(made, plan, 0)
  assert batch["example_weight"].shape == (2, 1)
  assert {"positions", "segments"} <= batch.keys()


@pytest.mark.parametrize("read_ahead", [1, 4])
def test_the_pipeline_gives_the_plan_in_order(planned, read_ahead):
  made, _, plan = planned
  stream = pipeline.batches(made, plan, read_ahead=read_ahead)
  count = 0
  for index, batch in enumerate(itertools.islice(stream, 12)):
    for name, array in build_batch(made, plan, index).items():
      assert np.array_equal(batch[name], array)
    count += 1
  assert count == min(12, len(plan.batches))


def test_a_resumed_pipeline_goes_on_with_the_same_batches(planned):
  made, _, plan = planned
  start = len(plan.batches) - 4
  rest = list(pipeline.batches(made, plan, start=start, shards=[1]))
  assert len(rest) == 4
  for index, batch in enumerate(rest, start):
    expected = build_batch(made, plan, index, shards=[1])
    assert batch.keys() == expected.keys()
    assert all(np.array_equal(batch[name], expected[name]) for name in expected)


def test_part_of_an_epoch(make_items):
  made = make_items(LENGTHS)
  whole = make_plan(made, CONFIGS["buckets"], seed=0)
  for epochs, part in ((0.5, 0.5), (1.5, 1.5), (0.001, 0)):
    plan = make_plan(made, CONFIGS["buckets"], seed=0, epochs=epochs)
    assert len(plan.batches) == max(1, round(part * len(whole.batches)))
    assert plan.batches[:5] == whole.batches[: min(5, len(plan.batches))]


def test_buckets_waste_the_fewest_places():
  rng = np.random.default_rng(0)
  for count in (1, 2, 3, 5):
    lengths = rng.integers(1, 200, 40)
    rounded = -(-lengths // 16) * 16
    waste = lambda sizes: sum(min(s for s in sizes if s >= n) for n in rounded)  # noqa: B023
    sizes = sorted(set(rounded.tolist()))
    rest = itertools.combinations(sizes[:-1], min(count, len(sizes)) - 1)
    best = min(waste((*some, sizes[-1])) for some in rest)
    chosen = batching.choose_buckets(lengths, count, 16)
    assert len(chosen) <= count
    assert waste(chosen) == best
    assert count == 1 or waste(chosen[-1:]) > best  # one bucket is worse


def test_a_row_length_more_has_to_save_as_many_places_as_compiling_it_is_worth(make_items):
  made = make_items([10] * 300 + [60] * 20)  # one length: 320 rows of 64; two: 300 of 16, 20 of 64
  saved = 300 * (64 - 16)
  lengths = lambda places, epochs: sorted(
    make_plan(made, BatchConfig(buckets=2, bucket_places=places), seed=0, epochs=epochs).heights
  )
  assert lengths(saved - 1, 1) == [16, 64]
  assert lengths(saved + 1, 1) == [64]
  assert lengths(saved + 1, 2) == [16, 64]  # of twice as many rows
  assert lengths(2**16, 1) == [64]  # the default: small data is trained on in one shape


@pytest.mark.parametrize(
  ("config", "options", "says"),
  [
    (BatchConfig(batch_size=6), {"shards": 4}, "batch_size 6 does not divide into 1 micro"),
    (BatchConfig(), {"epochs": 0}, "epochs is 0; expected more than 0"),
  ],
)
def test_what_cannot_be_planned_gets_a_line(config, options, says, make_items):
  with pytest.raises(UserError, match=says):
    make_plan(make_items(LENGTHS), config, **{"seed": 0, **options})


def test_nothing_to_train_on_gets_a_line(make_items):
  with pytest.raises(UserError, match="nothing to train on: no rows"):
    make_plan(make_items([]), BatchConfig(), seed=0)


@pytest.mark.parametrize(
  "field", ["batch_size", "buckets", "multiple", "microbatches", "batch_tokens", "packing"]
)
def test_sizes_that_make_no_batch_are_refused(field):
  with pytest.raises(ValueError, match=f"{field} is -1; expected "):
    BatchConfig(**{field: -1})
