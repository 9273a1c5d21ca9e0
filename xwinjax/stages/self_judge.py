"""A language model as a judge in stages: its shards, its figures."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from xwinjax.core import processes
from xwinjax.core.progress import Progress
from xwinjax.data.records import Counts, Example
from xwinjax.eval import judge_metrics
from xwinjax.judge import pairwise
from xwinjax.judge.score import Scores
from xwinjax.judge.self_judge import Expected, Judgements, Sampled, mean_score
from xwinjax.stages import common
from xwinjax.stages.common import Model
from xwinjax.stages.score import (
  Judge,
  JudgeConfig,
  Opened,
  Scored,
  get_prompt,
  judgement_json,
  judgements_of,
)
from xwinjax.stages.stage import Context, open_model


def written(
  config: JudgeConfig,
  seed: int,
  model: Model,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
  folder: Path,
  title: str,
) -> tuple[list[list[Judgements]], dict[str, Any]]:
  """Sampled judgements, in shards that are whole or not there; and what they cost."""
  total, judged = sum(map(len, texts)), []
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
      seed=seed,
      on_rows=lambda n, tokens: progress.advance(n, tokens=tokens),
    )
    for n, start in enumerate(range(0, len(prompts), config.shard)):
      part, here = folder / "parts" / f"{n:05d}.jsonl", slice(start, start + config.shard)

      def make(here=here) -> list[Any]:
        judge.prompt_tokens = Counts()
        done = judge.judge(prompts[here], texts[here])
        rows = [{"judgements": [[judgement_json(j) for j in js] for js in row]} for row in done]
        return [{"prompt_tokens": dict(judge.prompt_tokens)}, *rows]

      (cost, *rows), new = common.shard(part, make)
      if not new:
        progress.advance(sum(map(len, texts[here])))
      tokens.update(cost["prompt_tokens"])
      judged += [[judgements_of(js) for js in row["judgements"]] for row in rows]
  counts.update(j.reason or "read" for row in judged for js in row for j in js)
  return judged, {"counts": dict(counts), "prompt_tokens": dict(tokens)}


def compared(
  config: JudgeConfig,
  seed: int,
  model: Model,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
  folder: Path,
  title: str,
) -> tuple[Scores, dict[str, Any]]:
  """Win shares from comparisons two by two, in shards that are whole or not there."""
  prompt = pairwise.prompt_text(config.prompt_file)
  scores: Scores = []
  counts = Counts()
  with Progress(f"{title}, two by two", len(prompts), "prompts") as progress:
    judge = pairwise.Pairwise(
      model.config,
      model.params,
      model.renderer,
      prompt=prompt,
      seed=seed,
      both_positions=config.both_positions,
      sampling=config.params,
      max_new=config.max_new,
      settings=config.sampler,
    )
    for n, start in enumerate(range(0, len(prompts), config.shard)):
      part, here = folder / "parts" / f"{n:05d}.jsonl", slice(start, start + config.shard)

      def make(here=here) -> list[Any]:
        judge.counts = Counts()
        shares = judge(prompts[here], texts[here])
        rows = [[None if math.isnan(x) else x for x in row] for row in shares]
        return [{"counts": dict(judge.counts)}, *({"scores": r} for r in rows)]

      (first, *rows), _ = common.shard(part, make)
      counts.update(first["counts"])
      scores += [[math.nan if x is None else x for x in row["scores"]] for row in rows]
      progress.advance(len(rows))
  return scores, {"counts": dict(counts)}


def open_judge(context: Context, judge: Judge) -> Opened:
  """The language model as judge, by written judgements, from its logits, or two by two."""
  config, seed, mesh = judge.config, context.seed, common.make_mesh(context.mesh)

  @functools.cache
  def opened(to_sample: bool) -> Model:
    return open_model(context, judge.inputs["model"], to_sample=to_sample, dropout=(0.0, 0.0))

  # Alone, one model serves both ways to judge.
  model = opened(config.mode != "expected" and processes.count() > 1)

  def scored(
    prompts: Sequence[Example], texts: Sequence[Sequence[str]], folder: Path, title: str
  ) -> Scored:
    scores: dict[str, Scores] = {}
    judged: list[list[Judgements]] = []
    figures: dict[str, Any] = {}
    if config.mode == "pairwise":
      scores[config.score], figures = compared(config, seed, model, prompts, texts, folder, title)
      return Scored(scores, judged, figures)
    if config.mode != "expected":
      judged, cost = written(config, seed, model, prompts, texts, folder, title)
      scores[config.score] = [[mean_score(js) for js in row] for row in judged]
      figures |= cost | judge_metrics.consistency(
        [[j.score for j in js] for row in judged for js in row]
      )
    if config.mode != "sampled":
      name = config.score if config.mode == "expected" else f"{config.score}_expected"
      scores[name], figures["expected"] = expected(
        config, opened(False), mesh, prompts, texts, title
      )
    return Scored(scores, judged, figures)

  return scored


def expected(
  config: JudgeConfig,
  model: Model,
  mesh: Mesh | None,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
  title: str,
) -> tuple[Scores, dict[str, Any]]:
  """Scores read from the logits, how likely the model is to score at all, and their cost."""
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
    scores = judge(prompts, texts)
  return scores, {
    "mass_on_scores": None if math.isnan(judge.mass) else round(judge.mass, 5),
    "prompt_tokens": dict(judge.prompt_tokens),
  }
