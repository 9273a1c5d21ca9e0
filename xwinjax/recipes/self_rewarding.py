"""Self-Rewarding LMs: M0 → M1 → M2 → …, each round's model judged and paired by the one before.

Source: Yuan et al. 2024, arXiv 2401.10020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from xwinjax.recipes import given, judges
from xwinjax.recipes.recipe import Recipe, Step
from xwinjax.recipes.self_rewarding_config import DataConfig, SelfRewardingConfig, check
from xwinjax.sandbox import judge as sandbox_judge
from xwinjax.sandbox import judging as sandbox_judging
from xwinjax.sandbox import judging_world
from xwinjax.stages import (
  choose,
  dpo,
  evaluate,
  instruct,
  judging,
  make_eft,
  mix,
  reference,
  reward,
  sample,
  score,
  select,
  sft,
)
from xwinjax.stages.score import Judge
from xwinjax.stages.stage import Context

BASELINE = "baseline"


class Rounds:
  """Where everything of a run lies, and who judges in it."""

  def __init__(self, config: SelfRewardingConfig, context: Context, folder: Path):
    self.config, self.context, self.folder = config, context, folder
    self.data, self.world = config.data, None
    self.judge = config.judge
    if config.sandbox.on:
      self.world = folder / "world" / "world.json"
      files = judging_world.files(folder / "world", config.judge.prompt)
      prompt = files.pop("judge_prompt")
      self.data = DataConfig(**files)
      self.judge = dataclasses.replace(config.judge, prompt_file=config.judge.prompt_file or prompt)
    self.base = Path(config.model.path) if config.model.path else folder / "pretrain" / "model"

  @property
  def reward(self) -> Path | None:
    """The reward model that judges in the model's place, given or made; None without one."""
    if self.judge.reward:
      return Path(self.judge.reward)
    return self.folder / "reward" / "model" if self.judge.by == "rm" else None

  def model(self, name: str) -> Path:
    """The folder of a finished model: baseline, M1, M2, …."""
    if name in (BASELINE, "M1"):
      return self.folder / name / "sft" / "model"
    chosen = "choose" if self.data.validation_prompts else "dpo"
    stage = chosen if self.config.train_on == "pairs" else "best"
    return self.folder / name / stage / "model"

  def judge_of(self, model: Path, **changes) -> Judge:
    """The judge of a round: the model of the round, or whoever judges in its place."""
    config = dataclasses.replace(self.judge.hyper(), **changes)
    return judges.make(config, model=model, reward=self.reward, gold=self.world)

  def tuned(self, place: str, config: sft.SFTConfig, start: Path, data: str | Path) -> Step:
    reads = {"model": start, "data": data, "heldout": self.data.heldout_ift}
    return Step(place, sft.STAGE, config, reads, Path(place).name)


def steps(config: SelfRewardingConfig, context: Context, folder: Path) -> Iterator[Step]:
  """The rounds, in order."""
  run = Rounds(config, context, folder)
  if config.sandbox.on:
    yield from given.sandbox_steps(judging_world.WORLD, config.sandbox, config.model.path, folder)
  yield run.tuned(f"{BASELINE}/sft", config.sft, run.base, run.data.ift)
  yield from first(run)
  if config.judge.by == "rm" and not config.judge.reward:
    pairs = {"data": run.data.pairs, "heldout": run.data.heldout_pairs}
    reads = {"model": run.model(BASELINE), **pairs}
    yield Step("reward", reward.STAGE, config.reward, reads)
  yield from measured(run, BASELINE)
  yield from measured(run, "M1")
  for n in range(1, config.rounds + 1):
    yield from one_round(run, n)
    yield from measured(run, f"M{n + 1}")


def first(run: Rounds) -> Iterator[Step]:
  """M1: SFT of the base model on instructions and judging examples."""
  c, data = run.config, run.data
  sources = {"ift": (data.ift, c.sft.format)}
  if c.eft == "rankings":
    judge = run.judge_of(run.model(BASELINE), by="self")
    reads = {"rankings": data.rankings}
    yield Step("make_eft", make_eft.STAGE, c.make_eft, reads, options={"judge": judge})
    sources["eft"] = (str(run.folder / "make_eft" / "eft.jsonl"), "messages")
  elif c.eft == "data":
    sources["eft"] = (data.eft, "auto")
  yield mixed("M1/mix", sources)
  yield run.tuned("M1/sft", c.sft, run.base, run.folder / "M1" / "mix" / "mixed.jsonl")


def mixed(place: str, sources: dict[str, tuple[str, str]]) -> Step:
  """Files joined: role -> (path, format)."""
  config = mix.MixConfig(tuple(form for _, form in sources.values()))
  return Step(
    place, mix.stage(*sources), config, {role: path for role, (path, _) in sources.items()}
  )


def one_round(run: Rounds, n: int) -> Iterator[Step]:
  """M(n+1) from M(n)."""
  c, data, now, name = run.config, run.data, run.model(f"M{n}"), f"M{n + 1}"
  folder = run.folder / name
  reads = {
    "model": run.base if c.prompts_by == "base" else now,
    "seeds": data.seeds or data.ift,
    "heldout": data.heldout_prompts,
    "earlier": run.folder / f"M{n}" / "instruct" / "prompts.jsonl" if n > 1 else None,
    "world": run.world,
  }
  context = dataclasses.replace(run.context, seed=(c.seed + 1000 * n) % 2**32)
  tasks = {"add_tasks": sandbox_judging.add_tasks}
  yield Step(f"{name}/instruct", instruct.STAGE, c.instruct, reads, context=context, options=tasks)
  asked = {"model": now, "prompts": folder / "instruct" / "prompts.jsonl"}
  yield Step(f"{name}/sample", sample.STAGE, c.sample, asked)
  judge = run.judge_of(now)
  candidates = {"candidates": folder / "sample" / "candidates.jsonl"}
  options = {"judge": judge}
  yield Step(
    f"{name}/judge", score.STAGE, score.ScoreConfig(), candidates, "judge", options=options
  )
  rules = dataclasses.replace(c.pairs, by=c.pairs.by or judge.config.score)
  judged = {"candidates": folder / "judge" / "candidates.jsonl"}
  yield Step(f"{name}/pairs", select.STAGE, rules, judged, "pairs")
  yield from preferred(run, name, now) if c.train_on == "pairs" else best(run, name, now)


def preferred(run: Rounds, name: str, now: Path) -> Iterator[Step]:
  """DPO on the pairs; with validation prompts, its checkpoint that the judge likes best."""
  c, folder = run.config, run.folder / name
  pairs = {"model": now, "data": folder / "pairs" / "pairs.jsonl"}
  yield Step(f"{name}/reference", reference.STAGE, dpo.reference_of(c.dpo), pairs)
  reads = {**pairs, "reference": folder / "reference" / "logps.jsonl"}
  choosing = bool(run.data.validation_prompts)
  options = {"keep": True} if choosing else {}
  yield Step(f"{name}/dpo", dpo.STAGE, c.dpo, reads, options=options)
  if choosing:
    mode = "expected" if run.judge.mode == "expected" else "sampled"
    reads = {"trained": folder / "dpo" / "manifest.json", "prompts": run.data.validation_prompts}
    reads |= {"reference": now} if c.choose.price else {}
    judge = {"judge": run.judge_of(now, mode=mode)}
    place, spare = f"{name}/choose", f"{name}/dpo/steps"  # the chosen one is kept
    yield Step(place, choose.STAGE, c.choose, reads, options=judge, spare=spare)


def best(run: Rounds, name: str, now: Path) -> Iterator[Step]:
  """SFT on the best answers in place of DPO; with the seed data from the base, as M1 is made."""
  examples, start = run.folder / name / "pairs" / "examples.jsonl", now
  if run.config.train_on == "best_and_seed":
    seed = run.folder / "M1" / "mix" / "mixed.jsonl"
    yield mixed(
      f"{name}/mix", {"seed": (str(seed), "messages"), "best": (str(examples), "messages")}
    )
    examples, start = run.folder / name / "mix" / "mixed.jsonl", run.base
  yield run.tuned(f"{name}/best", run.config.best, start, examples)


def measured(run: Rounds, name: str) -> Iterator[Step]:
  """The model's answers to held-out prompts, and the model as judge."""
  c, model, world = run.config, run.model(name), run.world
  reads = {
    "model": model,
    "prompts": run.data.heldout_prompts,
    "reference": run.model("M1") if name not in (BASELINE, "M1") else None,
    "reward": run.reward,
    "gold": world,
  }
  options = {"gold_judge": sandbox_judge.gold_judge} if world else {}
  yield Step(f"{name}/evaluate", evaluate.STAGE, c.evaluate, reads, options=options)
  reads = {
    "judged": run.data.heldout_judged,
    "own": run.folder / name / "evaluate" / "candidates.jsonl",
  }
  judge = run.judge_of(model, by="self", name="", mode=c.judging.mode)
  options = {"judge": judge}
  if not (world or run.reward):
    reads["fixed"] = run.model("M1")
  yield Step(f"{name}/judging", judging.STAGE, c.judging, reads, options=options)


RECIPE = Recipe("self_rewarding", SelfRewardingConfig, check, steps)
