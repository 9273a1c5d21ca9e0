"""What a model is worth: many samples for held-out prompts, scored and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Example
from xwinjax.eval import heldout, statistics, winrate
from xwinjax.judge import score as scoring
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.sandbox import gold
from xwinjax.sandbox.world import World
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.sample import GenerateConfig, read_prompts, sample_shards

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """Measures one model on held-out prompts."""

  model: ModelConfig = group(ModelConfig)
  prompts: str = plumbing("")  # held-out prompts
  format: str = "auto"  # a name from data/formats.py, or auto
  limit: int = 0  # read at most so many rows; 0 reads all
  generate: GenerateConfig = group(GenerateConfig, sampler=SamplerConfig(unique=False))
  reward: str = plumbing("")  # folder of a reward model to score with
  reference: str = plumbing("")  # folder of the model that KL is measured to
  previous: str = plumbing("")  # evaluation folder of another model, to compare with
  gold: str = plumbing("")  # world.json of a sandbox: score with its gold scorer too
  branches: int = 8  # answers that share their prompt in a row when scoring
  batch: BatchConfig = plumbing(BatchConfig)
  shard: int = 64  # prompts sampled together
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


def _add_scores(rows: Rows, name: str, scores: scoring.Scores) -> None:
  for row, values in zip(rows, scores, strict=True):
    for candidate, value in zip(row["candidates"], values, strict=True):
      candidate.setdefault("scores", {})[name] = round(value, 5)


def _matrix(rows: Rows, name: str) -> np.ndarray:
  return np.array([[c["scores"][name] for c in row["candidates"]] for row in rows])


def add_model_scores(config: EvaluateConfig, prompts: Sequence[Example], rows: Rows, mesh) -> None:
  """Scores `rm` by the reward model and log-probs `reference` by the reference, where named."""
  total = sum(len(row["candidates"]) for row in rows)
  for field, name, kind, wants_reward in (
    ("reward", "rm", scoring.reward_model, True),
    ("reference", "reference", scoring.sequence_logps, False),
  ):
    path = getattr(config, field)
    if not path:
      continue
    # Another model than the one evaluated: its own template, its own vocabulary.
    other = common.open_model(
      dataclasses.replace(config.model, path=path, template="", dropout=(0.0, 0.0)),
      mesh,
      reward=wants_reward,
    )
    answers = "text" if wants_reward else "ids"
    with Progress(f"score by {field}", total, "answers") as progress:
      scorer = kind(
        other.config,
        other.params,
        other.renderer,
        batch=config.batch,
        branches=config.branches,
        mesh=mesh,
        on_rows=lambda n, tokens, p=progress: p.advance(n, tokens=tokens),
      )
      scores = scorer(prompts, [[c[answers] for c in row["candidates"]] for row in rows])
    _add_scores(rows, name, scores)


def measures(config: EvaluateConfig, prompts: Sequence[Example], rows: Rows) -> dict[str, Any]:
  """All figures of scored rows but the comparison with another model."""
  candidates = [c for row in rows for c in row["candidates"]]
  lengths = np.array([[c["tokens"] for c in row["candidates"]] for row in rows])
  texts = [[c["text"] for c in row["candidates"]] for row in rows]
  figures: dict[str, Any] = {
    "prompts": len(rows),
    "samples": len(rows[0]["candidates"]),
    "mean_length": float(lengths.mean()),
    "length_ci": list(statistics.bootstrap(lengths.mean(1), seed=config.seed)),
    "duplicate_share": heldout.duplicate_share(texts),
    "ended_share": float(np.mean([c["finish"] != "length" for c in candidates])),
  }
  has = candidates[0].get("scores", {})
  by = _matrix(rows, "rm") if "rm" in has else None
  for name in ("gold", "rm"):
    if name in has:
      scores = _matrix(rows, name)
      curve = heldout.best_of_k(scores, by)
      figures |= {
        f"{name}_mean": float(scores.mean()),
        f"{name}_ci": list(statistics.bootstrap(scores.mean(1), seed=config.seed)),
        f"{name}_std": float(scores.std(1).mean()),
        f"{name}_by_prompt": [round(float(x), 5) for x in scores.mean(1)],
        f"{name}_best_of_k": [round(float(x), 5) for x in curve],
        f"{name}_worst_of_k": [round(float(x), 5) for x in heldout.worst_of_k(scores, by)],
      }
  if "gold" in has and by is not None:
    golds = _matrix(rows, "gold")
    if by.std() and golds.std():  # else there is no correlation
      figures["rm_gold_correlation"] = float(np.corrcoef(by.ravel(), golds.ravel())[0, 1])
  if config.gold:
    figures["hallucination"] = gold.hallucination(World.load(config.gold), prompts, texts)
  if "reference" in has:
    gaps = np.array(
      [[c["logp"] - c["scores"]["reference"] for c in row["candidates"]] for row in rows]
    )
    figures["kl"] = float(gaps.mean())
    figures["kl_ci"] = list(statistics.bootstrap(gaps.mean(1), seed=config.seed))
  return figures


def compare(config: EvaluateConfig, rows: Rows, before: Rows) -> dict[str, Any]:
  """Head to head with another evaluation, by gold where there is gold, else by the reward model."""
  if [row["id"] for row in rows] != [row["id"] for row in before]:
    raise UserError(f"{config.previous}: was measured on other prompts than {config.prompts}")
  judge = "gold" if config.gold else "rm"
  ours, theirs = _matrix(rows, judge), _matrix(before, judge)
  return {
    "judge": judge,
    **winrate.head_to_head(ours, theirs, seed=config.seed, tie=1e-6),
    "gain": statistics.paired_difference(ours.mean(1), theirs.mean(1), seed=config.seed),
  }


def read_rows(path: Path) -> Rows:
  return [row for _, row in jsonl.read_rows(path)]


def run(
  config: EvaluateConfig, folder: Path, *, name: str = "evaluate", redo: bool = False
) -> dict[str, Any]:
  """Samples, scores and compares; writes candidates.jsonl and figures into manifest.json."""
  inputs = {
    "model": common.input_file(config.model.path, "model.path"),
    "prompts": common.input_file(config.prompts, "prompts"),
  }
  for field in ("reward", "reference"):
    if getattr(config, field):
      inputs[field] = common.input_file(getattr(config, field), field)
  if config.previous:
    inputs["previous"] = common.input_file(f"{config.previous}/candidates.jsonl", "previous")
    if not config.reward and not config.gold:
      raise UserError("config.previous needs config.reward (or gold): something has to judge")
  if config.gold:
    inputs["gold"] = common.input_file(config.gold, "gold")

  def body() -> dict[str, Any]:
    mesh = common.make_mesh(config.mesh)
    model = common.open_model(config.model, mesh, reward=False)
    prompts = read_prompts(config.prompts, "prompts", config.format, config.limit)
    rows, sampling = sample_shards(
      folder, name, prompts, model, config.generate, config.shard, config.seed
    )
    kept = {row["id"] for row in rows}
    prompts = [p for p in prompts if p.id in kept]
    add_model_scores(config, prompts, rows, mesh)
    if config.gold:
      texts = [[c["text"] for c in row["candidates"]] for row in rows]
      _add_scores(rows, "gold", gold.scorer(World.load(config.gold))(prompts, texts))
    figures = measures(config, prompts, rows)
    figures["sampling"] = sampling
    if config.previous:
      figures["versus_previous"] = compare(config, rows, read_rows(inputs["previous"]))
    jsonl.write_rows(folder / "candidates.jsonl", rows)
    return figures

  return run_stage(folder, name, config, inputs, ("candidates.jsonl",), body, redo=redo)
