"""The whole Xwin chain, stage after stage, each skipped when it is done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl
from xwinjax.sandbox import stages as sandbox_stage
from xwinjax.stages import common, given, manifest, reference
from xwinjax.stages import dpo as dpo_stage
from xwinjax.stages import evaluate as evaluate_stage
from xwinjax.stages import reward as reward_stage
from xwinjax.stages import sample as sample_stage
from xwinjax.stages import score as score_stage
from xwinjax.stages import select as select_stage
from xwinjax.stages import sft as sft_stage
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The chain's files; empty ones are made by the sandbox where that is on."""

  sft: str = plumbing("")  # conversations
  heldout_sft: str = plumbing("")  # conversations whose loss is measured
  pairs: str = plumbing("")  # preference pairs for the reward model
  heldout_pairs: str = plumbing("")  # pairs its accuracy is measured on
  prompts: str = plumbing("")  # prompts to sample candidates for
  heldout_prompts: str = plumbing("")  # prompts every stage is evaluated on


@dataclasses.dataclass(frozen=True)
class SandboxConfig:
  """The built-in world, in place of files and a model of one's own."""

  on: bool = False
  world: sandbox_stage.WorldConfig = group(sandbox_stage.WorldConfig)
  pretrain: sandbox_stage.PretrainConfig = group(sandbox_stage.PretrainConfig)
  label: sandbox_stage.LabelConfig = group(sandbox_stage.LabelConfig)


@dataclasses.dataclass(frozen=True)
class XwinConfig:
  """SFT, reward model, scored candidates, rejection sampling, DPO; each stage measured.

  The chain fills in every stage's model, files, mesh and seed from these first groups.
  """

  model: ModelConfig = group(ModelConfig)
  data: DataConfig = group(DataConfig)
  sandbox: SandboxConfig = group(SandboxConfig)
  sft: sft_stage.SFTConfig = group(sft_stage.SFTConfig)
  reward: reward_stage.RewardConfig = group(reward_stage.RewardConfig)
  sample: sample_stage.SampleConfig = group(sample_stage.SampleConfig)
  score: score_stage.ScoreConfig = group(score_stage.ScoreConfig)
  select: select_stage.SelectConfig = group(select_stage.SelectConfig)
  rs: sft_stage.SFTConfig = group(sft_stage.SFTConfig)
  rs_from: str = "sft"  # what rejection-sampling fine-tuning starts from: sft or base
  dpo: dpo_stage.DPOConfig = group(dpo_stage.DPOConfig)
  evaluate: evaluate_stage.EvaluateConfig = group(evaluate_stage.EvaluateConfig)
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


class Chain:
  """One run of the chain in one folder."""

  def __init__(self, config: XwinConfig, workdir: Path, *, redo: bool = False):
    self.config, self.workdir, self.redo = config, workdir, redo
    self.gold = str(workdir / "world" / "world.json") if config.sandbox.on else ""
    if config.rs_from not in ("sft", "base"):
      raise UserError(f"config.rs_from {config.rs_from!r} is not one of sft, base")
    self._check_given()
    self.data = config.data if not config.sandbox.on else self._world()
    self.base = Path(config.model.path) if config.model.path else workdir / "pretrain" / "model"

  def _check_given(self) -> None:
    c = self.config
    given.check_filled_in(
      c,
      {
        "sft": ("data", "heldout"),
        "rs": ("data", "heldout"),
        "reward": ("data", "heldout"),
        "sample": ("prompts",),
        "score": ("candidates",),
        "select": ("candidates",),
        "dpo": ("data", "reference"),
        "evaluate": ("prompts", "reward", "reference", "previous"),
      },
      "chain",
    )
    if c.sandbox.on:
      given.check_no_data(c.data)
      return
    common.input_file(c.model.path, "model.path")
    given.check_files(
      c.data,
      {
        "sft": (formats.read_examples, c.sft.format),
        "heldout_sft": (formats.read_examples, c.sft.format),
        "pairs": (formats.read_pairs, c.reward.format),
        "heldout_pairs": (formats.read_pairs, c.reward.format),
        "prompts": (formats.read_prompts, c.sample.format),
        "heldout_prompts": (formats.read_prompts, c.evaluate.format),
      },
      ("sft", "pairs", "prompts", "heldout_prompts"),
    )

  def _world(self) -> DataConfig:
    world, label = self.workdir / "world", self.workdir / "label"
    return DataConfig(
      **{
        f.name: str((label if "pairs" in f.name else world) / f"{f.name}.jsonl")
        for f in dataclasses.fields(DataConfig)
      }
    )

  def _fill(self, stage: Any, path: Path, **fields: Any) -> Any:
    """A stage's config with the chain's model settings, mesh and seed."""
    model = dataclasses.replace(
      self.config.model,
      path=str(path),
      dropout=stage.model.dropout if any(stage.model.dropout) else self.config.model.dropout,
    )
    if any(f.name == "seed" for f in dataclasses.fields(stage)):
      fields["seed"] = self.config.seed
    return dataclasses.replace(stage, model=model, mesh=self.config.mesh, **fields)

  def _folder(self, name: str) -> Path:
    return self.workdir / name

  def _model(self, name: str) -> Path:
    return self.base if name == "base" else self._folder(name) / "model"

  def run(self) -> dict[str, Any]:
    """Every stage in order; writes summary.json and report.html, returns the summary."""
    c, data, redo = self.config, self.data, self.redo
    if c.sandbox.on:
      world = dataclasses.replace(c.sandbox.world, seed=c.seed)
      sandbox_stage.run_world(world, self._folder("world"), redo=redo)
      if not c.model.path:
        sandbox_stage.run_pretrain(
          dataclasses.replace(c.sandbox.pretrain, mesh=c.mesh, seed=c.seed),
          self._folder("world"),
          self._folder("pretrain"),
          redo=redo,
        )
    self._sft("sft", self.base, data.sft)
    if c.sandbox.on:
      label = self._fill(c.sandbox.label, self._model("sft"), world=str(self._folder("world")))
      sandbox_stage.run_label(label, self._folder("label"), redo=redo)
    reward_stage.run(
      self._fill(c.reward, self._model("sft"), data=data.pairs, heldout=data.heldout_pairs),
      self._folder("reward"),
      redo=redo,
    )
    self._evaluate("base", None)
    self._evaluate("sft", "base")
    self._multiwise()
    start = self._model("sft") if c.rs_from == "sft" else self.base
    self._sft("rs", start, str(self._folder("select") / "examples.jsonl"))
    self._evaluate("rs", "sft")
    self._dpo()
    self._evaluate("dpo", "rs")
    return self.summary()

  def _sft(self, name: str, start: Path, data: str) -> None:
    stage = getattr(self.config, name)
    sft_stage.run(
      self._fill(stage, start, data=data, heldout=self.data.heldout_sft),
      self._folder(name),
      name=name,
      redo=self.redo,
    )

  def _multiwise(self) -> None:
    """64 candidates a prompt from the SFT model, their scores, and what is chosen of them."""
    c = self.config
    sample_stage.run(
      self._fill(c.sample, self._model("sft"), prompts=self.data.prompts),
      self._folder("sample"),
      redo=self.redo,
    )
    score_stage.run(
      self._fill(
        c.score,
        self._folder("reward") / "model",
        candidates=str(self._folder("sample") / "candidates.jsonl"),
      ),
      self._folder("score"),
      redo=self.redo,
    )
    select_stage.run(
      dataclasses.replace(
        c.select, candidates=str(self._folder("score") / "candidates.jsonl"), seed=c.seed
      ),
      self._folder("select"),
      redo=self.redo,
    )

  def _dpo(self) -> None:
    c, pairs = self.config, str(self._folder("select") / "pairs.jsonl")
    config = self._fill(
      c.dpo, self._model("rs"), data=pairs, reference=str(self._folder("reference") / "logps.jsonl")
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
      self._folder("reference"),
      redo=self.redo,
    )
    dpo_stage.run(config, self._folder("dpo"), redo=self.redo)

  def _evaluate(self, name: str, previous: str | None) -> None:
    config = self._fill(
      self.config.evaluate,
      self._model(name),
      prompts=self.data.heldout_prompts,
      reward=str(self._folder("reward") / "model"),
      reference=str(self._model("sft")),
      previous=str(self._folder(f"evaluate_{previous}")) if previous else "",
      gold=self.gold,
    )
    if name == "base" and not config.model.template:
      # The base model has no template of its own; it is asked in the one SFT will teach.
      template, system = common.template_of(self._model("sft"), self.config.model)
      model = dataclasses.replace(config.model, template=template, system=system)
      config = dataclasses.replace(config, model=model)
    evaluate_stage.run(
      config, self._folder(f"evaluate_{name}"), name=f"evaluate_{name}", redo=self.redo
    )

  def summary(self) -> dict[str, Any]:
    """summary.json, a row a model and the reward model's figures; report.html beside it."""
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

  return report.text(summary, "xwin")


def run(config: XwinConfig, workdir: str, *, redo: bool = False) -> dict[str, Any]:
  """Runs the chain with the folder locked."""
  folder = Path(workdir)
  chain = Chain(config, folder, redo=redo)
  with manifest.lock(folder):
    jsonl.write_json(folder / "recipe.json", {"recipe": "xwin"})
    return chain.run()
