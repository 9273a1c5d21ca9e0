"""The settings of LIMA, and what is refused before anything starts."""

from __future__ import annotations

import dataclasses

from xwinjax.core.errors import UserError
from xwinjax.data import formats
from xwinjax.sandbox import community as sandbox_lima
from xwinjax.sandbox import stages as sandbox_stage
from xwinjax.stages import add_tokens as add_tokens_stage
from xwinjax.stages import choose as choose_stage
from xwinjax.stages import common, given
from xwinjax.stages import dialogues as dialogues_stage
from xwinjax.stages import evaluate as evaluate_stage
from xwinjax.stages import judge as judge_stage
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
  "tokens": ("model", "template", "system"),
  "sft": ("data", "heldout"),
  "choose": ("trained", "prompts"),
  "evaluate": ("prompts", "reward", "reference", "previous"),
  "dialogues": ("turns",),
  "judge": ("candidates", "gold"),
}
INSTEAD = {
  "template": "config.model.template",
  "system": "config.model.system",
  "model": "config.model.path",
  "gold": "config.judge.by=gold",
}


def check(config: LimaConfig) -> None:
  """Refuses what does not exist, what is missing, and what the recipe would overwrite."""
  judge_stage.check(config.judge)
  sft_stage.check_keep(config.sft, (config.first_epoch, config.last_epoch))
  given.check_filled_in(config, FILLED, "recipe", instead=INSTEAD, own_model=("judge",))
  if config.sandbox.on:
    given.check_no_data(config.data)
    sandbox_lima.check(config.sandbox.community)
    return
  if config.judge.by == "gold":
    raise UserError("config.judge.by=gold needs the sandbox; elsewhere judge by rm or self")
  common.input_file(config.model.path, "model.path")
  judge_stage.inputs_of(config.judge)
  check_data(config)


def check_data(config: LimaConfig) -> None:
  c, format = config.data, config.sft.format
  given.check_files(
    c,
    {
      "train": (formats.read_examples, format),
      "dialogues": (formats.read_examples, format),
      "dev": (formats.read_examples, format),
      "test_prompts": (formats.read_prompts, format),
    },
    ("train", "dev", "test_prompts"),
  )
  if c.test_dialogues:
    dialogues_stage.read_turns(common.input_file(c.test_dialogues, "data.test_dialogues"))
