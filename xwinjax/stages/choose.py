"""Which checkpoint of a training is kept: the one whose answers to validation prompts score best.

Source: Yuan et al. 2024, who stop early by the judge on 253 validation prompts. A price on the KL
that the score is bought with is ours, see `eval.overoptimisation`.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core import processes, system
from xwinjax.core.bounds import Amount, Branches, Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import jsonl, read, seal
from xwinjax.data.batching import BatchConfig
from xwinjax.eval import overoptimisation
from xwinjax.stages import common, evaluate
from xwinjax.stages.config import group, later, plumbing
from xwinjax.stages.sample import GenerateConfig, sample_shards
from xwinjax.stages.score import Judge, judge_sets
from xwinjax.stages.stage import Context, Stage, open_model


@dataclasses.dataclass(frozen=True)
class ChooseConfig:
  """How a checkpoint is chosen."""

  generate: GenerateConfig = group(GenerateConfig, samples=1)
  patience: Natural = 0  # stop looking after so many checkpoints with no better one; 0 looks at all
  shard: Positive = 64  # prompts sampled together
  price: Amount = later(0.0)  # sd of the start's scores that a nat of KL has to buy; 0: best score
  branches: Branches = later(8)  # answers that share their prompt in a row when KL is measured
  batch: BatchConfig = plumbing(BatchConfig)  # of the model that KL is measured to


@dataclasses.dataclass(frozen=True)
class Measures:
  """By what checkpoints are measured, on which prompts."""

  judge: Judge
  prompts: Path
  reference: Path | None = None  # what KL is measured to
  gold: Path | None = None
  gold_judge: evaluate.GoldJudge | None = None


def measured(
  context: Context, config: ChooseConfig, by: Measures, model: Path, step: int, folder: Path
) -> dict[str, Any]:
  """One checkpoint's means over the validation prompts; kept in a file of their own."""
  kept = folder / "scores.json"
  if processes.on_lead(lambda: seal.whole_part(kept)):
    return jsonl.decode(kept.read_text(encoding="utf-8"), str(kept))
  opened = open_model(context, model, to_sample=True, dropout=(0.0, 0.0))
  asked = read.prompts(by.prompts, bad_rows=context.bad_rows, say=common.say)
  sets, sampling = sample_shards(
    folder, f"step {step}", asked, opened, config.generate, config.shard, context.seed
  )
  sets, _, _ = judge_sets(context, by.judge, sets, folder / "judge", "validation")
  name = by.judge.config.score
  scores = [c.scores[name] for s in sets for c in s.candidates if name in c.scores]
  figures = {
    "score": round(float(np.mean(scores)), 5) if scores else None,
    "std": round(float(np.std(scores)), 5) if scores else None,
    "judged": len(scores),
    "answers": sampling["candidates"],
    "mean_length": sampling["mean_length"],
  }
  if by.reference is not None:
    how = evaluate.EvaluateConfig(branches=config.branches, batch=config.batch)
    sets = evaluate.with_model_scores(context, how, sets, None, by.reference)
    gaps = [c.logp - c.scores["reference"] for s in sets for c in s.candidates]
    figures["kl"] = round(float(np.mean(gaps)), 5)
  if by.gold is not None:
    assert by.gold_judge is not None, "a gold file needs the option gold_judge"
    golds, _ = by.gold_judge(by.gold, candidate_files.prompts(sets), candidate_files.texts(sets))
    figures["gold"] = round(float(np.mean([g for row in golds for g in row])), 5)
  jsonl.write_json(kept, figures)
  processes.on_lead(lambda: seal.seal_part(kept))
  return figures


def check(config: ChooseConfig, *, reference: Path | None = None, **_) -> None:
  """Raises UserError for a price on a KL that nothing is there to measure."""
  if config.price and reference is None:
    raise UserError(
      f"config.price is {config.price:g}, and there is no reference to measure KL to; name the "
      "training's start as config.reference, or set the price to 0"
    )


def check_in_a_chain(config: ChooseConfig, validating: bool) -> None:
  """Raises UserError for a price in a run without validation prompts, where no step is chosen."""
  if config.price and not validating:
    raise UserError(
      f"config.choose.price is {config.price:g}, and there are no validation prompts to choose a "
      "step on: name data.validation_prompts (sandbox.world.validation_prompts=32 makes some), or "
      "set the price to 0"
    )


def make(
  context: Context,
  config: ChooseConfig,
  folder: Path,
  trained: Path,
  prompts: Path,
  reference: Path | None = None,
  gold: Path | None = None,
  *,
  judge: Judge,
  gold_judge: evaluate.GoldJudge | None = None,
) -> dict[str, Any]:
  """Writes model/: the best of the training's steps/, the earliest of equals.

  With a reference, that is step 0 and may be the best itself.
  """
  training = trained.parent
  steps = processes.on_lead(lambda: [str(p) for p in common.kept_steps(training)])
  if not steps:
    raise UserError(
      f"{training / common.STEPS}: holds no models; delete {training} to train again and keep them"
    )
  by = Measures(judge, prompts, reference, gold, gold_judge)
  models = ({0: reference} if reference is not None else {}) | {
    int(Path(p).name): Path(p) for p in steps
  }
  figures: dict[int, dict[str, Any]] = {}
  best = None
  for step, path in models.items():
    here = folder / "validation" / f"{step:07d}"
    figures[step] = measured(context, config, by, path, step, here)
    scores = [math.nan if f["score"] is None else f["score"] for f in figures.values()]
    kls = [f.get("kl", 0.0) for f in figures.values()]
    unit = figures[0].get("std") or 0.0 if config.price else 0.0
    best = overoptimisation.worth_it(scores, kls, config.price * unit)
    since = len(figures) - 1 - (-1 if best is None else best)
    if config.patience and since >= config.patience:
      break
  chosen = list(models)[-1 if best is None else best]
  if system.leads():
    shutil.copytree(models[chosen], folder / "model", dirs_exist_ok=True)
  return {
    "step": chosen,
    "score": figures[chosen]["score"] if best is not None else None,
    "steps": {str(step): f for step, f in figures.items()},
  }


STAGE = Stage(
  "choose",
  ChooseConfig,
  make,
  {
    "trained": "manifest.json of a training; steps/ beside it holds the models",
    "prompts": "validation prompts",
    "reference?": "the training's start, that KL is measured to",
    "gold?": "world.json of a sandbox: score with its gold scorer too",
  },
  ("model",),
  check=check,
)
