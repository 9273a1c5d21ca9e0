"""Candidates: S sampled answers for every prompt of a file, the multiwise set before its scores."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from xwinjax.core import processes
from xwinjax.core.bounds import Filled, Many, Natural, Positive, Tokens
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import candidates, items, read, seal
from xwinjax.data.preflight import Settings
from xwinjax.data.records import Candidate, CandidateSet, Counts, Example
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Completion, Request, Sampler, SamplerConfig
from xwinjax.stages import common
from xwinjax.stages.common import Model
from xwinjax.stages.config import group
from xwinjax.stages.stage import Context, Stage, open_model

Ending = Annotated[str, Filled("an empty text would end every answer before its first token")]


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
  """How answers are drawn."""

  samples: Many = 64  # answers a prompt
  max_new: Tokens = 512  # tokens an answer may have
  params: SamplingParams = group(SamplingParams)
  stop_strings: tuple[Ending, ...] = ()  # texts that end an answer, beside the template's end token
  sampler: SamplerConfig = group(SamplerConfig)


@dataclasses.dataclass(frozen=True)
class SampleConfig:
  """Candidates of one model for one file of prompts."""

  format: str = "auto"  # of the prompts: a name from data/formats.py, or auto
  limit: Natural = 0  # read at most so many rows; 0 reads all
  generate: GenerateConfig = group(GenerateConfig, sampler=SamplerConfig(unique=True))
  shard: Positive = 64  # prompts that run together; what is lost when killed


def make_sampler(model: Model, config: GenerateConfig, seed: int) -> Sampler:
  return Sampler(
    model.config,
    model.params,
    config.params,
    stop_ids=model.renderer.stop_ids(),
    decode_text=model.renderer.answer_text,
    stop_strings=config.stop_strings,
    settings=config.sampler,
    seed=seed,
  )


def fitting(
  prompts: Sequence[Example], model: Model, config: GenerateConfig, counts: Counts
) -> tuple[list[Example], list[Request]]:
  """The prompts that fit and their requests; what does not fit is left out and counted.

  One that leaves no room for max_new is cut by its oldest exchanges; one whose last question alone
  leaves none is dropped.

  Raises: UserError where no prompt is left.
  """
  kept, made = [], []
  room = model.config.max_length - min(config.max_new, model.config.max_length // 2)
  for p in prompts:
    ids = items.fit_prompt(p.messages, model.renderer, room, counts)
    if ids is not None:
      kept.append(p)
      made.append(Request(p.id, ids, config.samples, config.max_new))
  if not kept:
    raise UserError(
      f"prompt {prompts[0].id}: its last question has more than {room} tokens, which leaves no "
      f"room for {config.max_new} in the model's {model.config.max_length}, and so has every "
      "other; lower max_new"
    )
  if counts:
    common.say(common.counted(f"prompts of at most {room} tokens", counts + Counts(kept=len(kept))))
  return kept, made


def candidate_set(prompt: Example, completions: Sequence[Completion], repeats: int) -> CandidateSet:
  """One prompt's sampled answers, their log-probs rounded as in files."""
  candidates = tuple(
    Candidate(
      c.text, round(float(np.sum(c.logps)), 4), len(c.ids), c.finish, ids=tuple(map(int, c.ids))
    )
    for c in completions
  )
  return CandidateSet(prompt.id, prompt.messages, candidates, prompt.meta, repeats)


def sample_shards(
  folder: Path,
  title: str,
  prompts: Sequence[Example],
  model: Model,
  config: GenerateConfig,
  shard: int,
  seed: int,
) -> tuple[list[CandidateSet], dict[str, Any]]:
  """Samples in shards of prompts, each a file that is whole or not there; returns sets, figures.

  A killed run redoes the shard it was in. Several processes share out the prompts of each shard.
  Shards take prompts in the order of their length. There is no set for a prompt that is too long;
  the figures count those.
  """
  parts = folder / "parts"
  counts = Counts()
  prompts, wanted = fitting(prompts, model, config, counts)
  order = sorted(range(len(prompts)), key=lambda i: (len(wanted[i].prompt), i))
  sampler = make_sampler(model, config, seed)
  sets: dict[int, CandidateSet] = {}
  there = processes.on_lead(
    lambda: sorted(p.name for p in parts.glob("*.jsonl") if seal.whole_part(p))
  )
  started = time.perf_counter()
  with Progress(title, len(prompts), "prompts") as progress:
    for n, start in enumerate(range(0, len(order), shard)):
      chosen, part = order[start : start + shard], parts / f"{n:05d}.jsonl"
      if part.name in there:
        done = list(candidates.read(part))
        progress.advance(len(chosen))
      else:
        drawn = sampler.sample(
          [wanted[i] for i in chosen], lambda k, tokens: progress.advance(k, tokens=tokens)
        )
        done = [candidate_set(prompts[i], *d) for i, d in zip(chosen, drawn, strict=True)]
        candidates.write(part, done)
        processes.on_lead(lambda part=part: seal.seal_part(part))
      sets.update(zip(chosen, done, strict=True))
  seconds = time.perf_counter() - started
  ordered = [sets[i] for i in range(len(prompts))]
  answers = [c for s in ordered for c in s.candidates]
  tokens = sum(c.tokens for c in answers)
  figures = {
    "prompts": len(ordered),
    "candidates": len(answers),
    "tokens": tokens,
    "mean_length": round(tokens / max(len(answers), 1), 3),
    "repeats": sum(s.repeats or 0 for s in ordered),
    "finish": dict(Counts(c.finish for c in answers)),
    "counts": dict(counts),
    "tokens_per_second": round(sampler.generated / max(seconds, 1e-9), 1),
  }
  return ordered, figures


def make(
  context: Context, config: SampleConfig, folder: Path, model: Path, prompts: Path
) -> dict[str, Any]:
  """Samples config.generate.samples answers a prompt."""
  opened = open_model(context, model, to_sample=True)
  rows = Counts()
  asked = read.prompts(
    prompts, config.format, config.limit, context.bad_rows, counts=rows, say=common.say
  )
  sets, figures = sample_shards(
    folder, "sample", asked, opened, config.generate, config.shard, context.seed
  )
  candidates.write(folder / "candidates.jsonl", sets)
  return figures | {"rows": dict(rows)}


def asked_rows(config: Any) -> Settings:
  """How a stage reads the prompts that it samples answers for."""
  leaves = config.generate.max_new
  return Settings("prompt", config.format, max_length=2**20, limit=config.limit, leaves=leaves)


STAGE = Stage(
  "sample",
  SampleConfig,
  make,
  {"model": "a language model", "prompts": "prompts of any format; answers in it are left out"},
  ("candidates.jsonl",),
  rows=lambda config: {"prompts": asked_rows(config)},
)
