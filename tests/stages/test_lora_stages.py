"""SFT, the reward model and DPO with adapters: what trains, what is written, what goes on."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from compiled import close, equal
from safetensors.numpy import load_file

from xwinjax.checkpoint import huggingface, peft
from xwinjax.checkpoint.store import Store
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, pipeline
from xwinjax.data.batching import BatchConfig
from xwinjax.model import parameters
from xwinjax.stages import dpo, reference, reward, sft
from xwinjax.stages.config import check_bounds, from_config_dict, identity
from xwinjax.stages.dpo import DPOConfig
from xwinjax.stages.lora import LoRAConfig
from xwinjax.stages.reward import RewardConfig
from xwinjax.stages.sft import SFTConfig
from xwinjax.stages.stage import Context, open_model
from xwinjax.stages.training import TrainConfig
from xwinjax.train.loop import LoopConfig
from xwinjax.train.optim import OptimConfig

ONE = Context()  # eight simulated devices
TRAIN = TrainConfig(
  4.0, OptimConfig(lr=3e-2, warmup=0.0), BatchConfig(batch_size=8, buckets=1), LoopConfig(2)
)
LORA = LoRAConfig(rank=2, alpha=4.0, targets=("q_proj", "down_proj"))
QUESTIONS = ("What colour is it?", "How old is it?", "Where is it?", "Who is it?")
PAIRS = [{"prompt": q, "chosen": "That is known.", "rejected": "No"} for q in QUESTIONS]
TALKS = [
  {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "Red."}]}
  for q in QUESTIONS
]
STAGES = {
  "sft": (sft.STAGE, SFTConfig(train=TRAIN, lora=LORA)),
  "reward": (reward.STAGE, RewardConfig(train=TRAIN, lora=LORA)),
  "dpo": (dpo.STAGE, DPOConfig(train=TRAIN, lora=LORA)),
}


def inputs_of(name, folder, model):
  """What the stage reads, of one small model."""
  data = jsonl.write_rows(folder / "data.jsonl", TALKS if name == "sft" else PAIRS)
  reads = {"model": model, "data": data}
  if name == "dpo":
    config = dpo.reference_of(STAGES["dpo"][1])
    reference.STAGE.run(ONE, folder / "reference", config, reads)
    reads["reference"] = folder / "reference" / "logps.jsonl"
  return reads


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("reward", "dpo")]


@pytest.fixture(scope="module", params=["sft", *SLOW])
def ran(request, tmp_path_factory, tiny_folder):
  """(name, folder, figures) of a stage that nobody disturbed."""
  folder = tmp_path_factory.mktemp(request.param)
  stage, config = STAGES[request.param]
  figures = stage.run(ONE, folder / "a", config, inputs_of(request.param, folder, tiny_folder))
  return request.param, folder, figures


def test_the_loss_falls_from_where_the_model_was(ran):
  name, _, figures = ran
  assert figures["loss_last"] < figures["loss_first"] - 0.05
  if name != "sft":
    assert figures["loss_first"] == pytest.approx(np.log(2), abs=1e-4)


def test_checkpoints_hold_adapters_and_a_reward_head_alone(ran):
  name, folder, _ = ran
  leaves = Store(folder / "a" / "checkpoints", {})._read_manifest(4)["leaves"]
  arrays = [name for name in leaves if "['" in name]
  of_adapters = [name for name in arrays if "_lora_" in name]
  heads = [name for name in arrays if "'reward'" in name]
  assert len(of_adapters) == 4 * 3  # parameters, and both moments
  assert len(heads) == (3 if name == "reward" else 0)
  assert len(of_adapters) + len(heads) == len(arrays)


def test_the_model_is_the_base_with_its_adapters(ran, tiny_folder):
  """The folder PEFT reads, added to the base, is the model that was written."""
  name, folder, _ = ran
  config, made = huggingface.load(folder / "a" / "model")
  _, base = huggingface.load(tiny_folder)
  fields = json.loads((folder / "a" / "adapter" / peft.CONFIG).read_text())
  assert (fields["r"], fields["lora_alpha"]) == (2, 4.0)
  assert fields["target_modules"] == ["q_proj", "down_proj"]
  assert fields["base_model_name_or_path"] == str(tiny_folder)
  tensors = load_file(folder / "a" / "adapter" / peft.WEIGHTS)
  assert len(tensors) == 2 * 2 * config.num_layers + (name == "reward")
  for target, row in parameters.PROJECTIONS.items():
    was, now = (tree["layers"][row.path[1]][row.path[2]] for tree in (base, made))
    if target not in fields["target_modules"]:
      assert equal(was, now)
      continue
    for layer in range(config.num_layers):
      a, b = (tensors[peft.PREFIX + r.name(layer)] for r in parameters.ADAPTERS[target])
      theirs = huggingface.to_theirs(row, config, np.asarray(was[layer])) + 4.0 / 2 * b @ a
      assert close(huggingface.to_theirs(row, config, np.asarray(now[layer])), theirs, atol=1e-6)
      assert not close(was[layer], now[layer], atol=1e-4)  # the twin: adapters left out
  assert equal(base["embed"], made["embed"])


class Killed(BaseException):
  pass


def test_killed_it_goes_on_to_the_same_bits_and_another_rank_is_refused(
  ran, tiny_folder, monkeypatch
):
  name, folder, _ = ran
  stage, config = STAGES[name]
  reads = inputs_of(name, folder, tiny_folder)
  batches = pipeline.batches

  def killed(*args, start, **settings):
    for step, batch in enumerate(batches(*args, start=start, **settings), start):
      if step == 3:
        raise Killed
      yield batch

  with monkeypatch.context() as patch:
    patch.setattr(pipeline, "batches", killed)
    with pytest.raises(Killed):
      stage.run(ONE, folder / "b", config, reads)
  other = dataclasses.replace(config, lora=dataclasses.replace(LORA, rank=3))
  with pytest.raises(UserError, match=r"lora\.rank was 2 and is 3") as e:
    stage.run(ONE, folder / "b", other, reads)
  assert "\n" not in str(e.value)
  stage.run(ONE, folder / "b", config, reads)
  for file in ("model/model.safetensors", f"adapter/{peft.WEIGHTS}"):
    assert (folder / "b" / file).read_bytes() == (folder / "a" / file).read_bytes()


def test_the_base_in_bfloat16(tmp_path, tiny_folder):
  reads = inputs_of("sft", tmp_path, tiny_folder)
  half = dataclasses.replace(LORA, base_dtype="bfloat16")
  opened = open_model(ONE, tiny_folder, lora=half)
  dtypes = {str(x.dtype) for x in jax.tree.leaves(opened.params) if x.ndim > 2}
  assert dtypes == {"bfloat16"}
  assert opened.params["norm"]["scale"].dtype == "float32"
  figures = sft.STAGE.run(ONE, tmp_path / "a", SFTConfig(train=TRAIN, lora=half), reads)
  assert figures["loss_last"] < figures["loss_first"] - 0.05


def test_a_live_reference_is_the_model_beside_its_adapters(tmp_path, tiny_folder):
  """tdpo's divergence of it is 0 at first; its parameters are no constants of the step."""
  reads = inputs_of("dpo", tmp_path, tiny_folder)
  config = DPOConfig(variant="tdpo", train=TRAIN, lora=LORA)
  dpo.STAGE.run(ONE, tmp_path / "a", config, reads)
  rows = [json.loads(x) for x in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
  assert rows[0]["kl_chosen"] == pytest.approx(0, abs=1e-6)
  assert rows[-1]["kl_chosen"] > 1e-4


def test_without_adapters_identities_are_what_they_were():
  for kind in (SFTConfig, RewardConfig, DPOConfig):
    assert "lora" not in identity(kind())
    assert "mu_dtype" not in identity(kind())["train"]["optim"]
    assert identity(kind(lora=LoRAConfig(rank=4)))["lora"]["rank"] == 4
  small = TrainConfig(optim=OptimConfig(mu_dtype="bfloat16"))
  assert identity(small)["optim"]["mu_dtype"] == "bfloat16"


@pytest.mark.parametrize(
  ("values", "line"),
  [
    ({"targets": ("q_prj",)}, r"lora\.targets 'q_prj' is not one of q_proj, k_proj, .*down_proj"),
    ({"rank": 2, "targets": ()}, r"lora: targets is empty; there are q_proj, "),
    ({"rank": -1}, r"lora\.rank is -1; expected 0 to 4096"),
    ({"rank": 2, "alpha": 0.0}, r"lora\.alpha is 0\.0; expected "),
    ({"base_dtype": "int8"}, r"lora\.base_dtype 'int8' is not one of float32, bfloat16"),
  ],
)
def test_settings_that_fit_nothing_are_one_line(values, line):
  with pytest.raises(UserError, match=line) as e:
    check_bounds(from_config_dict(SFTConfig, {"lora": values}))
  assert "\n" not in str(e.value)
