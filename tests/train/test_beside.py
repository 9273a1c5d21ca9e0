"""What goes on beside the steps: sinks, traces, a look-out for a hung step."""

import json
import re
import struct
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xwinjax.core.errors import UserError
from xwinjax.stages.config import from_config_dict
from xwinjax.train import beside, objectives
from xwinjax.train.loop import LoopConfig, fit
from xwinjax.train.step import init_state, make_train_step


def batches(start):
  for step in range(start, 6):
    rng = np.random.default_rng(step)
    yield {
      "tokens": rng.integers(1, 64, (2, 8)).astype(np.int32),
      "mask": np.ones((2, 8), np.uint8),
    }


@pytest.fixture
def train(config, params, tmp_path):
  def run(steps=6, **settings):
    optimizer = optax.adam(0.01)
    return fit(
      make_train_step(objectives.sft(config), optimizer, seed=0),
      init_state(jax.tree.map(jnp.array, params), optimizer),
      batches,
      steps=steps,
      folder=tmp_path / "sft",
      identity={"run": 1},
      title="sft",
      config=LoopConfig(checkpoint_every=2, **settings),
    )

  return run


def events(folder) -> dict[tuple[str, int], float]:
  """The scalars of TensorBoard's files: each record is a length, a message, and their checksums."""
  from tensorboardX.proto.event_pb2 import Event

  found = {}
  for file in sorted(folder.iterdir()):
    data, at = file.read_bytes(), 0
    while at < len(data):
      [size] = struct.unpack_from("<Q", data, at)
      event = Event.FromString(data[at + 12 : at + 12 + size])
      at += 16 + size
      found |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
  return found


def test_tensorboard_has_what_metrics_jsonl_has(train, tmp_path):
  train(sinks=("tensorboard",))
  rows = [json.loads(x) for x in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()]
  found = events(tmp_path / "sft" / "tensorboard")
  assert len(rows) == 6
  for row in rows:
    assert found["sft/loss", row["step"]] == pytest.approx(row["loss"])
    rate = row["tokens"] / row["seconds"]
    assert found["sft/tokens_per_second", row["step"]] == pytest.approx(rate, rel=1e-3)


def test_wandb_gets_every_step_and_the_same_run_after_a_resume(train, tmp_path, monkeypatch):
  opened, logged = [], []
  run = types.SimpleNamespace(log=lambda v, step: logged.append((step, v)), finish=lambda: None)
  fake = types.SimpleNamespace(init=lambda **how: opened.append(how) or run, __spec__=True)
  monkeypatch.setitem(__import__("sys").modules, "wandb", fake)
  monkeypatch.setattr(beside.importlib.util, "find_spec", lambda name: fake)
  train(steps=2, sinks=("wandb",))
  train(sinks=("wandb",))
  assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6]
  assert {"loss", "tokens_per_second"} <= logged[0][1].keys()
  assert opened[0]["id"] == opened[1]["id"]
  assert opened[0]["resume"] == "allow"


@pytest.mark.parametrize(
  ("sinks", "said"),
  [
    (("paper",), "sinks 'paper': expected some of tensorboard, wandb"),
    (("wandb",), "its library is missing; pip install 'xwinjax[wandb]'"),
  ],
)
def test_a_sink_that_cannot_be_is_refused_with_the_settings(sinks, said, monkeypatch):
  monkeypatch.setattr(beside.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match=re.escape(said)):
    from_config_dict(LoopConfig, {"sinks": sinks})


def test_so_many_steps_are_traced(train, tmp_path, capsys):
  train(profile=2)
  assert "steps 5 to 6 traced" in capsys.readouterr().err
  assert list((tmp_path / "sft" / "profile").rglob("*.xplane.pb"))


def test_a_hung_step_is_named_once():
  said = []
  with beside.LookOut("sft", after=0.05, say=said.append, every=0.01) as look_out:
    look_out.at(1, "compiling")
    time.sleep(0.1)
    assert not said  # compiling takes long
    for step in (2, 3):
      look_out.at(step, "running")
    look_out.at(4, "waiting for data")
    time.sleep(0.2)
  assert len(said) == 1
  assert said[0].startswith("sft: step 4 has been waiting for data for 0 s")


def test_twin_a_slow_step_among_slow_ones_is_not_hung():
  said = []
  with beside.LookOut("sft", after=0.05, say=said.append, every=0.01) as look_out:
    for step in range(4):
      look_out.at(step, "running")
      time.sleep(0.04)
    look_out.at(5, "running")
    time.sleep(0.2)
  assert not said
