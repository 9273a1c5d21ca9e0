"""Who may judge: one table. A new judge is a function that opens it, and a line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from xwinjax.core.bounds import Branches
from xwinjax.core.errors import UserError
from xwinjax.data.batching import BatchConfig
from xwinjax.sandbox import judge as sandbox_judge
from xwinjax.stages import common, human_judge, model_judges, remote_judge, score, self_judge
from xwinjax.stages.config import plumbing
from xwinjax.stages.score import Judge, JudgeConfig, Opened
from xwinjax.stages.stage import Context


@dataclasses.dataclass(frozen=True)
class Kind:
  """One way to judge."""

  open: Callable[[Context, Judge], Opened]
  needs: str  # the input it consists of; empty: none
  asked: bool = False  # in the words of the judge's prompt


JUDGES: dict[str, Kind] = {
  "self": Kind(self_judge.open_judge, "model", asked=True),  # a language model that writes
  "rm": Kind(model_judges.open_reward, "reward"),  # a reward model
  "logps": Kind(model_judges.open_logps, "model"),  # a language model's log-probs
  "gold": Kind(sandbox_judge.open_judge, "gold"),  # the sandbox's own scorer
  "human": Kind(human_judge.open_judge, "votes"),  # human:votes.db, people of a study
  "openai": Kind(remote_judge.open_judge, "", asked=True),  # openai:MODEL, behind an API
}


def check(config: JudgeConfig) -> None:
  """Raises UserError for a choice that does not exist."""
  for field, value, known in (("by", config.kind, JUDGES), ("mode", config.mode, score.MODES)):
    if value not in known:
      raise UserError(f"config.{field} {value!r} is not one of {', '.join(known)}")
  if expected := {"openai": "openai:MODEL", "human": "human:votes.db"}.get(config.by.rstrip(":")):
    raise UserError(f"config.by is {config.by!r}; expected {expected}")
  if config.kind == "openai":
    remote_judge.check(config)
  if config.mode != "pairwise":
    score.get_prompt(config)


def make(config: JudgeConfig, **inputs: str | Path | None) -> Judge:
  """The judge that a config names, not loaded yet.

  Args:
    inputs: what judges may consist of: model and reward (folders), gold (world.json of a sandbox).
      Those that this judge does not need are ignored. `by` may name its own: rm:FOLDER.

  Raises: UserError for a choice that does not exist, or an input that does not.
  """
  check(config)
  kind, named = JUDGES[config.kind], config.by.partition(":")[2]
  if kind.needs and named:  # rm:FOLDER is rm with its folder
    config, inputs = dataclasses.replace(config, by=config.kind), {**inputs, kind.needs: named}
  field = "model.path" if kind.needs == "model" else kind.needs
  files = {}
  if kind.needs:
    files[kind.needs] = common.input_file(str(inputs.get(kind.needs) or ""), field)
  if kind.asked and config.prompt_file:
    files["prompt"] = common.input_file(config.prompt_file, "prompt_file")
  return Judge(config, files, kind.open, kind.asked)


@dataclasses.dataclass(frozen=True)
class RewardConfig:
  """Scores by a reward model."""

  name: str = "rm"  # under which each candidate's `scores` gets this score
  branches: Branches = 8  # answers that share their prompt in a row
  batch: BatchConfig = plumbing(BatchConfig)

  def judge(self) -> JudgeConfig:
    return JudgeConfig(by="rm", name=self.name, branches=self.branches, batch=self.batch)


@dataclasses.dataclass(frozen=True)
class RecipeJudge(JudgeConfig):
  """The judge of a recipe, and the models it may consist of."""

  reward: str = plumbing("")  # folder of the reward model, for rm
  model: str = plumbing("")  # folder of the language model, for self; empty: the recipe's own

  def hyper(self) -> JudgeConfig:
    """The settings without the folders."""
    names = [f.name for f in dataclasses.fields(JudgeConfig)]
    return JudgeConfig(**{name: getattr(self, name) for name in names})
