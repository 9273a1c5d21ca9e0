"""The stages that have a command of their own, by its name in experiments/ and configs/."""

from __future__ import annotations

from typing import Any

from xwinjax.recipes import judges
from xwinjax.sandbox import judge as sandbox_judge
from xwinjax.sandbox import judging as sandbox_judging
from xwinjax.stages import (
  alpaca_eval,
  dpo,
  evaluate,
  instruct,
  judge_metrics,
  label,
  make_eft,
  mt_bench,
  multiple_choice,
  reference,
  reward,
  reward_bench,
  sample,
  score,
  select,
  sft,
)
from xwinjax.stages.alone import Alone
from xwinjax.stages.score import JudgeConfig


def _reward_judge(config: Any, hyper: judges.RewardConfig) -> dict[str, Any]:
  return {"judge": judges.make(hyper.judge(), reward=config.model.path)}


def _any_judge(config: Any, hyper: JudgeConfig) -> dict[str, Any]:
  files = {"model": config.model.path, "reward": config.reward, "gold": config.gold}
  return {"judge": judges.make(hyper, **files)}


def _judge_of_rankings(config: Any, _) -> dict[str, Any]:
  return {"judge": judges.make(config.judge.hyper(), model=config.judge.model)}


def _group_judge(config: Any, _) -> dict[str, Any]:
  c = config.judge
  own = config.model.path if hasattr(config, "model") else ""
  files = {"model": c.model or own, "reward": c.reward, "gold": config.gold}
  return {"judge": judges.make(c.hyper(), **files)}


_GOLD = {"gold": "world.json of a sandbox, for judge.by=gold"}


ALONE = {
  "sft": Alone(sft.STAGE),
  "reward": Alone(reward.STAGE),
  "sample": Alone(sample.STAGE),
  "score": Alone(
    score.STAGE,
    hyper=judges.RewardConfig,
    reads={"model": "the reward model"},
    options=_reward_judge,
  ),
  "judge": Alone(
    score.STAGE,
    hyper=JudgeConfig,
    reads={
      "model": "the language model that judges",
      "reward": "folder of the reward model, for rm",
      "gold": "world.json of a sandbox, for gold",
    },
    options=_any_judge,
  ),
  "select": Alone(select.STAGE),
  "label": Alone(
    label.STAGE, reads=_GOLD, groups={"judge": judges.RecipeJudge}, options=_group_judge
  ),
  "reference": Alone(reference.STAGE),
  "dpo": Alone(dpo.STAGE),
  "evaluate": Alone(evaluate.STAGE, options=lambda *_: {"gold_judge": sandbox_judge.gold_judge}),
  "instruct": Alone(instruct.STAGE, options=lambda *_: {"add_tasks": sandbox_judging.add_tasks}),
  "make_eft": Alone(
    make_eft.STAGE, groups={"judge": judges.RecipeJudge}, options=_judge_of_rankings
  ),
  "alpaca_eval": Alone(
    alpaca_eval.STAGE, reads=_GOLD, groups={"judge": judges.RecipeJudge}, options=_group_judge
  ),
  "mt_bench": Alone(
    mt_bench.STAGE, reads=_GOLD, groups={"judge": judges.RecipeJudge}, options=_group_judge
  ),
  "reward_bench": Alone(
    reward_bench.STAGE, reads=_GOLD, groups={"judge": judges.RecipeJudge}, options=_group_judge
  ),
  "multiple_choice": Alone(multiple_choice.STAGE),
  "judge_metrics": Alone(judge_metrics.STAGE),
}
BENCHMARKS = (
  "alpaca_eval",
  "mt_bench",
  "reward_bench",
  "multiple_choice",
)  # experiments.evaluate's
