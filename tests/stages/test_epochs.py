"""SFT that keeps the models of some epochs, and measures the held-out loss after each."""

import dataclasses
import json
import math

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.data.batching import BatchConfig
from xwinjax.stages import common, sft
from xwinjax.stages.common import ModelConfig
from xwinjax.stages.sft import SFTConfig
from xwinjax.stages.stage import Context, open_model
from xwinjax.stages.training import TrainConfig, at_epoch_ends
from xwinjax.train.optim import OptimConfig


@pytest.fixture
def config(tmp_path) -> SFTConfig:
  colours = ("red", "blue", "green", "white", "black", "brown", "grey", "pink", "gold")
  rows = [
    {
      "messages": [
        {"role": "user", "content": f"What colour is number {i}?"},
        {"role": "assistant", "content": f"It is {c}."},
      ]
    }
    for i, c in enumerate(colours)
  ]
  jsonl.write_rows(tmp_path / "train.jsonl", rows)
  train = TrainConfig(
    epochs=4.0,
    batch=BatchConfig(batch_size=8, buckets=1),
    optim=OptimConfig(lr=1e-2, schedule="constant", warmup=0.0),
  )
  return SFTConfig(train=train)


@pytest.fixture
def reads(config, tiny_folder, tmp_path):
  data = tmp_path / "train.jsonl"
  return {"model": tiny_folder, "data": data, "heldout": data}


def test_epochs_are_measured_and_some_are_kept(config, reads, tmp_path):
  figures = sft.STAGE.run(Context(), tmp_path / "sft", config, reads, keep=(2, 3))
  epochs = figures["epochs"]
  assert [e["epoch"] for e in epochs] == [1, 2, 3, 4]
  assert [e["step"] for e in epochs] == [2, 4, 6, 8]
  assert [e["kept"] for e in epochs] == [False, True, True, False]
  assert epochs[0]["heldout_nll"] > epochs[-1]["heldout_nll"]
  assert epochs[-1]["heldout_nll"] == pytest.approx(figures["heldout_nll"], abs=1e-5)
  steps = sorted(p.name for p in (tmp_path / "sft" / "steps").iterdir())
  assert steps == ["0000004", "0000004.sha256", "0000006", "0000006.sha256"]
  model = common.open_model(ModelConfig(str(tmp_path / "sft" / "steps" / "0000006")), None)
  data = sft.read_items(config, reads["data"], model)
  nll = sft.measure_nll(model, data, config.train.batch, None)(model.params)
  assert nll == pytest.approx(epochs[2]["heldout_nll"], abs=1e-5)
  assert abs(nll - epochs[1]["heldout_nll"]) > 1e-3  # the twin: it is another epoch's


def test_dropout_is_off_where_loss_is_measured(config, reads, tiny_folder):
  model = open_model(Context(), tiny_folder, dropout=(0.5, 0.5))
  plain = open_model(Context(), tiny_folder)
  data = sft.read_items(config, reads["data"], plain)
  measured = [sft.measure_nll(m, data, config.train.batch, None)(m.params) for m in (model, plain)]
  assert measured[0] == measured[1]
  assert math.isfinite(measured[0])


def test_a_signal_in_the_middle_ends_no_epoch():
  met = []
  state = type("State", (), {"params": "p"})
  on = at_epoch_ends(lambda epoch, step, params: met.append((epoch, step, params)), 3)
  for step in (2, 3, 5, 6):
    on(step, state)
  assert met == [(1, 3, "p"), (2, 6, "p")]


@pytest.mark.parametrize("keep", [(0, 2), (3, 2), (2, 5)])
def test_epochs_that_never_end(config, keep):
  with pytest.raises(UserError, match=f"epochs {keep[0]} to {keep[1]} are to be kept of 4"):
    sft.check_keep(config, keep)


def test_packed_epochs_are_not_kept(config):
  packed = dataclasses.replace(config.train, batch=BatchConfig(packing=128))
  with pytest.raises(UserError, match="without packing"):
    sft.check_keep(dataclasses.replace(config, train=packed), (1, 2))


def test_what_is_written_survives_a_kill(tmp_path):
  for n in (1, 2):
    seal.seal_part(jsonl.write_json(tmp_path / "epochs" / f"{n:03d}.json", {"epoch": n}))
  (tmp_path / "epochs" / ".003.json.1.tmp").write_text("{")
  assert sft.read_epochs(tmp_path) == [{"epoch": 1}, {"epoch": 2}]
  assert json.loads((tmp_path / "epochs" / "001.json").read_text()) == {"epoch": 1}


def test_a_changed_epoch_is_refused(tmp_path):
  file = jsonl.write_json(tmp_path / "epochs" / "001.json", {"epoch": 1, "heldout_nll": 2.5})
  seal.seal_part(file)
  file.write_text(file.read_text().replace("2.5", "0.5"))
  with pytest.raises(UserError, match=r"001.json: changed since the epoch ended; delete"):
    sft.read_epochs(tmp_path)
