"""The settings of LIMA, and what is refused before anything starts."""

from __future__ import annotations

import dataclasses

from xwinjax.core.errors import UserError
from xwinjax.data import formats
from xwinjax.stages import add_tokens as add_tokens_stage
from xwinjax.stages import choose as choose_stage
from xwinjax.stages import common, sandbox_lima
from xwinjax.stages import dialogues as dialogues_stage
from xwinjax.stages import evaluate as evaluate_stage
from xwinjax.stages import judge as judge_stage
from xwinjax.stages import sandbox as sandbox_stage
from xwinjax.stages import sft as sft_stage
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The files; empty ones are made by the sandbox where that is on."""

  train: str = plumbing("")  # conversations
  dialogues: str = plumbing("")  # conversations of several turns, added to them
  dev: str = plumbing("")  # prompts with answers: judged for the choice, read for perplexity
  test_prompts: str = plumbing("")  # prompts the chosen model is judged on
  test_dialogues: str = plumbing("")  # rows of {"turns": [question, …]}, as MT-bench's


@dataclasses.dataclass(frozen=True)
class SandboxConfig:
  """The built-in world, in place of files and a model of one's own."""

  on: bool = False
  world: sandbox_stage.WorldConfig = group(sandbox_stage.WorldConfig)
  pretrain: sandbox_stage.PretrainConfig = group(sandbox_stage.PretrainConfig)
  community: sandbox_lima.CommunityConfig = group(sandbox_lima.CommunityConfig)


@dataclasses.dataclass(frozen=True)
class LimaConfig:
  """SFT on few, well chosen examples; the checkpoint chosen by a judge of what it writes.

  The recipe fills in every stage's model, files, mesh and seed from these first groups.
  """

  model: ModelConfig = group(ModelConfig)
  data: DataConfig = group(DataConfig)
  sandbox: SandboxConfig = group(SandboxConfig)
  judge: judge_stage.JudgeConfig = group(judge_stage.JudgeConfig)
  tokens: add_tokens_stage.AddTokensConfig = group(add_tokens_stage.AddTokensConfig)
  sft: sft_stage.SFTConfig = group(sft_stage.SFTConfig)
  first_epoch: int = 5  # of those whose checkpoints are kept and judged …
  last_epoch: int = 10  # … to this one
  choose: choose_stage.ChooseConfig = group(choose_stage.ChooseConfig)
  evaluate: evaluate_stage.EvaluateConfig = group(evaluate_stage.EvaluateConfig)
  dialogues: dialogues_stage.DialoguesConfig = group(dialogues_stage.DialoguesConfig)
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


# What the recipe sets in each stage; a value there would be ignored.
FILLED = {
    "tokens": ("model", "template", "system"), "sft": ("data", "heldout"),
    "choose": ("trained", "prompts"), "evaluate": ("prompts", "reward", "reference", "previous"),
    "dialogues": ("turns",), "judge": ("candidates", "gold"),
}  # fmt: skip


def check(config: LimaConfig) -> None:
  """Refuses what does not exist, what is missing, and what the recipe would overwrite."""
  judge_stage.check(config.judge)
  sft_stage.check_keep(config.sft, (config.first_epoch, config.last_epoch))
  untouched = LimaConfig()
  for stage, fields in FILLED.items():
    for field in fields:
      if getattr(getattr(config, stage), field) != getattr(getattr(untouched, stage), field):
        said = {"template": "config.model.template", "system": "config.model.system",
                "model": "config.model.path", "gold": "config.judge.by=gold"}  # fmt: skip
        raise UserError(
            f"config.{stage}.{field} is set by the recipe; set {said.get(field, 'config.data.*')} "
            "instead"
        )
    model = getattr(getattr(config, stage), "model", None)
    if stage != "judge" and isinstance(model, ModelConfig) and model.path:
      raise UserError(f"config.{stage}.model.path is set by the recipe; set config.model.path")
  if config.sandbox.on:
    if any(dataclasses.astuple(config.data)):
      raise UserError(
          "config.sandbox.on makes the data itself; leave config.data empty, or turn it off"
      )
    sandbox_lima.check(config.sandbox.community)
    return
  if config.judge.by == "gold":
    raise UserError("config.judge.by=gold needs the sandbox; elsewhere judge by rm or self")
  common.input_file(config.model.path, "model.path")
  judge_stage.inputs_of(config.judge)
  check_data(config)


def check_data(config: LimaConfig) -> None:
  """Reads every file once, so that a bad row of the last is found before the first is used."""
  c = config.data
  readers = {
      "train": formats.read_examples, "dialogues": formats.read_examples,
      "dev": formats.read_examples, "test_prompts": formats.read_prompts,
  }  # fmt: skip
  for name, reader in readers.items():
    value = getattr(c, name)
    if not value and name == "dialogues":
      continue
    file = common.input_file(value, f"data.{name}")
    if not sum(1 for _ in reader(file, config.sft.format)):
      raise UserError(f"{file}: no row of use is left; config.data.{name} needs some")
  if c.test_dialogues:
    dialogues_stage.read_turns(common.input_file(c.test_dialogues, "data.test_dialogues"))
