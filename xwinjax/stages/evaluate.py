"""What a model is worth: many samples for held-out prompts, scored and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Branches, Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import candidates as candidate_files
from xwinjax.data import read
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import CandidateSet, Counts, Example
from xwinjax.eval import heldout, statistics, winrate
from xwinjax.judge.score import Scores
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.stages import common
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.model_judges import scorer_of
from xwinjax.stages.sample import GenerateConfig, asked_rows, sample_shards
from xwinjax.stages.stage import Context, Stage, open_model

Sets = list[CandidateSet]
# (world.json, prompts, answers) -> (gold scores, further figures)
GoldJudge = Callable[
  [Path, Sequence[Example], Sequence[Sequence[str]]], tuple[Scores, dict[str, Any]]
]


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """Measures one model on held-out prompts."""

  format: str = "auto"  # of the prompts: a name from data/formats.py, or auto
  limit: Natural = 0  # read at most so many rows; 0 reads all
  generate: GenerateConfig = group(GenerateConfig, sampler=SamplerConfig(unique=False))
  branches: Branches = 8  # answers that share their prompt in a row when scoring
  batch: BatchConfig = plumbing(BatchConfig)
  shard: Positive = 64  # prompts sampled together


def _with_scores(sets: Sets, name: str, scores: Scores) -> Sets:
  """The sets with these scores, rounded as in files."""
  return [
    candidate_files.with_scores(s, {name: [round(value, 5) for value in values]})
    for s, values in zip(sets, scores, strict=True)
  ]


def _matrix(sets: Sets, name: str) -> np.ndarray:
  return np.array([[c.scores[name] for c in s.candidates] for s in sets])


def with_model_scores(
  context: Context, config: EvaluateConfig, sets: Sets, reward: Path | None, reference: Path | None
) -> Sets:
  """Scores `rm` by the reward model and log-probs `reference` by the reference, where given."""
  total = sum(len(s.candidates) for s in sets)
  for field, name, path in (("reward", "rm", reward), ("reference", "reference", reference)):
    if path is None:
      continue
    by_text = field == "reward"  # the reference reads the ids that were sampled
    made = scorer_of(context, path, reward=by_text, batch=config.batch, branches=config.branches)
    answers: Any = [[c.text if by_text else c.ids for c in s.candidates] for s in sets]
    with Progress(f"score by {field}", total, "answers") as progress:
      scorer = made(lambda n, tokens, p=progress: p.advance(n, tokens=tokens))
      scores = scorer(candidate_files.prompts(sets), answers)
    sets = _with_scores(sets, name, scores)
  return sets


def measures(
  sets: Sets, *, seed: int = 0, gold_figures: dict[str, Any] | None = None
) -> dict[str, Any]:
  """All figures of scored sets but the comparison with another model."""
  answers = [c for s in sets for c in s.candidates]
  lengths = np.array([[c.tokens for c in s.candidates] for s in sets])
  figures: dict[str, Any] = {
    "prompts": len(sets),
    "samples": len(sets[0].candidates),
    "mean_length": float(lengths.mean()),
    "length_ci": list(statistics.bootstrap(lengths.mean(1), seed=seed)),
    "duplicate_share": heldout.duplicate_share(candidate_files.texts(sets)),
    "ended_share": float(np.mean([c.finish != "length" for c in answers])),
  }
  has = answers[0].scores
  by = _matrix(sets, "rm") if "rm" in has else None
  for name in ("gold", "rm"):
    if name in has:
      scores = _matrix(sets, name)
      curve = heldout.best_of_k(scores, by)
      figures |= {
        f"{name}_mean": float(scores.mean()),
        f"{name}_ci": list(statistics.bootstrap(scores.mean(1), seed=seed)),
        f"{name}_std": float(scores.std(1).mean()),
        f"{name}_by_prompt": [round(float(x), 5) for x in scores.mean(1)],
        f"{name}_best_of_k": [round(float(x), 5) for x in curve],
        f"{name}_worst_of_k": [round(float(x), 5) for x in heldout.worst_of_k(scores, by)],
      }
  if "gold" in has and by is not None:
    golds = _matrix(sets, "gold")
    if by.std() and golds.std():  # else there is no correlation
      figures["rm_gold_correlation"] = float(np.corrcoef(by.ravel(), golds.ravel())[0, 1])
  figures |= gold_figures or {}
  if "reference" in has:
    gaps = np.array([[c.logp - c.scores["reference"] for c in s.candidates] for s in sets])
    figures["kl"] = float(gaps.mean())
    figures["kl_ci"] = list(statistics.bootstrap(gaps.mean(1), seed=seed))
  return figures


def compare(sets: Sets, before: Sets, judge: str, *, seed: int = 0) -> dict[str, Any]:
  """Head to head with another evaluation, by the scores of this name.

  Raises: UserError where the two are not of the same prompts.
  """
  if [s.id for s in sets] != [s.id for s in before]:
    raise UserError("was measured on other prompts than these")
  ours, theirs = _matrix(sets, judge), _matrix(before, judge)
  return {
    "judge": judge,
    **winrate.head_to_head(ours, theirs, seed=seed, tie=1e-6),
    "gain": statistics.paired_difference(ours.mean(1), theirs.mean(1), seed=seed),
  }


def check(config: EvaluateConfig, *, reward=None, previous=None, gold=None, **others) -> None:
  if previous is not None and reward is None and gold is None:
    raise UserError("config.previous needs config.reward (or gold): something has to judge")


def make(
  context: Context,
  config: EvaluateConfig,
  folder: Path,
  model: Path,
  prompts: Path,
  reward: Path | None = None,
  reference: Path | None = None,
  previous: Path | None = None,
  gold: Path | None = None,
  *,
  gold_judge: GoldJudge | None = None,
) -> dict[str, Any]:
  """Samples, scores and compares; writes candidates.jsonl."""
  opened = open_model(context, model, to_sample=True)
  rows = Counts()
  asked = read.prompts(
    prompts, config.format, config.limit, context.bad_rows, counts=rows, say=common.say
  )
  sets, sampling = sample_shards(
    folder, folder.name, asked, opened, config.generate, config.shard, context.seed
  )
  sets = with_model_scores(context, config, sets, reward, reference)
  gold_figures: dict[str, Any] = {}
  if gold is not None:
    assert gold_judge is not None, "a gold file needs the option gold_judge"
    scores, gold_figures = gold_judge(
      gold, candidate_files.prompts(sets), candidate_files.texts(sets)
    )
    sets = _with_scores(sets, "gold", scores)
  figures = measures(sets, seed=context.seed, gold_figures=gold_figures)
  figures |= {"sampling": sampling, "rows": dict(rows)}
  if previous is not None:
    file = previous / "candidates.jsonl" if previous.is_dir() else previous
    judge, before = "rm" if gold is None else "gold", list(candidate_files.read(file))
    try:
      figures["versus_previous"] = compare(sets, before, judge, seed=context.seed)
    except UserError as e:
      raise UserError(f"{previous}: {e}") from None
  candidate_files.write(folder / "candidates.jsonl", sets)
  return figures


STAGE = Stage(
  "evaluate",
  EvaluateConfig,
  make,
  {
    "model": "a language model",
    "prompts": "held-out prompts",
    "reward?": "a reward model to score with",
    "reference?": "the model that KL is measured to",
    "previous?": "another model's evaluation, its folder or candidates.jsonl, to compare with",
    "gold?": "world.json of a sandbox: score with its gold scorer too",
  },
  ("candidates.jsonl",),
  check=check,
  rows=lambda config: {"prompts": dataclasses.replace(asked_rows(config), heldout=True)},
)
