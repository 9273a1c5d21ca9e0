"""The settings of LIMA, and what is refused before anything starts."""

from __future__ import annotations

import dataclasses

from xwinjax.core.bounds import Positive, Seed
from xwinjax.core.errors import UserError
from xwinjax.recipes import given, judges
from xwinjax.recipes.given import Use
from xwinjax.sandbox import community
from xwinjax.sandbox import stages as sandbox
from xwinjax.stages import add_tokens, choose, common, dialogues, evaluate, sft
from xwinjax.stages.add_tokens import AddTokensConfig
from xwinjax.stages.choose import ChooseConfig
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.dialogues import DialoguesConfig
from xwinjax.stages.evaluate import EvaluateConfig
from xwinjax.stages.sft import SFTConfig


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
  world: sandbox.WorldConfig = group(sandbox.WorldConfig)
  pretrain: sandbox.PretrainConfig = group(sandbox.PretrainConfig)
  community: community.CommunityConfig = group(community.CommunityConfig)


@dataclasses.dataclass(frozen=True)
class LimaConfig:
  """SFT on few, well chosen examples; the checkpoint chosen by a judge of what it writes."""

  model: ModelConfig = group(ModelConfig)
  data: DataConfig = group(DataConfig)
  sandbox: SandboxConfig = group(SandboxConfig)
  judge: judges.RecipeJudge = group(judges.RecipeJudge)
  tokens: AddTokensConfig = group(AddTokensConfig)
  sft: SFTConfig = group(SFTConfig)
  first_epoch: Positive = 5  # of those whose checkpoints are kept and judged …
  last_epoch: Positive = 10  # … to this one
  choose: ChooseConfig = group(ChooseConfig)
  evaluate: EvaluateConfig = group(EvaluateConfig)
  dialogues: DialoguesConfig = group(DialoguesConfig)
  bad_rows: str = plumbing("stop")  # what malformed rows of data do: stop the run, or skip
  reuse: str = plumbing("")  # another run; its stages are taken that were made of the same
  preflight: bool = plumbing(True)  # say first what is found in the data
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: Seed = 0


def check(config: LimaConfig) -> None:
  """Refuses what does not exist, what is missing, and files with a bad row."""
  judges.check(config.judge)
  sft.check_keep(config.sft, (config.first_epoch, config.last_epoch))
  choose.check(config.choose)
  if config.sandbox.on:
    given.check_no_data(config.data)
    community.check(config.sandbox.community)
    return
  if config.judge.by == "gold":
    raise UserError("config.judge.by=gold needs the sandbox; elsewhere judge by rm or self")
  common.input_file(config.model.path, "model.path")
  judges.make(config.judge.hyper(), model=config.judge.model, reward=config.judge.reward)
  check_data(config)


def check_data(config: LimaConfig) -> None:
  c = config.data
  given.check_files(
    config,
    {
      "train": Use(sft.STAGE, config.sft, "data"),
      "dialogues": Use(sft.STAGE, config.sft, "data"),
      "dev": Use(sft.STAGE, config.sft, "heldout"),
      "test_prompts": Use(evaluate.STAGE, config.evaluate, "prompts"),
    },
    ("train", "dev", "test_prompts"),
    adds=config.model.template or add_tokens.TEMPLATE,
  )
  if c.test_dialogues:
    dialogues.read_turns(common.input_file(c.test_dialogues, "data.test_dialogues"))
