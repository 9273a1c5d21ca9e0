"""Scores for a file of candidates, by a reward model: the multiwise set (Xwin-Set)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.progress import Progress
from xwinjax.data import formats, jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import CandidateSet, Counts, Example, candidates_json
from xwinjax.eval import heldout
from xwinjax.judge import score as scoring
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, Model, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """Scores by one reward model for one file of candidates."""

  model: ModelConfig = group(ModelConfig)  # the reward model
  candidates: str = plumbing("")  # candidates.jsonl of the sample stage
  name: str = "rm"  # under which each candidate's `scores` gets this score
  branches: int = 8  # answers that share their prompt in a row
  batch: BatchConfig = plumbing(BatchConfig)
  mesh: MeshConfig = plumbing(MeshConfig)


def score_sets(
  sets: Sequence[CandidateSet], scorer_of, name: str, title: str
) -> list[CandidateSet]:
  """The sets with every candidate's score under `name`; scorer_of(on_rows) makes the scorer."""
  total = sum(len(s.candidates) for s in sets)
  with Progress(title, total, "answers") as progress:
    scorer = scorer_of(lambda n, tokens: progress.advance(n, tokens=tokens))
    scores = scorer(
      [Example(s.id, s.prompt, s.meta) for s in sets],
      [[c.text for c in s.candidates] for s in sets],
    )
  return [
    dataclasses.replace(
      s,
      candidates=tuple(
        dataclasses.replace(c, scores={**c.scores, name: value})
        for c, value in zip(s.candidates, values, strict=True)
      ),
    )
    for s, values in zip(sets, scores, strict=True)
  ]


def reward_scorer(model: Model, branches: int, batch: BatchConfig, mesh):
  """on_rows -> a scorer by this reward model."""
  return lambda on_rows: scoring.reward_model(
    model.config,
    model.params,
    model.renderer,
    batch=batch,
    branches=branches,
    mesh=mesh,
    on_rows=on_rows,
  )


def set_figures(sets: Sequence[CandidateSet], name: str) -> dict[str, Any]:
  """Mean, spread and best-of-k of a scored set."""
  size = min(len(s.candidates) for s in sets)
  scores = np.array([[c.scores[name] for c in s.candidates[:size]] for s in sets])
  return {
    "prompts": len(sets),
    "candidates": int(sum(len(s.candidates) for s in sets)),
    "mean": round(float(scores.mean()), 5),
    "std": round(float(scores.std(1).mean()), 5),
    "best_of": heldout.curve_points(heldout.best_of_k(scores)),
    "worst_of": heldout.curve_points(heldout.worst_of_k(scores)),
  }


def run(config: ScoreConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Scores every candidate; writes candidates.jsonl with `scores` filled in."""
  inputs = {
    "model": common.input_file(config.model.path, "model.path"),
    "candidates": common.input_file(config.candidates, "candidates"),
  }

  def body() -> dict[str, Any]:
    mesh = common.make_mesh(config.mesh)
    model = common.open_model(config.model, mesh, reward=True)
    counts = Counts()
    sets = list(formats.read_candidates(config.candidates, counts))
    sets = score_sets(
      sets, reward_scorer(model, config.branches, config.batch, mesh), config.name, "score"
    )
    jsonl.write_rows(folder / "candidates.jsonl", [candidates_json(s) for s in sets])
    return set_figures(sets, config.name)

  return run_stage(folder, "score", config, inputs, ("candidates.jsonl",), body, redo=redo)
