"""Which checkpoint of a training is kept: the one whose answers to validation prompts score best.

Source: Yuan et al. 2024, who stop early by the judge on 253 validation prompts.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core import processes, system
from xwinjax.core.bounds import Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, read, seal
from xwinjax.stages import common
from xwinjax.stages.config import group
from xwinjax.stages.sample import GenerateConfig, sample_shards
from xwinjax.stages.score import Judge, judge_sets
from xwinjax.stages.stage import Context, Stage, open_model


@dataclasses.dataclass(frozen=True)
class ChooseConfig:
  """How a checkpoint is chosen."""

  generate: GenerateConfig = group(GenerateConfig, samples=1)
  patience: Natural = 0  # stop looking after so many checkpoints with no better one; 0 looks at all
  shard: Positive = 64  # prompts sampled together


def mean_score(
  context: Context, config: ChooseConfig, judge: Judge, model: Path, prompts: Path, folder: Path
) -> dict[str, Any]:
  """One checkpoint's mean score on the validation prompts; kept in a file of its own."""
  kept = folder / "scores.json"
  if processes.on_lead(lambda: seal.whole_part(kept)):
    return jsonl.decode(kept.read_text(encoding="utf-8"), str(kept))
  opened = open_model(context, model, to_sample=True, dropout=(0.0, 0.0))
  asked = read.prompts(prompts, bad_rows=context.bad_rows, say=common.say)
  sets, sampling = sample_shards(
    folder, f"step {int(model.name)}", asked, opened, config.generate, config.shard, context.seed
  )
  sets, _, _ = judge_sets(context, judge, sets, folder / "judge", "validation")
  name = judge.config.score
  scores = [c.scores[name] for s in sets for c in s.candidates if name in c.scores]
  figures = {
    "score": round(float(np.mean(scores)), 5) if scores else None,
    "judged": len(scores),
    "answers": sampling["candidates"],
    "mean_length": sampling["mean_length"],
  }
  jsonl.write_json(kept, figures)
  processes.on_lead(lambda: seal.seal_part(kept))
  return figures


def make(
  context: Context,
  config: ChooseConfig,
  folder: Path,
  trained: Path,
  prompts: Path,
  *,
  judge: Judge,
) -> dict[str, Any]:
  """Writes model/: the best of the training's steps/, the earliest of equals."""
  training = trained.parent
  steps = processes.on_lead(lambda: [str(p) for p in common.kept_steps(training)])
  if not steps:
    raise UserError(
      f"{training / common.STEPS}: holds no models; delete {training} to train again and keep them"
    )
  figures: dict[str, dict[str, Any]] = {}
  best, score = Path(steps[-1]), -np.inf
  since = 0
  for path in map(Path, steps):
    here = folder / "validation" / path.name
    figures[path.name] = mean_score(context, config, judge, path, prompts, here)
    mean, since = figures[path.name]["score"], since + 1
    if mean is not None and mean > score:
      best, score, since = path, mean, 0
    if config.patience and since >= config.patience:
      break
  if system.leads():
    shutil.copytree(best, folder / "model", dirs_exist_ok=True)
  return {
    "step": int(best.name),
    "score": None if score == -np.inf else score,
    "steps": {str(int(name)): f for name, f in figures.items()},
  }


STAGE = Stage(
  "choose",
  ChooseConfig,
  make,
  {
    "trained": "manifest.json of a training; steps/ beside it holds the models",
    "prompts": "validation prompts",
  },
  ("model",),
)
