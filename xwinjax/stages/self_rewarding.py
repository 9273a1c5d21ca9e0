"""Self-Rewarding LMs: M0 → M1 → M2 → …, each round's model judged and paired by the one before.

Source: Yuan et al. 2024, arXiv 2401.10020.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.sandbox import judging_world as sandbox_judging
from xwinjax.sandbox import stages as sandbox_stage
from xwinjax.stages import choose as choose_stage
from xwinjax.stages import common, manifest, reference
from xwinjax.stages import dpo as dpo_stage
from xwinjax.stages import evaluate as evaluate_stage
from xwinjax.stages import instruct as instruct_stage
from xwinjax.stages import judge as judge_stage
from xwinjax.stages import judging as judging_stage
from xwinjax.stages import make_eft as make_eft_stage
from xwinjax.stages import mix as mix_stage
from xwinjax.stages import pairs as pairs_stage
from xwinjax.stages import reward as reward_stage
from xwinjax.stages import sample as sample_stage
from xwinjax.stages import sft as sft_stage
from xwinjax.stages.self_rewarding_config import DataConfig, SelfRewardingConfig, check, check_data

BASELINE = "baseline"


class Loop:
  """One run of the rounds in one folder."""

  def __init__(self, config: SelfRewardingConfig, workdir: Path, *, redo: bool = False):
    self.config, self.workdir, self.redo = config, workdir, redo
    check(config)
    if not config.sandbox.on:
      check_data(config)
    world = workdir / "world"
    self.gold = str(world / "world.json") if config.sandbox.on else ""
    self.data, judge = config.data, config.judge
    if config.sandbox.on:
      files = sandbox_judging.files(world, judge.prompt)
      judge = dataclasses.replace(
        judge, gold=self.gold, prompt_file=judge.prompt_file or files.pop("judge_prompt")
      )
      self.data = DataConfig(**files)
    self.judge = dataclasses.replace(judge, mesh=config.mesh, seed=config.seed)
    self.base = Path(config.model.path) if config.model.path else workdir / "pretrain" / "model"

  def model(self, name: str) -> Path:
    """The folder of a finished model: base, baseline, M1, M2, …."""
    if name == "base":
      return self.base
    for stage in ("sft", "choose", "dpo", "best"):
      found = self.workdir / name / stage / "model"
      if (found.parent / manifest.NAME).exists():
        return found
    return self.workdir / name / "sft" / "model"

  def _fill(self, stage: Any, model: Path, **fields: Any) -> Any:
    """A stage's config with the loop's model settings, mesh and seed."""
    shared = dataclasses.replace(
      self.config.model,
      path=str(model),
      dropout=stage.model.dropout if any(stage.model.dropout) else self.config.model.dropout,
    )
    return dataclasses.replace(
      stage, model=shared, mesh=self.config.mesh, **{"seed": self.config.seed, **fields}
    )

  def _judge(self, model: Path, **fields: Any) -> judge_stage.JudgeConfig:
    """The judge of a round: the model of the round, or whoever judges in its place."""
    shared = dataclasses.replace(self.config.model, path=str(model))
    return dataclasses.replace(self.judge, model=shared, **fields)

  def run(self) -> dict[str, Any]:
    """Every stage in order; writes summary.json and report.html, returns the summary."""
    if self.config.sandbox.on:
      self._sandbox()
    self._sft(BASELINE, self.data.ift)
    self._first()
    self._reward_model()
    self._evaluate(BASELINE)
    self._evaluate("M1")
    for n in range(1, self.config.rounds + 1):
      self._round(n)
      self._evaluate(f"M{n + 1}")
    return self.summary()

  def _sandbox(self) -> None:
    c = self.config
    world = dataclasses.replace(
      c.sandbox.world, world=dataclasses.replace(c.sandbox.world.world, seed=c.seed)
    )
    sandbox_judging.run_world(world, self.workdir / "world", redo=self.redo)
    if not c.model.path:
      sandbox_stage.run_pretrain(
        dataclasses.replace(c.sandbox.pretrain, mesh=c.mesh, seed=c.seed),
        self.workdir / "world",
        self.workdir / "pretrain",
        redo=self.redo,
      )

  def _sft(self, name: str, data: str) -> None:
    sft_stage.run(
      self._fill(self.config.sft, self.base, data=data, heldout=self.data.heldout_ift),
      self.workdir / name / "sft",
      redo=self.redo,
    )

  def _first(self) -> None:
    """M1: SFT of the base model on instructions and judging examples."""
    c, data = self.config, self.data
    sources = {"ift": (data.ift, c.sft.format)}
    if c.eft == "rankings":
      folder = self.workdir / "make_eft"
      mine = dataclasses.replace(
        c.make_eft,
        rankings=data.rankings,
        seed=c.seed,
        judge=self._judge(self.model(BASELINE), by="self"),
      )
      make_eft_stage.run(mine, folder, redo=self.redo)
      sources["eft"] = (str(folder / "eft.jsonl"), "messages")
    elif c.eft == "data":
      sources["eft"] = (data.eft, "auto")
    mixed = mix_stage.run(sources, self.workdir / "M1" / "mix", redo=self.redo)
    self._sft("M1", str(mixed))

  def _reward_model(self) -> None:
    """The judge in the model's place, where it is a reward model and none was given."""
    if self.config.judge.by != "rm" or self.config.judge.reward:
      return
    folder = self.workdir / "reward"
    reward_stage.run(
      self._fill(
        self.config.reward,
        self.model(BASELINE),
        data=self.data.pairs,
        heldout=self.data.heldout_pairs,
      ),
      folder,
      redo=self.redo,
    )
    self.judge = dataclasses.replace(self.judge, reward=str(folder / "model"))

  def _round(self, n: int) -> None:
    """M(n+1) from M(n)."""
    c, folder, now = self.config, self.workdir / f"M{n + 1}", self.model(f"M{n}")
    earlier = self.workdir / f"M{n}" / "instruct" / "prompts.jsonl"
    instruct_stage.run(
      self._fill(
        c.instruct,
        self.base if c.prompts_by == "base" else now,
        world=self.gold,
        seeds=self.data.seeds or self.data.ift,
        heldout=self.data.heldout_prompts,
        earlier=str(earlier) if n > 1 else "",
        seed=c.seed + 1000 * n,
      ),
      folder / "instruct",
      redo=self.redo,
    )
    sample_stage.run(
      self._fill(c.sample, now, prompts=str(folder / "instruct" / "prompts.jsonl")),
      folder / "sample",
      redo=self.redo,
    )
    judge_stage.run(
      self._judge(now, candidates=str(folder / "sample" / "candidates.jsonl")),
      folder / "judge",
      redo=self.redo,
    )
    pairs_stage.run(
      dataclasses.replace(
        c.pairs,
        candidates=str(folder / "judge" / "candidates.jsonl"),
        by=c.pairs.by or self.judge.score,
      ),
      folder / "pairs",
      redo=self.redo,
    )
    if c.train_on == "pairs":
      self._dpo(folder, now)
    else:
      self._best(folder, now)

  def _dpo(self, folder: Path, now: Path) -> None:
    pairs = str(folder / "pairs" / "pairs.jsonl")
    config = self._fill(
      self.config.dpo, now, data=pairs, reference=str(folder / "reference" / "logps.jsonl")
    )
    reference.run(
      reference.ReferenceConfig(
        model=config.model,
        data=pairs,
        format=config.format,
        limit=config.limit,
        max_length=config.max_length,
        batch=config.train.batch,
        mesh=config.mesh,
      ),
      folder / "reference",
      redo=self.redo,
    )
    choosing = bool(self.data.validation_prompts)
    dpo_stage.run(config, folder / "dpo", redo=self.redo, keep=choosing)
    if choosing:
      choose = dataclasses.replace(
        self.config.choose,
        model=dataclasses.replace(self.config.model, path=""),
        trained=str(folder / "dpo"),
        prompts=self.data.validation_prompts,
        judge=self._judge(now, mode="expected" if self.judge.mode == "expected" else "sampled"),
        mesh=self.config.mesh,
        seed=self.config.seed,
      )
      choose_stage.run(choose, folder / "choose", redo=self.redo)
      shutil.rmtree(folder / "dpo" / "steps", ignore_errors=True)  # the chosen one is kept

  def _best(self, folder: Path, now: Path) -> None:
    """SFT on the best answers in place of DPO; with the seed data from the base, as M1 is made."""
    examples = str(folder / "pairs" / "examples.jsonl")
    start = now
    if self.config.train_on == "best_and_seed":
      mixed = self.workdir / "M1" / "mix" / "mixed.jsonl"
      examples = str(
        mix_stage.run(
          {"seed": (str(mixed), "messages"), "best": (examples, "messages")},
          folder / "mix",
          redo=self.redo,
        )
      )
      start = self.base
    sft_stage.run(
      self._fill(self.config.best, start, data=examples, heldout=self.data.heldout_ift),
      folder / "best",
      name="best",
      redo=self.redo,
    )

  def _evaluate(self, name: str) -> None:
    """The model's answers to held-out prompts, and the model as judge."""
    c, folder = self.config, self.workdir / name
    evaluate = self._fill(
      c.evaluate,
      self.model(name),
      prompts=self.data.heldout_prompts,
      gold=self.gold,
      reference=str(self.model("M1")) if name not in (BASELINE, "M1") else "",
      reward=self.judge.reward,
    )
    evaluate_stage.run(evaluate, folder / "evaluate", redo=self.redo)
    judging = dataclasses.replace(
      c.judging,
      model=dataclasses.replace(c.model, path=str(self.model(name))),
      judge=self._judge(self.model(name), mode=c.judging.judge.mode, reward="", gold=""),
      judged=self.data.heldout_judged,
      own=str(folder / "evaluate" / "candidates.jsonl"),
      fixed="" if self.gold or self.judge.reward else str(self.model("M1")),
      seed=c.seed,
    )
    judging_stage.run(judging, folder / "judging", redo=self.redo)

  def summary(self) -> dict[str, Any]:
    """summary.json, a row a model; report.html beside it."""
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

  return report.text(summary, "self_rewarding")


def run(config: SelfRewardingConfig, workdir: str, *, redo: bool = False) -> dict[str, Any]:
  """Runs the loop with the folder locked."""
  folder = Path(workdir)
  loop = Loop(config, folder, redo=redo)
  with manifest.lock(folder):
    jsonl.write_json(folder / "recipe.json", {"recipe": "self_rewarding"})
    return loop.run()
