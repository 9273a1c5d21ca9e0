"""The settings of Self-Rewarding LMs, and what is refused before anything starts."""

from __future__ import annotations

import dataclasses

from xwinjax.core.bounds import Few, Seed
from xwinjax.core.errors import UserError
from xwinjax.data import candidates
from xwinjax.recipes import given, judges
from xwinjax.recipes.given import Use
from xwinjax.sandbox import judging_world
from xwinjax.sandbox import stages as sandbox
from xwinjax.stages import choose, common, dpo, evaluate, instruct, reward, select, sft
from xwinjax.stages.choose import ChooseConfig
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.dpo import DPOConfig
from xwinjax.stages.evaluate import EvaluateConfig
from xwinjax.stages.instruct import InstructConfig
from xwinjax.stages.judging import JudgingConfig
from xwinjax.stages.make_eft import MakeEftConfig
from xwinjax.stages.reward import RewardConfig
from xwinjax.stages.sample import SampleConfig
from xwinjax.stages.select import SelectConfig
from xwinjax.stages.sft import SFTConfig

TRAIN_ON = ("pairs", "best", "best_and_seed")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The files; empty ones are made by the sandbox where that is on."""

  ift: str = plumbing("")  # instruction data: conversations
  eft: str = plumbing("")  # judging examples: conversations …
  rankings: str = plumbing("")  # … or answers with people's values, from which they are made
  pairs: str = plumbing("")  # preference pairs, for a reward model as the judge
  heldout_pairs: str = plumbing("")  # pairs its accuracy is measured on
  heldout_ift: str = plumbing("")  # conversations whose loss is measured
  seeds: str = plumbing("")  # prompts shown when new ones are written; empty: those of ift
  heldout_prompts: str = plumbing("")  # prompts every model is evaluated on
  validation_prompts: str = plumbing("")  # prompts on which checkpoints are chosen; empty: none are
  heldout_judged: str = plumbing("")  # answers with people's values, to measure judges


@dataclasses.dataclass(frozen=True)
class SandboxConfig:
  """The built-in world, in place of files and a model of one's own."""

  on: bool = False
  world: judging_world.WorldConfig = group(judging_world.WorldConfig)
  pretrain: sandbox.PretrainConfig = group(sandbox.PretrainConfig)


@dataclasses.dataclass(frozen=True)
class SelfRewardingConfig:
  """SFT on instructions and judgements, then rounds of prompts, answers, judgements and DPO."""

  model: ModelConfig = group(ModelConfig)
  data: DataConfig = group(DataConfig)
  sandbox: SandboxConfig = group(SandboxConfig)
  rounds: Few = 2  # 2 ends with M3
  eft: str = "data"  # data: data.eft; rankings: made by the SFT model from data.rankings; none
  prompts_by: str = "self"  # who writes new prompts: self, the model of the round; or base
  train_on: str = "pairs"  # DPO; or SFT on the best answers: best, or best_and_seed
  sft: SFTConfig = group(SFTConfig)
  make_eft: MakeEftConfig = group(MakeEftConfig)
  reward: RewardConfig = group(RewardConfig)
  instruct: InstructConfig = group(InstructConfig)
  sample: SampleConfig = group(SampleConfig)
  judge: judges.RecipeJudge = group(judges.RecipeJudge)
  pairs: SelectConfig = group(SelectConfig, by="", unscored="leave_out", least=0.0, keep_score=True)
  dpo: DPOConfig = group(DPOConfig)
  best: SFTConfig = group(SFTConfig)
  choose: ChooseConfig = group(ChooseConfig)
  evaluate: EvaluateConfig = group(EvaluateConfig)
  judging: JudgingConfig = group(JudgingConfig)
  bad_rows: str = plumbing("stop")  # what malformed rows of data do: stop the run, or skip
  reuse: str = plumbing("")  # another run; its stages are taken that were made of the same
  preflight: bool = plumbing(True)  # say first what is found in the data
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: Seed = 0


def check(config: SelfRewardingConfig) -> None:
  """Refuses what does not exist, what is missing, and files with a bad row."""
  for field, known in (
    ("eft", ("data", "rankings", "none")),
    ("prompts_by", ("self", "base")),
    ("train_on", TRAIN_ON),
  ):
    value = getattr(config, field)
    if value not in known:
      raise UserError(f"config.{field} {value!r} is not one of {', '.join(known)}")
  judges.check(config.judge)
  select.check(dataclasses.replace(config.pairs, by=config.pairs.by or config.judge.score))
  dpo.check_in_a_chain(config.dpo)
  validating = config.sandbox.on or bool(config.data.validation_prompts)
  choose.check_in_a_chain(config.choose, validating)
  if config.sandbox.on:
    given.check_no_data(config.data)
    return
  common.input_file(config.model.path, "model.path")
  needed = ["ift", "heldout_prompts"]
  needed += {"data": ["eft"], "rankings": ["rankings"]}.get(config.eft, [])
  for f in dataclasses.fields(DataConfig):
    if f.name in needed or getattr(config.data, f.name):
      common.input_file(getattr(config.data, f.name), f"data.{f.name}")
  if config.judge.by == "gold":
    raise UserError("config.judge.by is 'gold', which only the sandbox has")
  if config.judge.by == "rm" and not config.judge.reward:
    common.input_file(config.data.pairs, "data.pairs")
  check_data(config)


def check_data(config: SelfRewardingConfig) -> None:
  """Refuses files with a bad row, or with none."""
  c = config
  either = lambda stage_config: dataclasses.replace(stage_config, format="auto")
  given.check_files(
    c,
    {
      "ift": Use(sft.STAGE, c.sft, "data"),
      "eft": Use(sft.STAGE, either(c.sft), "data"),
      "heldout_ift": Use(sft.STAGE, c.sft, "heldout"),
      "rankings": candidates.read,
      "pairs": Use(reward.STAGE, c.reward, "data"),
      "heldout_pairs": Use(reward.STAGE, c.reward, "heldout"),
      "seeds": Use(instruct.STAGE, c.instruct, "seeds"),
      "heldout_prompts": Use(evaluate.STAGE, c.evaluate, "prompts"),
      "validation_prompts": Use(evaluate.STAGE, either(c.evaluate), "prompts"),
      "heldout_judged": candidates.read,
    },
    (),
  )
