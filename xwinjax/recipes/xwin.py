"""Xwin-LM: SFT, reward model, scored candidates, rejection sampling, DPO; each model measured.

Source: Ni et al. 2024, arXiv 2405.20335.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from xwinjax.core.bounds import Seed
from xwinjax.core.errors import UserError
from xwinjax.recipes import given, judges
from xwinjax.recipes.given import Use
from xwinjax.recipes.recipe import Recipe, Step
from xwinjax.sandbox import judge as sandbox_judge
from xwinjax.sandbox import stages as sandbox
from xwinjax.stages import (
  choose,
  common,
  dpo,
  evaluate,
  reference,
  reward,
  sample,
  score,
  select,
  sft,
  token_gains,
)
from xwinjax.stages.choose import ChooseConfig
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.dpo import DPOConfig
from xwinjax.stages.evaluate import EvaluateConfig
from xwinjax.stages.reward import RewardConfig
from xwinjax.stages.sample import SampleConfig
from xwinjax.stages.select import SelectConfig
from xwinjax.stages.sft import SFTConfig
from xwinjax.stages.stage import Context
from xwinjax.stages.token_gains import TokenGainsConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The chain's files; empty ones are made by the sandbox where that is on."""

  sft: str = plumbing("")  # conversations
  heldout_sft: str = plumbing("")  # conversations whose loss is measured
  pairs: str = plumbing("")  # preference pairs for the reward model
  heldout_pairs: str = plumbing("")  # pairs its accuracy is measured on
  card: str = plumbing("")  # pairs with a `subset` each, for the reward model's report card
  prompts: str = plumbing("")  # prompts to sample candidates for
  heldout_prompts: str = plumbing("")  # prompts every stage is evaluated on
  validation_prompts: str = plumbing("")  # on which DPO's step is chosen; empty: the last is taken


@dataclasses.dataclass(frozen=True)
class SandboxConfig:
  """The built-in world, in place of files and a model of one's own."""

  on: bool = False
  world: sandbox.WorldConfig = group(sandbox.WorldConfig)
  pretrain: sandbox.PretrainConfig = group(sandbox.PretrainConfig)
  label: sandbox.LabelConfig = group(sandbox.LabelConfig)


@dataclasses.dataclass(frozen=True)
class XwinConfig:
  """SFT, reward model, scored candidates, rejection sampling, DPO; each stage measured."""

  model: ModelConfig = group(ModelConfig)
  data: DataConfig = group(DataConfig)
  sandbox: SandboxConfig = group(SandboxConfig)
  sft: SFTConfig = group(SFTConfig)
  reward: RewardConfig = group(RewardConfig)
  sample: SampleConfig = group(SampleConfig)
  score: judges.RewardConfig = group(judges.RewardConfig)
  select: SelectConfig = group(SelectConfig)
  rs: SFTConfig = group(SFTConfig)
  rs_from: str = "sft"  # what rejection-sampling fine-tuning starts from: sft or base
  dpo_from: str = "rs"  # what DPO starts from, and its reference: rs, or sft as if RS were not
  dpo: DPOConfig = group(DPOConfig)
  choose: ChooseConfig = group(ChooseConfig)  # with validation prompts: which of DPO's steps
  evaluate: EvaluateConfig = group(EvaluateConfig)
  token_gains: TokenGainsConfig = group(TokenGainsConfig)  # DPO's answers, token by token
  bad_rows: str = plumbing("stop")  # what malformed rows of data do: stop the run, or skip
  reuse: str = plumbing("")  # another run; its stages are taken that were made of the same
  preflight: bool = plumbing(True)  # say first what is found in the data
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: Seed = 0


def check(c: XwinConfig) -> None:
  """Refuses what does not exist, and files with a bad row or none."""
  for field, known in (("rs_from", ("sft", "base")), ("dpo_from", ("rs", "sft"))):
    if getattr(c, field) not in known:
      raise UserError(f"config.{field} {getattr(c, field)!r} is not one of {', '.join(known)}")
  select.check(c.select)
  dpo.check_in_a_chain(c.dpo)
  made = c.sandbox.on and c.sandbox.world.validation_prompts
  choose.check_in_a_chain(c.choose, bool(made or c.data.validation_prompts))
  if c.sandbox.on:
    given.check_no_data(c.data)
    return
  common.input_file(c.model.path, "model.path")
  given.check_files(
    c,
    {
      "sft": Use(sft.STAGE, c.sft, "data"),
      "heldout_sft": Use(sft.STAGE, c.sft, "heldout"),
      "pairs": Use(reward.STAGE, c.reward, "data"),
      "heldout_pairs": Use(reward.STAGE, c.reward, "heldout"),
      "card": Use(reward.STAGE, c.reward, "card"),
      "prompts": Use(sample.STAGE, c.sample, "prompts"),
      "heldout_prompts": Use(evaluate.STAGE, c.evaluate, "prompts"),
      "validation_prompts": Use(evaluate.STAGE, evaluate.EvaluateConfig(), "prompts"),
    },
    ("sft", "pairs", "prompts", "heldout_prompts"),
  )


def steps(c: XwinConfig, context: Context, folder: Path) -> Iterator[Step]:
  """The chain, in order."""
  data, world, on = c.data, folder / "world", c.sandbox.on
  base = Path(c.model.path) if c.model.path else folder / "pretrain" / "model"
  trained = {name: folder / name / "model" for name in ("sft", "reward", "rs", "dpo")}
  if on:
    files = [f.name for f in dataclasses.fields(DataConfig)]
    paths = {n: str(folder / ("label" if "pairs" in n else "world") / f"{n}.jsonl") for n in files}
    if not c.sandbox.world.validation_prompts:
      paths["validation_prompts"] = ""
    data = DataConfig(**paths)
    yield from given.sandbox_steps(sandbox.WORLD, c.sandbox, c.model.path, folder)

  def evaluated(name: str, model: Path, previous: str = "") -> Step:
    """Measures a model; the base, which has no template, is asked in the one SFT will teach."""
    mine = context
    if name == "base" and not context.model.template:
      template, system = common.template_of(trained["sft"], context.model)
      mine = context.with_model(template=template, system=system)
    place = f"evaluate_{name}"
    reads = {
      "model": model,
      "prompts": data.heldout_prompts,
      "reward": trained["reward"],
      "reference": trained["sft"],
      "previous": folder / f"evaluate_{previous}" / "candidates.jsonl" if previous else None,
      "gold": world / "world.json" if on else None,
    }
    options = {"gold_judge": sandbox_judge.gold_judge} if on else {}
    return Step(place, evaluate.STAGE, c.evaluate, reads, place, mine, options)

  def tuned(name: str, config: SFTConfig, start: Path, examples: str | Path) -> Step:
    reads = {"model": start, "data": examples, "heldout": data.heldout_sft}
    return Step(name, sft.STAGE, config, reads, name)

  yield tuned("sft", c.sft, base, data.sft)
  if on:
    asked = {"prompts": "pair_prompts.jsonl", "heldout": "heldout_pair_prompts.jsonl"}
    reads = {"world": world / "world.json", **{k: world / v for k, v in asked.items()}}
    yield Step("label", sandbox.LABEL, c.sandbox.label, {"model": trained["sft"], **reads})
  pairs = {"data": data.pairs, "heldout": data.heldout_pairs, "card": data.card}
  yield Step("reward", reward.STAGE, c.reward, {"model": trained["sft"], **pairs})
  yield evaluated("base", base)
  yield evaluated("sft", trained["sft"], "base")
  asked = {"model": trained["sft"], "prompts": data.prompts}
  yield Step("sample", sample.STAGE, c.sample, asked)
  judge = judges.make(c.score.judge(), reward=trained["reward"])
  candidates = {"candidates": folder / "sample" / "candidates.jsonl"}
  yield Step("score", score.STAGE, score.ScoreConfig(), candidates, options={"judge": judge})
  scored = {"candidates": folder / "score" / "candidates.jsonl"}
  yield Step("select", select.STAGE, c.select, scored)
  start = trained["sft"] if c.rs_from == "sft" else base
  yield tuned("rs", c.rs, start, folder / "select" / "examples.jsonl")
  yield evaluated("rs", trained["rs"], "sft")
  pairs = {"model": trained[c.dpo_from], "data": folder / "select" / "pairs.jsonl"}
  yield Step("reference", reference.STAGE, dpo.reference_of(c.dpo), pairs)
  logps, choosing = folder / "reference" / "logps.jsonl", bool(data.validation_prompts)
  options = {"keep": True} if choosing else {}
  yield Step("dpo", dpo.STAGE, c.dpo, {**pairs, "reference": logps}, options=options)
  if choosing:
    reads = {
      "trained": folder / "dpo" / "manifest.json",
      "prompts": data.validation_prompts,
      "reference": trained[c.dpo_from],
      "gold": world / "world.json" if on else None,
    }
    options = {"judge": judge, **({"gold_judge": sandbox_judge.gold_judge} if on else {})}
    yield Step("choose", choose.STAGE, c.choose, reads, options=options, spare="dpo/steps")
    trained["dpo"] = folder / "choose" / "model"
  yield evaluated("dpo", trained["dpo"], c.dpo_from)
  if c.token_gains.prompts:
    answers = lambda name: folder / f"evaluate_{name}" / "candidates.jsonl"
    reads = {"model": trained["dpo"], "reference": trained[c.dpo_from]}
    reads |= {"answers_of_model": answers("dpo"), "answers_of_reference": answers(c.dpo_from)}
    yield Step("token_gains", token_gains.STAGE, c.token_gains, reads)


RECIPE = Recipe("xwin", XwinConfig, check, steps)
