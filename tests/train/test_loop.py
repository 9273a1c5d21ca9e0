"""The training loop: exact resume, signals, metrics, runs that go wrong."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import equal

from xwinjax.checkpoint.store import Store
from xwinjax.core.errors import UserError
from xwinjax.core.types import Mean
from xwinjax.train import objectives, spikes
from xwinjax.train.loop import LoopConfig, Stopped, fit, truncate_metrics
from xwinjax.train.step import init_state, make_train_step

STEPS = 6


class Killed(BaseException):
  """An end that nobody expected, between two checkpoints."""


def batches_from(start, *, kill_at=None, poison=(), then=None):
  """Batch k is a function of k alone; `then` is called while batch kill_at is fetched."""
  for step in range(start, STEPS):
    if step == kill_at:
      if then is None:
        raise Killed
      then()
    rng = np.random.default_rng(step)
    yield {
      "tokens": rng.integers(1, 64, (2, 8)).astype(np.int32),
      "mask": np.ones((2, 8), np.uint8),
      "poison": np.full(2, np.nan if step in poison else 1.0, np.float32),
    }


@pytest.fixture(scope="module")
def trainer(config, params):
  """fit() with dropout, so that keys matter too; (folder, how batches go wrong) -> state."""

  def objective(params, batch, key):
    loss, metrics = objectives.sft(config.replace(dropout=(0.1, 0.3)))(params, batch, key)
    return Mean(loss.total * jnp.mean(batch["poison"]), loss.weight), metrics

  optimizer = optax.adam(0.01)
  step = make_train_step(objective, optimizer, seed=3)

  def run(folder, stream=batches_from, every=2, identity=None, stop_after_skips=10):
    return fit(
      step,
      init_state(jax.tree.map(jnp.array, params), optimizer),
      stream,
      steps=STEPS,
      folder=folder,
      identity=identity or {"run": 1},
      title="test",
      config=LoopConfig(checkpoint_every=every, stop_after_skips=stop_after_skips),
    )

  return run


@pytest.fixture(scope="module")
def straight(trainer, tmp_path_factory):
  """(state, metrics rows without times) of a run nobody disturbs."""
  folder = tmp_path_factory.mktemp("straight")
  return trainer(folder), rows(folder)


def rows(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  times = ("seconds", "wait_s", "first_of_shape")
  return [{k: v for k, v in json.loads(line).items() if k not in times} for line in lines]


@pytest.mark.parametrize("kill_at", [1, 3, 5])
def test_a_killed_run_continues_to_the_same_bits(trainer, straight, tmp_path, kill_at):
  with pytest.raises(Killed):
    trainer(tmp_path, lambda start: batches_from(start, kill_at=kill_at))
  state, wanted_rows = straight
  assert equal(trainer(tmp_path), state)
  assert rows(tmp_path) == wanted_rows
  assert [row["step"] for row in wanted_rows] == [1, 2, 3, 4, 5, 6]


def test_a_resumed_run_that_replays_batches_does_not(trainer, straight, tmp_path):
  with pytest.raises(Killed):
    trainer(tmp_path, lambda start: batches_from(start, kill_at=3))
  replayed = trainer(tmp_path, lambda start: batches_from(0))
  assert not equal(replayed.params, straight[0].params)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_and_the_run_continues(trainer, straight, tmp_path, number, code):
  stream = lambda start: batches_from(start, kill_at=2, then=lambda: os.kill(os.getpid(), number))
  with pytest.raises(Stopped, match="after step 3; run the same command to continue") as stopped:
    trainer(tmp_path, stream, every=100)
  assert stopped.value.code == code
  assert (tmp_path / "checkpoints" / "00000003.json").exists()
  assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
  assert equal(trainer(tmp_path, every=100), straight[0])


def test_a_signal_while_the_last_step_is_saved_still_stops(
  trainer, straight, tmp_path, monkeypatch
):
  close = Store.close

  def closing(store):
    os.kill(os.getpid(), signal.SIGTERM)
    close(store)

  with monkeypatch.context() as patch:
    patch.setattr(Store, "close", closing)
    with pytest.raises(Stopped, match="after step 6"):
      trainer(tmp_path)
  assert equal(trainer(tmp_path), straight[0])


def test_a_finished_run_is_left_as_it_is(trainer, straight, tmp_path):
  trainer(tmp_path)
  again = trainer(tmp_path, lambda start: pytest.fail("asked for batches"))
  assert equal(again, straight[0])
  assert rows(tmp_path) == straight[1]


def test_another_run_s_folder_is_refused(trainer, tmp_path):
  trainer(tmp_path)
  with pytest.raises(UserError, match="belongs to another run: run was 1 and is 2"):
    trainer(tmp_path, identity={"run": 2})


def test_a_skipped_update_is_written_down(trainer, tmp_path):
  state = trainer(tmp_path, lambda start: batches_from(start, poison=(2,)))
  assert int(state.skipped_total) == 1
  row = rows(tmp_path)[2]
  assert (row["loss"], row["skipped"]) == (None, 1)
  assert all(np.isfinite(p).all() for p in jax.tree.leaves(state.params))


def test_a_loss_spike_is_said(trainer, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(spikes, "LEAST", 3)

  def stream(start):
    for step, batch in enumerate(batches_from(start), start):
      yield batch | {"poison": np.full(2, 100.0 if step == 4 else 1.0, np.float32)}

  trainer(tmp_path, stream)
  [line] = [line for line in capsys.readouterr().err.splitlines() if "a loss of" in line]
  assert line.startswith("test: step 5: a loss of 5")


def test_too_many_skips_stop_the_run_and_keep_the_last_good_checkpoint(trainer, tmp_path):
  stream = lambda start: batches_from(start, poison=(2, 3, 4, 5))
  with pytest.raises(UserError, match=r"step 4: .*not finite for 2 steps in a row"):
    trainer(tmp_path, stream, stop_after_skips=2)
  saved = sorted(p.stem for p in (tmp_path / "checkpoints").glob("*.json"))
  assert saved == ["00000002"]


def test_metrics_end_at_the_restored_step(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
  truncate_metrics(path, 2)
  assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
  truncate_metrics(tmp_path / "none.jsonl", 2)


def test_metrics_that_were_changed_are_not_gone_on_with(trainer, tmp_path):
  with pytest.raises(Killed):
    trainer(tmp_path, lambda start: batches_from(start, kill_at=5))
  path = tmp_path / "metrics.jsonl"
  whole = path.read_text()
  for change in (whole.replace('"step": 2', '"step": 9'), whole.replace('"loss"', '"1oss"', 1), ""):
    path.write_text(change)
    with pytest.raises(UserError, match=r"metrics.jsonl: changed since step 4 was saved"):
      trainer(tmp_path)
  path.write_text(whole)  # the twin: as it was, it goes on
  trainer(tmp_path)
  assert len(rows(tmp_path)) == 6


def test_the_line_says_where_time_goes(trainer, tmp_path, capsys):
  trainer(tmp_path)
  line = capsys.readouterr().err.strip().splitlines()[-1]
  assert "padding 0%" in line  # no token of these batches is 0
  assert "wait " in line
  assert "MFU" not in line  # a CPU's peak is not known
