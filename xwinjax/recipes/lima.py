"""LIMA: a base model, an end-of-turn token, few good examples, and a judge's choice of epoch.

Source: Zhou et al. 2023, arXiv 2305.11206.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xwinjax.recipes import given, judges
from xwinjax.recipes.lima_config import DataConfig, LimaConfig, check
from xwinjax.recipes.recipe import Recipe, Step
from xwinjax.sandbox import community
from xwinjax.sandbox import judge as sandbox_judge
from xwinjax.sandbox import stages as sandbox
from xwinjax.stages import add_tokens, choose, dialogues, evaluate, mix, score, sft
from xwinjax.stages.stage import Context


def steps(c: LimaConfig, context: Context, folder: Path) -> Iterator[Step]:
  """The recipe, in order."""
  data, world = c.data, None
  base = Path(c.model.path) if c.model.path else folder / "pretrain" / "model"
  if c.sandbox.on:
    world = folder / "world" / "world.json"
    paths = {Path(n).stem: str(folder / "community" / n) for n in community.FILES}
    data = DataConfig(**paths)
    yield from given.sandbox_steps(sandbox.WORLD, c.sandbox, c.model.path, folder)
    yield Step("community", community.COMMUNITY, c.sandbox.community, {"world": world})
  yield Step("tokens", add_tokens.STAGE, c.tokens, {"model": base})
  own = context.with_model(template="", system="")  # the model's own from now on
  examples = data.train
  if data.dialogues:
    form = c.sft.format
    files = {"train": data.train, "dialogues": data.dialogues}
    yield Step("mix", mix.stage(*files), mix.MixConfig((form, form)), files)
    examples = folder / "mix" / "mixed.jsonl"
  reads = {"model": folder / "tokens" / "model", "data": examples, "heldout": data.dev}
  keep = {"keep": (c.first_epoch, c.last_epoch)}
  yield Step("sft", sft.STAGE, c.sft, reads, context=own, options=keep)
  judge = judges.make(
    c.judge.hyper(), model=c.judge.model or None, reward=c.judge.reward or None, gold=world
  )
  reads = {"trained": folder / "sft" / "manifest.json", "prompts": data.dev}
  options = {"judge": judge}
  yield Step(
    "choose", choose.STAGE, c.choose, reads, context=own, options=options, spare="sft/steps"
  )
  model = folder / "choose" / "model"
  reads = {"model": model, "prompts": data.test_prompts, "gold": world}
  gold = {"gold_judge": sandbox_judge.gold_judge} if world else {}
  yield Step("evaluate", evaluate.STAGE, c.evaluate, reads, context=own, options=gold)
  candidates = {"candidates": folder / "evaluate" / "candidates.jsonl"}
  config = score.ScoreConfig()
  yield Step("judge", score.STAGE, config, candidates, "judge", context=own, options=options)
  if data.test_dialogues:
    reads = {"model": model, "turns": data.test_dialogues, "gold": world}
    grade = {"grader": sandbox_judge.grader} if world else {}
    yield Step("dialogues", dialogues.STAGE, c.dialogues, reads, context=own, options=grade)


RECIPE = Recipe("lima", LimaConfig, check, steps)
