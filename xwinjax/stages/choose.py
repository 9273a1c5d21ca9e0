"""Which checkpoint of a training is kept: the one whose answers to validation prompts score best.

Source: Yuan et al. 2024, who stop early by the judge on 253 validation prompts.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Candidate, CandidateSet, Message
from xwinjax.stages import common, judge
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.judge import JudgeConfig
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.sample import GenerateConfig, read_prompts, sample_shards


@dataclasses.dataclass(frozen=True)
class ChooseConfig:
  """How a checkpoint is chosen."""

  model: ModelConfig = group(ModelConfig)  # how the checkpoints are computed; path stays empty
  trained: str = plumbing("")  # folder of the training; its steps/ holds the models
  prompts: str = plumbing("")  # validation prompts
  generate: GenerateConfig = group(GenerateConfig, samples=1)
  judge: JudgeConfig = group(JudgeConfig)
  patience: int = 0  # stop looking after so many checkpoints without a better one; 0 looks at all
  shard: int = 64  # prompts sampled together
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


def candidate_set(row: dict[str, Any]) -> CandidateSet:
  """A row as `sample_shards` makes it."""
  prompt = tuple(Message(**m) for m in row["prompt"])
  candidates = tuple(
    Candidate(c["text"], c["logp"], c["tokens"], c["finish"], dict(c.get("scores", {})))
    for c in row["candidates"]
  )
  return CandidateSet(row["id"], prompt, candidates, row.get("meta", {}))


def mean_score(config: ChooseConfig, path: Path, folder: Path) -> dict[str, Any]:
  """One checkpoint's mean score on the validation prompts; kept in a file of its own."""
  kept = folder / "scores.json"
  if kept.exists():
    return jsonl.decode(kept.read_text(encoding="utf-8"), str(kept))
  model = common.open_model(
    dataclasses.replace(config.model, path=str(path), dropout=(0.0, 0.0)),
    common.make_mesh(config.mesh),
    reward=False,
  )
  prompts = read_prompts(config.prompts, "prompts")
  rows, sampling = sample_shards(
    folder, f"step {int(path.name)}", prompts, model, config.generate, config.shard, config.seed
  )
  sets, _, _ = judge.judge_sets(
    config.judge, [candidate_set(row) for row in rows], folder / "judge", "validation"
  )
  name = config.judge.score
  scores = [c.scores[name] for s in sets for c in s.candidates if name in c.scores]
  found = {
    "score": round(float(np.mean(scores)), 5) if scores else None,
    "judged": len(scores),
    "answers": sampling["candidates"],
    "mean_length": sampling["mean_length"],
  }
  jsonl.write_json(kept, found)
  return found


def run(config: ChooseConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes model/: the best of trained/steps/, the earliest of equals."""
  trained = common.input_file(config.trained, "trained")
  judge.check(config.judge)
  inputs = {
    "trained": common.input_file(str(trained / "manifest.json"), "trained"),
    "prompts": common.input_file(config.prompts, "prompts"),
    **{f"judge_{role}": path for role, path in judge.inputs_of(config.judge).items()},
  }

  def body() -> dict[str, Any]:
    steps = sorted((trained / "steps").glob("[0-9]*"))
    if not steps:
      raise UserError(
        f"{trained / 'steps'}: holds no models; delete {trained} to train again and keep them"
      )
    found: dict[str, dict[str, Any]] = {}
    best, score = steps[-1], -np.inf
    since = 0
    for path in steps:
      found[path.name] = mean_score(config, path, folder / "validation" / path.name)
      here, since = found[path.name]["score"], since + 1
      if here is not None and here > score:
        best, score, since = path, here, 0
      if config.patience and since >= config.patience:
        break
    shutil.copytree(best, folder / "model", dirs_exist_ok=True)
    return {
      "step": int(best.name),
      "score": None if score == -np.inf else score,
      "steps": {str(int(name)): f for name, f in found.items()},
    }

  return run_stage(folder, "choose", config, inputs, ("model",), body, redo=redo)
