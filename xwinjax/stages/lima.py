"""LIMA: a base model, an end-of-turn token, few good examples, and a judge's choice of epoch.

Source: Zhou et al. 2023, arXiv 2305.11206.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.sandbox import community as sandbox_lima
from xwinjax.sandbox import stages as sandbox_stage
from xwinjax.stages import add_tokens as add_tokens_stage
from xwinjax.stages import choose as choose_stage
from xwinjax.stages import common, manifest
from xwinjax.stages import dialogues as dialogues_stage
from xwinjax.stages import evaluate as evaluate_stage
from xwinjax.stages import judge as judge_stage
from xwinjax.stages import mix as mix_stage
from xwinjax.stages import sft as sft_stage
from xwinjax.stages.lima_config import DataConfig, LimaConfig, check

TEMPLATE = "lima"


class Recipe:
  """One run in one folder."""

  def __init__(self, config: LimaConfig, workdir: Path, *, redo: bool = False):
    self.config, self.workdir, self.redo = config, workdir, redo
    check(config)
    self.data, judge, self.gold = config.data, config.judge, ""
    if config.sandbox.on:
      self.gold = str(workdir / "world" / "world.json")
      files = sandbox_lima.FILES
      self.data = DataConfig(
        **{Path(name).stem: str(workdir / "community" / name) for name in files}
      )
      if judge.by == "gold":
        judge = dataclasses.replace(judge, gold=self.gold)
    self.judge = dataclasses.replace(judge, mesh=config.mesh, seed=config.seed)
    self.base = Path(config.model.path) if config.model.path else workdir / "pretrain" / "model"

  def _fill(self, stage: Any, model: Path | None, **fields: Any) -> Any:
    """A stage's config with the recipe's model settings, mesh and seed.

    The template is the model's own from when it got its tokens.
    """
    shared = dataclasses.replace(
      self.config.model, path=str(model) if model else "", template="", system=""
    )
    return dataclasses.replace(
      stage, model=shared, mesh=self.config.mesh, seed=self.config.seed, **fields
    )

  def run(self) -> dict[str, Any]:
    """Every stage in order; writes summary.json and report.html, returns the summary."""
    c = self.config
    if c.sandbox.on:
      self._sandbox()
    tokens = dataclasses.replace(
      c.tokens, model=str(self.base), template=c.model.template or TEMPLATE, system=c.model.system
    )
    add_tokens_stage.run(tokens, self.workdir / "tokens", redo=self.redo)
    keep = (c.first_epoch, c.last_epoch)
    trained = sft_stage.run(
      self._fill(
        c.sft, self.workdir / "tokens" / "model", data=self._train(), heldout=self.data.dev
      ),
      self.workdir / "sft",
      redo=self.redo,
      keep=keep,
    )
    kept = tuple(e["epoch"] for e in trained["epochs"] if e["kept"])
    if kept != tuple(range(keep[0], keep[1] + 1)):
      raise UserError(
        f"{self.workdir / 'sft'}: kept epochs {', '.join(map(str, kept))}, not {keep[0]} to "
        f"{keep[1]}; restore first_epoch and last_epoch, or use a new workdir"
      )
    choose_stage.run(
      self._fill(
        c.choose, None, trained=str(self.workdir / "sft"), prompts=self.data.dev, judge=self.judge
      ),
      self.workdir / "choose",
      redo=self.redo,
    )
    # The one that was chosen is kept; the manifest of `choose` is what says that it is done.
    shutil.rmtree(self.workdir / "sft" / "steps", ignore_errors=True)
    self._evaluate(self.workdir / "choose" / "model")
    return self.summary()

  def _sandbox(self) -> None:
    c, world = self.config, self.workdir / "world"
    sandbox_stage.run_world(
      dataclasses.replace(c.sandbox.world, seed=c.seed), world, redo=self.redo
    )
    if not c.model.path:
      sandbox_stage.run_pretrain(
        dataclasses.replace(c.sandbox.pretrain, mesh=c.mesh, seed=c.seed),
        world,
        self.workdir / "pretrain",
        redo=self.redo,
      )
    sandbox_lima.run(c.sandbox.community, world, self.workdir / "community", redo=self.redo)

  def _train(self) -> str:
    """The examples, with dialogues among them where there are any."""
    if not self.data.dialogues:
      return self.data.train
    format = self.config.sft.format
    sources = {"train": (self.data.train, format), "dialogues": (self.data.dialogues, format)}
    return str(mix_stage.run(sources, self.workdir / "mix", redo=self.redo))

  def _evaluate(self, model: Path) -> None:
    """Answers to the test prompts, judged; and dialogues, graded where gold can."""
    c = self.config
    folder = self.workdir / "evaluate"
    evaluate_stage.run(
      self._fill(c.evaluate, model, prompts=self.data.test_prompts, gold=self.gold),
      folder,
      redo=self.redo,
    )
    judge_stage.run(
      dataclasses.replace(self.judge, candidates=str(folder / "candidates.jsonl")),
      self.workdir / "judge",
      redo=self.redo,
    )
    if self.data.test_dialogues:
      dialogues_stage.run(
        self._fill(c.dialogues, model, turns=self.data.test_dialogues, gold=self.gold),
        self.workdir / "dialogues",
        redo=self.redo,
      )

  def summary(self) -> dict[str, Any]:
    """summary.json; report.html beside it."""
    from xwinjax import report

    summary = report.summary(self.workdir)
    jsonl.write_json(self.workdir / "summary.json", summary)
    try:
      report.write(self.workdir)
    except UserError as e:
      common.say(str(e))
    return summary


def table(summary: dict[str, Any]) -> str:
  """The summary as the lines a person reads at the end of a run."""
  from xwinjax import report

  return report.text(summary, "lima")


def run(config: LimaConfig, workdir: str, *, redo: bool = False) -> dict[str, Any]:
  """Runs the recipe with the folder locked."""
  folder = Path(workdir)
  recipe = Recipe(config, folder, redo=redo)
  with manifest.lock(folder):
    jsonl.write_json(folder / "recipe.json", {"recipe": "lima"})
    return recipe.run()
