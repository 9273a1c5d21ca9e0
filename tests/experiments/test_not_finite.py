"""Numbers that are not finite end a run in one line, and no model is written."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments import dpo, evaluate, reference, reward, sample, score, sft
from xwinjax.checkpoint import huggingface
from xwinjax.data import jsonl
from xwinjax.model import llama

FILE = "model.safetensors"


def spoiled(folder, to, spoil, tensor="model.layers.0.mlp.up_proj.weight"):
  """A copy of a model folder with one tensor changed in place."""
  shutil.copytree(folder, to)
  tensors = load_file(to / FILE)
  spoil(tensors[tensor])
  save_file(tensors, to / FILE)
  return to


def nan(tensor):
  tensor[1, 2] = np.nan


def huge(tensor):  # finite, and what is computed with it is not
  tensor *= 1e38 / np.abs(tensor).max()


@pytest.fixture
def reward_folder(tiny_folder, tmp_path):
  config, params = huggingface.load(tiny_folder)
  params = llama.with_reward_head(params)
  return huggingface.save(tmp_path / "rm", config, params, tokenizer_from=tiny_folder)


@pytest.fixture
def flags(files, tmp_path):
  """flags(model) -> command -> its flags, as short a run as can be."""
  stored = jsonl.write_rows(tmp_path / "logps.jsonl", [{"key": "0" * 64}])

  def make(model):
    common = (f"--workdir={tmp_path}/run", f"--config.model.path={model}")
    train = ("--config.train.batch.batch_size=8", "--config.train.epochs=3")
    data = {name: f"--config.data={path}" for name, path in files.items()}
    prompts = f"--config.prompts={files['prompts']}"
    few = ("--config.generate.samples=2", "--config.generate.max_new=4")
    return {
      "sft": (sft.command, (*common, *train, data["sft"])),
      "sft, held out": (
        sft.command,
        (*common, *train, data["sft"], f"--config.heldout={files['sft']}"),
      ),
      "reward": (reward.command, (*common, *train, data["pairs"])),
      "reference": (reference.command, (*common, data["pairs"])),
      "dpo": (dpo.command, (*common, *train, data["pairs"], f"--config.reference={stored}")),
      "sample": (sample.command, (*common, prompts, *few)),
      "evaluate": (evaluate.command, (*common, prompts, *few)),
    }

  return make


COMMANDS = ("sft", "sft, held out", "reward", "reference", "dpo", "sample", "evaluate")


@pytest.mark.parametrize("name", COMMANDS)
def test_weights_that_are_not_finite(name, flags, mistake, tiny_folder, tmp_path):
  command, given = flags(spoiled(tiny_folder, tmp_path / "nan", nan))[name]
  said = mistake(command, *given)
  assert said.startswith(f"{tmp_path}/nan/{FILE}: model.layers.0.mlp.up_proj.weight holds 1 of ")
  assert not (tmp_path / "run" / "model").exists()


def test_a_reward_model_that_is_not_finite(mistake, reward_folder, files, tmp_path):
  model = spoiled(reward_folder, tmp_path / "nan", nan)
  candidates = f"--config.candidates={files['candidates']}"
  said = mistake(
    score.command, f"--workdir={tmp_path}/run", f"--config.model.path={model}", candidates
  )
  assert "up_proj.weight holds 1 of" in said


@pytest.mark.parametrize(
  ("name", "says"),
  [
    ("sft", "step 1: the loss or gradient was not finite for 1 step in a row"),
    ("sft, held out", "sft.jsonl: its loss is not finite under "),
    ("reward", "step 1: the loss or gradient was not finite for 1 step in a row"),
    ("reference", "reference: the model gives numbers that are not finite"),
    ("sample", "the model's logits are not finite"),
    ("evaluate", "the model's logits are not finite"),
  ],
)
def test_finite_weights_whose_numbers_overflow(name, says, flags, mistake, tiny_folder, tmp_path):
  command, given = flags(spoiled(tiny_folder, tmp_path / "huge", huge))[name]
  assert says in mistake(command, *given)
  assert not (tmp_path / "run" / "model").exists()
  assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["sft", "sft, held out"])
def test_twin_the_same_run_from_good_weights_ends_with_a_model(name, flags, tiny_folder, tmp_path):
  command, given = flags(tiny_folder)[name]
  assert command(list(map(str, given))) == 0
  assert (tmp_path / "run" / "model" / FILE).exists()


def test_a_figure_that_is_not_finite_is_null_in_the_manifest(tmp_path):
  from xwinjax.stages import manifest

  body = lambda: {"loss": float("nan"), "curve": [1.0, float("inf")], "of": {"n": 3}}
  figures = manifest.run_stage(tmp_path / "s", "s", {}, {}, (), body)
  assert figures == {"loss": None, "curve": [1.0, None], "of": {"n": 3}}
  written = json.loads((tmp_path / "s" / "manifest.json").read_text(), parse_constant=pytest.fail)
  assert written["figures"] == figures


def test_the_field_s_model_is_refused_by_every_command(flags, mistake, shared, tmp_path):
  model = shared / "field" / "nan-weights" / "model"
  for command, given in flags(model).values():
    assert "not finite (NaN or infinity)" in mistake(command, *given)
    assert not (tmp_path / "run" / "model").exists()
