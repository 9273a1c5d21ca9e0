"""What a run says of its data and memory before it begins, and that it changes nothing else."""

import dataclasses
import json
import re

import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.data.preflight import Settings
from xwinjax.recipes import given
from xwinjax.recipes.lima_config import DataConfig, LimaConfig
from xwinjax.stages import evaluate, look, memory, sft
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.lora import LoRAConfig
from xwinjax.stages.sft import SFTConfig
from xwinjax.stages.stage import Context
from xwinjax.stages.training import TrainConfig
from xwinjax.testing.tiny import tiny_config, tiny_params
from xwinjax.train import objectives
from xwinjax.train.optim import OptimConfig, make_optimizer
from xwinjax.train.step import init_state, make_train_step

TRAIN = TrainConfig(epochs=1.0, batch=BatchConfig(batch_size=8, buckets=1))
ROWS = [{"instruction": f"Who came {i}?", "output": "Ann."} for i in range(4)]


@pytest.fixture
def data(tmp_path):
  return jsonl.write_rows(tmp_path / "train.jsonl", ROWS)


def test_a_stage_looks_first_and_trains_the_same(tiny_folder, data, tmp_path, capsys):
  config, figures, said = SFTConfig(train=TRAIN), [], []
  for on in (True, False):
    reads = {"model": tiny_folder, "data": data, "heldout": data}
    place = tmp_path / f"sft-{on}" / "sft"
    figures.append(sft.STAGE.run(Context(preflight=on), place, config, reads))
    said.append(capsys.readouterr().err)
    kept = json.loads((place / "manifest.json").read_text())
    assert "preflight" not in json.dumps([kept["config"], kept["figures"]])
  assert figures[0] == figures[1]
  lines = said[0].splitlines()
  assert lines[0].startswith(f"{data}: 4 of 4 rows kept, tokens: median ")
  assert f"  ! 4 of 4 held-out prompts are among those trained on ({data})" in lines
  assert any(line.startswith("memory: about ") for line in lines)
  assert re.fullmatch(r"looked at for [0-9]+\.[0-9] s; --config.preflight=false .*", lines[4])
  assert "memory" not in said[1]
  assert "rows kept" not in said[1]
  # A stage that is done has nothing to look at.
  assert sft.STAGE.run(Context(preflight=True), place, config, reads) == figures[1]
  assert "rows kept" not in capsys.readouterr().err


def test_a_recipe_looks_at_all_its_files(tiny_folder, data, tmp_path, capsys):
  other = jsonl.write_rows(tmp_path / "dev.jsonl", [{"instruction": "What?", "output": "It."}])
  files = DataConfig(train=str(data), dev=str(other), test_prompts=str(data))
  config = LimaConfig(model=ModelConfig(path=str(tiny_folder)), data=files)
  uses = {
    "train": given.Use(sft.STAGE, config.sft, "data"),
    "dev": given.Use(sft.STAGE, config.sft, "heldout"),
    "test_prompts": given.Use(evaluate.STAGE, config.evaluate, "prompts"),
  }
  given.check_files(config, uses, ("train",), adds="lima")
  lines = capsys.readouterr().err.splitlines()
  assert [line.split(": ")[0] for line in lines if "rows kept" in line] == [
    str(data),
    str(other),
    str(data),
  ]
  assert [line for line in lines if "held-out" in line] == [
    f"  ! 4 of 4 held-out prompts are among those trained on ({data})"
  ]
  given.check_files(dataclasses.replace(config, preflight=False), uses, ("train",))
  assert capsys.readouterr().err == ""


def test_a_look_is_bounded(tiny_folder, data, monkeypatch):
  monkeypatch.setattr(look, "SAMPLE", 1)
  eye = look.open_eye(tiny_folder, ModelConfig())
  seen = eye.look(data, Settings("example"), rows=3)
  assert (seen.rows["kept"], seen.taken, seen.whole) == (3, 1, False)
  line, _ = look.report({"data": seen}, eye, {}, MeshConfig())
  assert "3 of 3 rows kept (the first ones), tokens of the first 1: median" in line


def test_prompts_leave_room_for_answers(tiny_folder):
  room = Settings("prompt", max_length=2**20, leaves=512).within(64).max_length
  assert room == 32
  assert Settings("example", max_length=2048).within(64).max_length == 64


def test_a_folder_without_a_tokenizer_is_refused_before_data_is_read(tmp_path):
  with pytest.raises(UserError):
    look.open_eye(tmp_path, ModelConfig())


def test_memory_counts_state_and_activations():
  model, mesh = tiny_config(), MeshConfig(data=1)
  need = memory.training(model, BatchConfig(batch_size=4), 100, mesh)
  assert need.state == 16 * memory.parameters.count(model)
  half = memory.training(model, BatchConfig(batch_size=4), 100, mesh, "bfloat16")
  assert half.state == 14 * memory.parameters.count(model)
  adapters = LoRAConfig(rank=4, targets=("q_proj",), base_dtype="bfloat16")
  beside = memory.training(model, BatchConfig(batch_size=4), 100, mesh, lora=adapters)
  numbers = 2 * (16 + 16) * 4  # layers, inputs and outputs, rank
  assert beside.state == 2 * memory.parameters.count(model) + 16 * numbers
  longer = memory.training(model, BatchConfig(batch_size=4), 200, mesh)
  part = memory.training(model, BatchConfig(batch_size=4, microbatches=4), 100, mesh)
  less = memory.training(model.replace(remat="full"), BatchConfig(batch_size=4), 100, mesh)
  assert part.activations < less.activations < need.activations < longer.activations
  packed = memory.training(model, BatchConfig(batch_size=4, packing=224), 100, mesh)
  assert packed.activations == memory.training(model, BatchConfig(4), 224, mesh).activations
  assert memory.told(need, need.total)[1] is False
  text, bad = memory.told(need, need.total - 1)  # the twin
  assert bad
  assert "; it has " in text
  assert (memory.device_bytes() or 0) > 0


def peak(model, rows, length):
  """Bytes that one compiled step of SFT holds at most, by XLA's own plan of its buffers."""
  params, optimizer = tiny_params(model), make_optimizer(OptimConfig(), 10)
  step = make_train_step(objectives.sft(model), optimizer)
  ones = np.ones((rows, length), np.int32)
  places = {"segments": 256 * ones, "positions": np.arange(length) * ones, "mask": ones}
  state = init_state(params, optimizer)
  planned = step.lower(state, {"tokens": ones, **places}).compile().memory_analysis()
  return planned.argument_size_in_bytes + planned.temp_size_in_bytes


@pytest.mark.parametrize("rows", [4, 16])
def test_memory_is_near_what_xla_plans_for_a_step(rows):
  """`pytest -s -k near_what_xla` shows both."""
  model = tiny_config(dim=128, ffn_dim=352, num_layers=4, vocab_size=1000)
  need = memory.training(model, BatchConfig(batch_size=rows), 128, MeshConfig(data=1))
  planned = peak(model, rows, 128)
  told = f"{rows} rows: told {need.total / 2**20:.0f} MiB, planned {planned / 2**20:.0f} MiB"
  print(told)
  assert 0.6 < need.total / planned < 1.7, told
  assert not 0.6 < need.state / 4 / planned < 1.7  # the twin: of parameters alone
