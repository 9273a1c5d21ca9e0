"""Scores for a file of candidates by a judge: a model that writes judgements, a reward model, gold.

Whoever judges, the scores end in the same place, so that what reads them need not know.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import formats, jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import CandidateSet, Counts, Example, candidates_json
from xwinjax.eval import judge_metrics
from xwinjax.judge import pairwise
from xwinjax.judge import prompts as judge_prompts
from xwinjax.judge import score as scoring
from xwinjax.judge.score import Scores
from xwinjax.judge.self_judge import Expected, Judgement, Judgements, Sampled, mean_score
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.sandbox import gold
from xwinjax.sandbox.world import World
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, Model, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage

JUDGES = ("self", "rm", "gold")
MODES = ("sampled", "expected", "both", "pairwise")


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
  """Who judges, and how."""

  by: str = "self"  # self: a language model; rm: a reward model; gold: the sandbox's own scorer
  model: ModelConfig = group(ModelConfig)  # the language model that judges
  reward: str = plumbing("")  # folder of the reward model, for rm
  gold: str = plumbing("")  # world.json of a sandbox, for gold
  candidates: str = plumbing("")  # candidates.jsonl of the sample stage
  name: str = ""  # under which each candidate's `scores` gets the score; empty: the same as `by`
  prompt: str = "additive"  # additive, multiple_choice, or short for models of few tokens
  prompt_file: str = plumbing("")  # a text file with a prompt of one's own, in its place
  mode: str = "sampled"  # sampled: written scores; expected: from the logits; both; pairwise
  both_positions: bool = False  # pairwise: show every two answers in both orders
  samples: int = 3  # judgements an answer, averaged
  max_new: int = 256  # tokens a judgement may have
  params: SamplingParams = group(SamplingParams, temperature=0.7, top_p=0.9)
  opening: str = "Score: "  # behind which expected scores are read
  branches: int = 8  # answers that share their prompt in a row, where scores come from logits
  sampler: SamplerConfig = group(SamplerConfig)
  batch: BatchConfig = plumbing(BatchConfig)
  shard: int = 64  # prompts judged together; what is lost when killed
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0

  @property
  def score(self) -> str:
    """The name of the scores that drive what follows."""
    return self.name or self.by


def check(config: JudgeConfig) -> None:
  """Raises UserError for a choice that does not exist."""
  for field, value, known in (("by", config.by, JUDGES), ("mode", config.mode, MODES)):
    if value not in known:
      raise UserError(f"config.{field} {value!r} is not one of {', '.join(known)}")
  if config.mode != "pairwise":
    get_prompt(config)


def get_prompt(config: JudgeConfig) -> judge_prompts.JudgePrompt:
  return judge_prompts.get_prompt(config.prompt_file or config.prompt)


def inputs_of(config: JudgeConfig) -> dict[str, Path]:
  """The files and folders that the judge itself consists of."""
  field = {"self": "model.path", "rm": "reward", "gold": "gold"}[config.by]
  value = config.model.path if config.by == "self" else getattr(config, field)
  found = {field.removesuffix(".path"): common.input_file(value, field)}
  if config.by == "self" and config.prompt_file:
    found["prompt"] = common.input_file(config.prompt_file, "prompt_file")
  return found


def judgement_json(j: Judgement) -> dict[str, Any]:
  return {"text": j.text, "score": j.score, **({"reason": j.reason} if j.reason else {})}


def _judgements(row: Any) -> Judgements:
  return tuple(Judgement(j["text"], j["score"], j.get("reason", "")) for j in row)


def written(
  config: JudgeConfig,
  model: Model,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
  folder: Path,
  title: str,
) -> tuple[list[list[Judgements]], dict[str, Any]]:
  """Sampled judgements, in shards that are whole or not there; and what they cost."""
  total, found = sum(map(len, texts)), []
  counts, tokens = Counts(), Counts()
  with Progress(title, total, "answers") as progress:
    judge = Sampled(
      model.config,
      model.params,
      model.renderer,
      get_prompt(config),
      samples=config.samples,
      sampling=config.params,
      max_new=config.max_new,
      settings=config.sampler,
      seed=config.seed,
      on_rows=lambda n, tokens: progress.advance(n, tokens=tokens),
    )
    for n, start in enumerate(range(0, len(prompts), config.shard)):
      part, here = folder / "parts" / f"{n:05d}.jsonl", slice(start, start + config.shard)
      if not part.exists():
        judge.prompt_tokens = Counts()
        done = judge.judge(prompts[here], texts[here])
        rows = [{"judgements": [[judgement_json(j) for j in js] for js in row]} for row in done]
        jsonl.write_rows(part, [{"prompt_tokens": dict(judge.prompt_tokens)}, *rows])
      else:
        progress.advance(sum(map(len, texts[here])))
      cost, *rows = [row for _, row in jsonl.read_rows(part)]
      tokens.update(cost["prompt_tokens"])
      found += [[_judgements(js) for js in row["judgements"]] for row in rows]
  counts.update(j.reason or "read" for row in found for js in row for j in js)
  return found, {"counts": dict(counts), "prompt_tokens": dict(tokens)}


def compared(
  config: JudgeConfig,
  model: Model,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
  folder: Path,
  title: str,
) -> tuple[Scores, dict[str, Any]]:
  """Win shares from comparisons two by two, in shards that are whole or not there."""
  prompt = pairwise.PROMPT
  if config.prompt_file:
    prompt = Path(config.prompt_file).read_text(encoding="utf-8").rstrip("\n")
  scores: Scores = []
  counts = Counts()
  with Progress(f"{title}, two by two", len(prompts), "prompts") as progress:
    judge = pairwise.Pairwise(
      model.config,
      model.params,
      model.renderer,
      prompt=prompt,
      seed=config.seed,
      both_positions=config.both_positions,
      sampling=config.params,
      max_new=config.max_new,
      settings=config.sampler,
    )
    for n, start in enumerate(range(0, len(prompts), config.shard)):
      part, here = folder / "parts" / f"{n:05d}.jsonl", slice(start, start + config.shard)
      if not part.exists():
        judge.counts = Counts()
        found = judge(prompts[here], texts[here])
        rows = [[None if math.isnan(x) else x for x in row] for row in found]
        jsonl.write_rows(part, [{"counts": dict(judge.counts)}, *({"scores": r} for r in rows)])
      first, *rows = [row for _, row in jsonl.read_rows(part)]
      counts.update(first["counts"])
      scores += [[math.nan if x is None else x for x in row["scores"]] for row in rows]
      progress.advance(len(rows))
  return scores, {"counts": dict(counts)}


def self_scores(
  config: JudgeConfig,
  model: Model,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
  folder: Path,
  title: str,
  mesh,
) -> tuple[dict[str, Scores], list[list[Judgements]], dict[str, Any]]:
  """(scores by name, judgements, figures) of the language model as judge."""
  scores: dict[str, Scores] = {}
  judged: list[list[Judgements]] = []
  figures: dict[str, Any] = {}
  if config.mode == "pairwise":
    scores[config.score], figures = compared(config, model, prompts, texts, folder, title)
    return scores, judged, figures
  if config.mode != "expected":
    judged, cost = written(config, model, prompts, texts, folder, title)
    scores[config.score] = [[mean_score(js) for js in row] for row in judged]
    figures |= cost | judge_metrics.consistency(
      [[j.score for j in js] for row in judged for js in row]
    )
  if config.mode != "sampled":
    name = config.score if config.mode == "expected" else f"{config.score}_expected"
    with Progress(f"{title}, expected", sum(map(len, texts)), "answers") as progress:
      judge = Expected(
        model.config,
        model.params,
        model.renderer,
        get_prompt(config),
        opening=config.opening,
        batch=config.batch,
        branches=config.branches,
        mesh=mesh,
        on_rows=lambda n, tokens: progress.advance(n, tokens=tokens),
      )
      scores[name] = judge(prompts, texts)
    figures["expected"] = {
      "mass_on_scores": None if math.isnan(judge.mass) else round(judge.mass, 5),
      "prompt_tokens": dict(judge.prompt_tokens),
    }
  return scores, judged, figures


def gold_scores(path: str, prompts: Sequence[Example], texts: Sequence[Sequence[str]]) -> Scores:
  """Gold scores; missing for prompts that are not the world's."""
  known = [i for i, p in enumerate(prompts) if "kind" in p.meta]
  scores: Scores = [[math.nan] * len(row) for row in texts]
  found = gold.scorer(World.load(path))([prompts[i] for i in known], [texts[i] for i in known])
  for i, row in zip(known, found, strict=True):
    scores[i] = row
  return scores


def judge_sets(
  config: JudgeConfig, sets: Sequence[CandidateSet], folder: Path, title: str = "judge"
) -> tuple[list[CandidateSet], list[list[Judgements]], dict[str, Any]]:
  """The sets with every score there is, the written judgements, and figures."""
  prompts = [Example(s.id, s.prompt, s.meta) for s in sets]
  texts = [[c.text for c in s.candidates] for s in sets]
  judged: list[list[Judgements]] = []
  figures: dict[str, Any] = {}
  if config.by == "gold":
    scores = {config.score: gold_scores(config.gold, prompts, texts)}
  else:
    mesh, wants_reward = common.make_mesh(config.mesh), config.by == "rm"
    chosen = config.model
    if wants_reward:
      chosen = dataclasses.replace(chosen, path=config.reward, template="")
    model = common.open_model(
      dataclasses.replace(chosen, dropout=(0.0, 0.0)), mesh, reward=wants_reward
    )
    if wants_reward:
      scorer = scoring.reward_model(
        model.config,
        model.params,
        model.renderer,
        batch=config.batch,
        branches=config.branches,
        mesh=mesh,
      )
      scores = {config.score: scorer(prompts, texts)}
    else:
      scores, judged, figures = self_scores(config, model, prompts, texts, folder, title, mesh)
  return (
    [with_scores(s, {n: v[i] for n, v in scores.items()}) for i, s in enumerate(sets)],
    judged,
    score_figures(scores) | figures,
  )


def with_scores(row: CandidateSet, scores: dict[str, list[float]]) -> CandidateSet:
  """The set with these scores; a missing one (NaN) leaves no trace."""
  candidates = []
  for i, c in enumerate(row.candidates):
    kept = {k: v for k, v in c.scores.items() if k not in scores}
    given = {name: values[i] for name, values in scores.items() if not math.isnan(values[i])}
    candidates.append(dataclasses.replace(c, scores=kept | given))
  return dataclasses.replace(row, candidates=tuple(candidates))


def score_figures(scores: dict[str, Scores]) -> dict[str, Any]:
  """How many scores there are, their mean, and their spread within a prompt."""
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


def run(config: JudgeConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Judges every candidate; writes candidates.jsonl and, for written ones, judgements.jsonl."""
  check(config)
  inputs = {**inputs_of(config), "candidates": common.input_file(config.candidates, "candidates")}
  outputs = ["candidates.jsonl"]
  if config.by == "self" and config.mode in ("sampled", "both"):
    outputs.append("judgements.jsonl")

  def body() -> dict[str, Any]:
    sets = list(formats.read_candidates(config.candidates))
    sets, judged, figures = judge_sets(config, sets, folder)
    jsonl.write_rows(folder / "candidates.jsonl", map(candidates_json, sets))
    if judged:
      jsonl.write_rows(
        folder / "judgements.jsonl",
        [
          {"id": s.id, "judgements": [[judgement_json(j) for j in js] for js in row]}
          for s, row in zip(sets, judged, strict=True)
        ],
      )
    return figures

  return run_stage(folder, "judge", config, inputs, tuple(outputs), body, redo=redo)
