"""Candidates: S sampled answers for every prompt of a file, the multiwise set before its scores."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import formats, items, jsonl
from xwinjax.data.records import Counts, Example, messages_json
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Completion, Request, Sampler, SamplerConfig
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, Model, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
  """How answers are drawn."""

  samples: int = 64  # answers a prompt
  max_new: int = 512  # tokens an answer may have
  params: SamplingParams = group(SamplingParams)
  stop_strings: tuple[str, ...] = ()  # texts that end an answer, beside the template's end token
  sampler: SamplerConfig = group(SamplerConfig)


@dataclasses.dataclass(frozen=True)
class SampleConfig:
  """Candidates of one model for one file of prompts."""

  model: ModelConfig = group(ModelConfig)
  prompts: str = plumbing("")  # prompts: any format of data/formats.py; answers in it are left out
  format: str = "auto"  # a name from there, or auto
  limit: int = 0  # read at most so many rows; 0 reads all
  generate: GenerateConfig = group(GenerateConfig, sampler=SamplerConfig(unique=True))
  shard: int = 64  # prompts that run together; what is lost when killed
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


def read_prompts(path: str, field: str, format: str = "auto", limit: int = 0) -> list[Example]:
  """The prompts of a file, with distinct ids."""
  file, counts = common.input_file(path, field), Counts()
  prompts = list(common.take(formats.read_prompts(file, format, counts), limit))
  common.say(common.counted(str(file), counts))
  if not prompts:
    raise UserError(f"{file}: holds no prompts")
  seen: Counts = Counts()
  for i, p in enumerate(prompts):
    seen[p.id] += 1
    if seen[p.id] > 1:
      prompts[i] = dataclasses.replace(p, id=f"{p.id}#{seen[p.id]}")
  return prompts


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


def row_json(prompt: Example, completions: Sequence[Completion], repeats: int) -> dict[str, Any]:
  """A candidates row; `ids` are the sampled tokens, which a re-encoding may not give back."""
  return {
    "id": prompt.id,
    "prompt": messages_json(prompt.messages),
    "candidates": [
      {
        "text": c.text,
        "logp": round(float(np.sum(c.logps)), 4),
        "tokens": len(c.ids),
        "finish": c.finish,
        "ids": c.ids,
      }
      for c in completions
    ],
    "repeats": repeats,
    **({"meta": prompt.meta} if prompt.meta else {}),
  }


def sample_shards(
  folder: Path,
  title: str,
  prompts: Sequence[Example],
  model: Model,
  config: GenerateConfig,
  shard: int,
  seed: int,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
  """Samples in shards of prompts, each a file that is whole or not there; returns rows, figures.

  A killed run redoes the shard it was in. Shards take prompts in the order of their length. There
  is no row for a prompt that is too long; the figures count those.
  """
  parts = folder / "parts"
  counts = Counts()
  prompts, wanted = fitting(prompts, model, config, counts)
  order = sorted(range(len(prompts)), key=lambda i: (len(wanted[i].prompt), i))
  sampler = make_sampler(model, config, seed)
  rows: dict[int, dict[str, Any]] = {}
  started = time.perf_counter()
  with Progress(title, len(prompts), "prompts") as progress:
    for n, start in enumerate(range(0, len(order), shard)):
      chosen, part = order[start : start + shard], parts / f"{n:05d}.jsonl"
      if part.exists():
        done = [row for _, row in jsonl.read_rows(part)]
        progress.advance(len(chosen))
      else:
        found = sampler.sample(
          [wanted[i] for i in chosen], lambda k, tokens: progress.advance(k, tokens=tokens)
        )
        done = [row_json(prompts[i], *f) for i, f in zip(chosen, found, strict=True)]
        jsonl.write_rows(part, done)
      rows.update(zip(chosen, done, strict=True))
  seconds = time.perf_counter() - started
  ordered = [rows[i] for i in range(len(prompts))]
  candidates = [c for row in ordered for c in row["candidates"]]
  tokens = sum(c["tokens"] for c in candidates)
  figures = {
    "prompts": len(ordered),
    "candidates": len(candidates),
    "tokens": tokens,
    "mean_length": round(tokens / max(len(candidates), 1), 3),
    "repeats": sum(row["repeats"] for row in ordered),
    "finish": dict(Counts(c["finish"] for c in candidates)),
    "counts": dict(counts),
    "tokens_per_second": round(sampler.generated / max(seconds, 1e-9), 1),
  }
  return ordered, figures


def run(config: SampleConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Samples config.generate.samples answers a prompt; writes candidates.jsonl."""
  inputs = {
    "model": common.input_file(config.model.path, "model.path"),
    "prompts": common.input_file(config.prompts, "prompts"),
  }

  def body() -> dict[str, Any]:
    model = common.open_model(config.model, common.make_mesh(config.mesh), reward=False)
    prompts = read_prompts(config.prompts, "prompts", config.format, config.limit)
    rows, figures = sample_shards(
      folder, "sample", prompts, model, config.generate, config.shard, config.seed
    )
    jsonl.write_rows(folder / "candidates.jsonl", rows)
    return figures

  return run_stage(folder, "sample", config, inputs, ("candidates.jsonl",), body, redo=redo)
