"""The settings of Self-Rewarding LMs, and what is refused before anything starts."""

from __future__ import annotations

import dataclasses

from xwinjax.core.errors import UserError
from xwinjax.data import formats
from xwinjax.sandbox import judging_world as sandbox_judging
from xwinjax.sandbox import stages as sandbox_stage
from xwinjax.stages import choose as choose_stage
from xwinjax.stages import common, given
from xwinjax.stages import dpo as dpo_stage
from xwinjax.stages import evaluate as evaluate_stage
from xwinjax.stages import instruct as instruct_stage
from xwinjax.stages import judge as judge_stage
from xwinjax.stages import judging as judging_stage
from xwinjax.stages import make_eft as make_eft_stage
from xwinjax.stages import pairs as pairs_stage
from xwinjax.stages import reward as reward_stage
from xwinjax.stages import sample as sample_stage
from xwinjax.stages import sft as sft_stage
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing

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
  world: sandbox_judging.WorldConfig = group(sandbox_judging.WorldConfig)
  pretrain: sandbox_stage.PretrainConfig = group(sandbox_stage.PretrainConfig)


@dataclasses.dataclass(frozen=True)
class SelfRewardingConfig:
  """SFT on instructions and judgements, then rounds of prompts, answers, judgements and DPO.

  The chain fills in every stage's model, files, mesh and seed from these first groups.
  """

  model: ModelConfig = group(ModelConfig)
  data: DataConfig = group(DataConfig)
  sandbox: SandboxConfig = group(SandboxConfig)
  rounds: int = 2  # 2 ends with M3
  eft: str = "data"  # data: data.eft; rankings: made by the SFT model from data.rankings; none
  prompts_by: str = "self"  # who writes new prompts: self, the model of the round; or base
  train_on: str = "pairs"  # DPO; or SFT on the best answers: best, or best_and_seed
  sft: sft_stage.SFTConfig = group(sft_stage.SFTConfig)
  make_eft: make_eft_stage.MakeEftConfig = group(make_eft_stage.MakeEftConfig)
  reward: reward_stage.RewardConfig = group(reward_stage.RewardConfig)
  instruct: instruct_stage.InstructConfig = group(instruct_stage.InstructConfig)
  sample: sample_stage.SampleConfig = group(sample_stage.SampleConfig)
  judge: judge_stage.JudgeConfig = group(judge_stage.JudgeConfig)
  pairs: pairs_stage.PairsConfig = group(pairs_stage.PairsConfig)
  dpo: dpo_stage.DPOConfig = group(dpo_stage.DPOConfig)
  best: sft_stage.SFTConfig = group(sft_stage.SFTConfig)
  choose: choose_stage.ChooseConfig = group(choose_stage.ChooseConfig)
  evaluate: evaluate_stage.EvaluateConfig = group(evaluate_stage.EvaluateConfig)
  judging: judging_stage.JudgingConfig = group(judging_stage.JudgingConfig)
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


# What the loop sets in each stage; a value there would be ignored.
FILLED = {
  "sft": ("data", "heldout"),
  "best": ("data", "heldout"),
  "make_eft": ("rankings",),
  "reward": ("data", "heldout"),
  "instruct": ("seeds", "heldout", "world", "earlier"),
  "sample": ("prompts",),
  "judge": ("candidates", "gold"),
  "pairs": ("candidates",),
  "dpo": ("data", "reference"),
  "choose": ("trained", "prompts"),
  "evaluate": ("prompts", "reward", "reference", "previous", "gold"),
  "judging": ("judged", "own", "fixed"),
}


def check(config: SelfRewardingConfig) -> None:
  """Refuses what does not exist, what is missing, and what the loop would overwrite."""
  for field, known in (
    ("eft", ("data", "rankings", "none")),
    ("prompts_by", ("self", "base")),
    ("train_on", TRAIN_ON),
  ):
    value = getattr(config, field)
    if value not in known:
      raise UserError(f"config.{field} {value!r} is not one of {', '.join(known)}")
  if config.rounds < 1:
    raise UserError(f"config.rounds is {config.rounds}; expected at least 1")
  judge_stage.check(config.judge)
  given.check_filled_in(config, FILLED, "loop")
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


def check_data(config: SelfRewardingConfig) -> None:
  """Refuses files with a bad row, or with none."""
  c = config
  candidates = lambda path, _, counts: formats.read_candidates(path, counts)
  given.check_files(
    c.data,
    {
      "ift": (formats.read_examples, c.sft.format),
      "eft": (formats.read_examples, "auto"),
      "heldout_ift": (formats.read_examples, c.sft.format),
      "rankings": (candidates, ""),
      "pairs": (formats.read_pairs, c.reward.format),
      "heldout_pairs": (formats.read_pairs, c.reward.format),
      "seeds": (formats.read_prompts, c.instruct.format),
      "heldout_prompts": (formats.read_prompts, c.evaluate.format),
      "validation_prompts": (formats.read_prompts, "auto"),
      "heldout_judged": (candidates, ""),
    },
    (),
  )
