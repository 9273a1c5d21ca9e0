"""Scores for candidates, whoever judges; the stage that scores a file: the multiwise set.

A `Judge` is settings, the files it consists of, and a function that opens it. The scores of all end
in the same place, so that what reads them need not know whose they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Branches, Many, Positive, Tokens
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import candidates as candidate_files
from xwinjax.data import jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import CandidateSet, Example
from xwinjax.eval import heldout
from xwinjax.judge import prompts as judge_prompts
from xwinjax.judge.remote import RemoteConfig
from xwinjax.judge.score import OnRows, Scorer, Scores
from xwinjax.judge.self_judge import Judgement, Judgements
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.stage import Context, Stage

MODES = ("sampled", "expected", "both", "pairwise")


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
  """Who judges, and how."""

  by: str = "self"  # self, rm, logps, gold, openai:MODEL, human:votes.db (recipes/judges.py)
  name: str = ""  # under which each candidate's `scores` gets the score; empty: the same as `by`
  template: str = ""  # of a reward model, or one whose log-probs judge; "": the model's own
  prompt: str = "additive"  # additive, multiple_choice, ten (1 to 10), short (for few tokens)
  prompt_file: str = plumbing("")  # a text file with a prompt of one's own, in its place
  mode: str = "sampled"  # sampled: written scores; expected: from the logits; both; pairwise
  both_positions: bool = False  # pairwise: show every two answers in both orders
  samples: Many = 3  # judgements an answer, averaged
  max_new: Tokens = 256  # tokens a judgement may have
  params: SamplingParams = group(SamplingParams, temperature=0.7, top_p=0.9)
  opening: str = "Score: "  # behind which expected scores are read
  branches: Branches = 8  # answers that share their prompt in a row, where scores come from logits
  sampler: SamplerConfig = group(SamplerConfig)
  batch: BatchConfig = plumbing(BatchConfig)
  shard: Positive = 64  # prompts judged together; what is lost when killed
  remote: RemoteConfig = plumbing(RemoteConfig)

  @property
  def kind(self) -> str:
    """The judge's name without what stands behind a colon."""
    return self.by.partition(":")[0]

  @property
  def score(self) -> str:
    """The name of the scores that drive what follows."""
    return self.name or self.kind


@dataclasses.dataclass(frozen=True)
class Scored:
  """What a judge gives for candidates."""

  scores: dict[str, Scores]  # by name; NaN is a missing one
  judgements: list[list[Judgements]] = dataclasses.field(default_factory=list)  # if it writes
  figures: dict[str, Any] = dataclasses.field(default_factory=dict)


# (prompts, candidates, folder, title): what is to survive a kill goes into the folder
Opened = Callable[[Sequence[Example], Sequence[Sequence[str]], Path, str], Scored]


@dataclasses.dataclass(frozen=True)
class Judge:
  """A judge that is not loaded yet; `recipes.judges.make` makes one."""

  config: JudgeConfig
  inputs: dict[str, Path]  # the files and folders it consists of, by role
  open: Callable[[Context, Judge], Opened]
  asked: bool = True  # in words, which may hold more than the conversation, such as a reference

  def but(self, *, inputs: Mapping[str, Path] | None = None, **changes: Any) -> Judge:
    """The same with other settings, or other inputs."""
    config = dataclasses.replace(self.config, **changes)
    return dataclasses.replace(self, config=config, inputs={**self.inputs, **(inputs or {})})


def get_prompt(config: JudgeConfig) -> judge_prompts.JudgePrompt:
  return judge_prompts.get_prompt(config.prompt_file or config.prompt)


def check_writes(judge: Judge) -> None:
  """Raises UserError for a judge that writes no judgements of its own."""
  if judge.config.by != "self":
    raise UserError("config.judge.by is not 'self': only a model that writes can be used here")


def by_scorer(name: str, scorer_of: Callable[[OnRows], Scorer]) -> Opened:
  """A judge from a scorer; scorer_of(on_rows) makes it."""

  def scored(
    prompts: Sequence[Example], texts: Sequence[Sequence[str]], folder: Path, title: str
  ) -> Scored:
    with Progress(title, sum(map(len, texts)), "answers") as progress:
      scorer = scorer_of(lambda n, tokens: progress.advance(n, tokens=tokens))
      return Scored({name: scorer(prompts, texts)})

  return scored


def judge_sets(
  context: Context, judge: Judge, sets: Sequence[CandidateSet], folder: Path, title: str = "score"
) -> tuple[list[CandidateSet], list[list[Judgements]], dict[str, Any]]:
  """The sets with every score there is, the written judgements, and figures."""
  opened = judge.open(context, judge)
  scored = opened(candidate_files.prompts(sets), candidate_files.texts(sets), folder, title)
  with_scores = [
    candidate_files.with_scores(s, {name: rows[i] for name, rows in scored.scores.items()})
    for i, s in enumerate(sets)
  ]
  return with_scores, scored.judgements, score_figures(scored.scores) | scored.figures


def score_figures(scores: dict[str, Scores]) -> dict[str, Any]:
  """By name: how many scores there are, their mean, and their spread within a prompt."""
  figures: dict[str, Any] = {}
  for name, rows in scores.items():
    given = [np.array([x for x in row if not math.isnan(x)]) for row in rows]
    every = np.concatenate([np.zeros(0), *given])
    spread = [float(row.std()) for row in given if len(row) > 1]
    figures[name] = {
      "answers": sum(map(len, rows)),
      "missing": sum(map(len, rows)) - len(every),
      "mean": round(float(every.mean()), 5) if len(every) else None,
      "spread_within_a_prompt": round(float(np.mean(spread)), 5) if spread else None,
    }
  return figures


def set_figures(sets: Sequence[CandidateSet], name: str) -> dict[str, Any]:
  """The score's name and the sets' size; mean, spread and best-of-k where no score is missing."""
  figures: dict[str, Any] = {
    "score": name,
    "prompts": len(sets),
    "candidates": sum(len(s.candidates) for s in sets),
  }
  size = min((len(s.candidates) for s in sets), default=0)
  if not size or any(name not in c.scores for s in sets for c in s.candidates):
    return figures
  scores = np.array([[c.scores[name] for c in s.candidates[:size]] for s in sets])
  return figures | {
    "mean": round(float(scores.mean()), 5),
    "std": round(float(scores.std(1).mean()), 5),
    "best_of": heldout.curve_points(heldout.best_of_k(scores)),
    "worst_of": heldout.curve_points(heldout.worst_of_k(scores)),
  }


def judgement_json(j: Judgement) -> dict[str, Any]:
  return {"text": j.text, "score": j.score, **({"reason": j.reason} if j.reason else {})}


def judgements_of(row: Any) -> Judgements:
  """What `judgement_json` wrote of one answer."""
  return tuple(Judgement(j["text"], j["score"], j.get("reason", "")) for j in row)


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """Nothing of its own: the judge's settings decide."""


def write(folder: Path, sets: Sequence[CandidateSet], judged: list[list[Judgements]]) -> None:
  """Writes candidates.jsonl and, for written judgements, judgements.jsonl."""
  candidate_files.write(folder / "candidates.jsonl", sets)
  if judged:
    jsonl.write_rows(
      folder / "judgements.jsonl",
      [
        {"id": s.id, "judgements": [[judgement_json(j) for j in js] for js in row]}
        for s, row in zip(sets, judged, strict=True)
      ],
    )


def make(
  context: Context, config: ScoreConfig, folder: Path, candidates: Path, *, judge: Judge
) -> dict[str, Any]:
  """Scores every candidate."""
  sets = list(candidate_files.read(candidates))
  sets, judged, figures = judge_sets(context, judge, sets, folder)
  write(folder, sets, judged)
  return figures | set_figures(sets, judge.config.score)


STAGE = Stage(
  "score",
  ScoreConfig,
  make,
  {"candidates": "candidates.jsonl of the sample stage, or made by hand"},
  ("candidates.jsonl", "judgements.jsonl?", "replies.jsonl?"),
)
