"""What a model is worth as a judge, and what it thinks of its own answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl
from xwinjax.data.records import CandidateSet, candidates_json
from xwinjax.eval import judge_metrics, statistics
from xwinjax.stages import common, judge
from xwinjax.stages.common import ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.judge import JudgeConfig
from xwinjax.stages.judge_metrics import measure
from xwinjax.stages.manifest import run_stage


@dataclasses.dataclass(frozen=True)
class JudgingConfig:
  """One model as judge: of answers that people have valued, and of its own."""

  model: ModelConfig = group(ModelConfig)
  judge: JudgeConfig = group(JudgeConfig, mode="both")
  judged: str = plumbing("")  # candidates with people's values
  people: str = "human"  # the name of those values
  own: str = plumbing("")  # candidates.jsonl of this model's evaluation
  own_answers: int = 2  # of each prompt are judged by the model itself …
  fixed: str = plumbing("")  # … and by this model, the same for all that are compared
  seed: int = 0


def of_people(config: JudgingConfig, mine: JudgeConfig, folder: Path) -> dict[str, Any]:
  """The judge against people, written and by expected score; writes judged.jsonl."""
  sets = list(formats.read_candidates(config.judged))
  sets, _, figures = judge.judge_sets(mine, sets, folder / "people", "judge people's")
  jsonl.write_rows(folder / "judged.jsonl", map(candidates_json, sets))
  names = {"written": "self", "expected": "self_expected"}
  if mine.mode != "both":
    names = {"expected" if mine.mode == "expected" else "written": "self"}
  high = judge.get_prompt(mine).high
  return figures | {
    how: measure(sets, name, config.people, top=high, seed=config.seed)
    for how, name in names.items()
  }


def own_sets(config: JudgingConfig) -> list[CandidateSet]:
  return [
    dataclasses.replace(s, candidates=s.candidates[: config.own_answers])
    for s in formats.read_candidates(config.own)
  ]


def figures_of_own(sets: Sequence[CandidateSet], seed: int) -> dict[str, Any]:
  """Mean self-score with its interval, and how far it lies above gold where there is gold."""
  rows = [[c.scores["self"] for c in s.candidates if "self" in c.scores] for s in sets]
  means = np.array([np.mean(r) for r in rows if r])
  figures: dict[str, Any] = {
    "answers": sum(len(s.candidates) for s in sets),
    "judged": sum(map(len, rows)),
    "self_mean": float(means.mean()) if len(means) else None,
    "self_ci": list(statistics.bootstrap(means, seed=seed)) if len(means) else None,
  }
  both = [[c for c in s.candidates if {"self", "gold"} <= set(c.scores)] for s in sets]
  both = [candidates for candidates in both if candidates]
  if both:
    selfs, golds = ([[c.scores[name] for c in cs] for cs in both] for name in ("self", "gold"))
    figures["inflation"] = judge_metrics.inflation(selfs, golds, seed=seed)
    figures["against_gold"] = judge_metrics.summary(selfs, golds, seed=seed)
  return figures


def run(config: JudgingConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes judged.jsonl and own.jsonl: the candidates with this judge's scores."""
  inputs: dict[str, Path] = {"model": common.input_file(config.model.path, "model.path")}
  if not (config.judged or config.own):
    raise UserError("config.judged and config.own are empty; there is nothing to judge")
  for field in ("judged", "own", "fixed"):
    if getattr(config, field):
      inputs[field] = common.input_file(getattr(config, field), field)
  mine = dataclasses.replace(config.judge, by="self", name="", model=config.model, seed=config.seed)
  judge.check(mine)
  if mine.prompt_file:
    inputs["prompt"] = common.input_file(mine.prompt_file, "prompt_file")

  def body() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if config.judged:
      figures["people"] = of_people(config, mine, folder)
    if config.own:
      sampled = dataclasses.replace(mine, mode="sampled" if mine.mode == "both" else mine.mode)
      sets, _, how = judge.judge_sets(sampled, own_sets(config), folder / "own", "judge its own")
      if config.fixed:
        other = dataclasses.replace(
          sampled, name="fixed", model=dataclasses.replace(config.model, path=config.fixed)
        )
        sets, _, _ = judge.judge_sets(other, sets, folder / "fixed", "judge by the fixed model")
      jsonl.write_rows(folder / "own.jsonl", map(candidates_json, sets))
      figures["own"] = how | figures_of_own(sets, config.seed)
    return figures

  outputs = [
    name for name, made in (("judged.jsonl", config.judged), ("own.jsonl", config.own)) if made
  ]
  return run_stage(folder, "judging", config, inputs, tuple(outputs), body, redo=redo)
