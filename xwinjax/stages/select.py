"""Choosing from the multiwise set: answers to fine-tune on, and pairs for DPO."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core import errors
from xwinjax.data import formats, jsonl
from xwinjax.data.records import (
  Candidate,
  CandidateSet,
  Counts,
  Example,
  Message,
  Pair,
  example_json,
  pair_json,
)
from xwinjax.stages import common
from xwinjax.stages.config import plumbing
from xwinjax.stages.manifest import run_stage


@dataclasses.dataclass(frozen=True)
class SelectConfig:
  """Which ranks of each prompt's candidates are trained on."""

  candidates: str = plumbing("")  # scored candidates
  by: str = "rm"  # the score to rank by
  first: int = 0  # look only at the first n candidates of a prompt; 0 looks at all
  rank: int = 1  # the rank that rejection-sampling fine-tuning trains on, from the top
  rejected: tuple[str, ...] = ("rank:-1",)  # of each pair: rank:R (-1 the last), std:K, random
  ended_only: bool = True  # leave out candidates cut off at max_new: they never ended
  tie: float = 0.0  # a pair whose scores differ by no more is dropped
  seed: int = 0  # of `random`


def ranked(row: CandidateSet, config: SelectConfig, counts: Counts) -> list[Candidate]:
  """A prompt's distinct candidates, best first; equal scores keep their order of sampling."""
  candidates = row.candidates[: config.first or None]
  if any(config.by not in c.scores for c in candidates):
    raise errors.UserError(
      f"{config.candidates}: prompt {row.id} has a candidate without a score {config.by!r}; "
      "run the score stage on it first"
    )
  if config.ended_only:
    ended = [c for c in candidates if c.finish != "length"]
    counts["left out: candidates cut off at max_new"] += len(candidates) - len(ended)
    candidates = ended
  spoken = [c for c in candidates if c.text.strip()]
  counts["left out: empty answers"] += len(candidates) - len(spoken)
  first: dict[str, Candidate] = {}
  for c in spoken:
    first.setdefault(c.text, c)
  counts["left out: repeats of a text"] += len(spoken) - len(first)
  return sorted(first.values(), key=lambda c: -c.scores[config.by])


def parse_rule(rule: str) -> tuple[str, float]:
  """("rank", 48.0), ("std", 1.0) or ("random", 0.0). Raises UserError for anything else."""
  kind, _, value = rule.partition(":")
  try:
    number = float(value) if kind != "random" else 0.0
    if not math.isfinite(number):
      raise ValueError
    if kind == "rank" and number == int(number) and number not in (0, 1):
      return kind, number
    if kind in ("std", "random") and number >= 0 and (kind != "random" or not value):
      return kind, number
  except ValueError:
    pass
  raise errors.UserError(
    f"config.rejected {rule!r}: expected rank:R (R >= 2, or negative to count from the last), "
    "std:K (the candidate nearest to mean - K standard deviations), or random"
  )


def pick_rejected(order: Sequence[Candidate], rule: str, by: str, key: str) -> Candidate | None:
  """The rejected answer of a pair whose chosen one is order[0]; None where there is none."""
  kind, number = parse_rule(rule)
  if len(order) < 2:
    return None
  if kind == "rank":
    i = int(number) - 1 if number > 0 else len(order) + int(number)
    return order[i] if 1 <= i < len(order) else None
  if kind == "random":
    return random.Random(key).choice(order[1:])
  scores = np.array([c.scores[by] for c in order])
  i = int(np.abs(scores - (scores.mean() - number * scores.std())).argmin())
  return order[i] if i else None


def select(
  sets: Sequence[CandidateSet], config: SelectConfig
) -> tuple[list[Example], list[Pair], Counts]:
  """(examples of the wanted rank, pairs of the best and each rejected rule, what was left out)."""
  counts, examples, pairs = Counts(), [], []
  for row in sets:
    order = ranked(row, config, counts)
    if 0 < config.rank <= len(order):
      answer = Message("assistant", order[config.rank - 1].text)
      meta = {"score": order[config.rank - 1].scores[config.by]}
      examples.append(Example(row.id, (*row.prompt, answer), meta))
    else:
      counts[f"no example: fewer than {config.rank} candidates"] += 1
    for n, rule in enumerate(config.rejected):
      rejected = pick_rejected(order, rule, config.by, f"{config.seed}/{row.id}/{n}")
      if rejected is None:
        counts[f"no pair: no candidate for {rule}"] += 1
        continue
      margin = order[0].scores[config.by] - rejected.scores[config.by]
      if margin <= config.tie:
        counts["no pair: tie"] += 1
        continue
      id = row.id if len(config.rejected) == 1 else f"{row.id}/{rule}"
      meta = {"chosen_tokens": order[0].tokens, "rejected_tokens": rejected.tokens}
      pairs.append(Pair(id, row.prompt, order[0].text, rejected.text, round(margin, 5), meta))
  return examples, pairs, counts


def statistics(examples: list[Example], pairs: list[Pair], counts: Counts) -> dict[str, Any]:
  """What was chosen: how many, how far apart, how long."""
  mean = lambda values: round(float(np.mean(values)), 4) if len(values) else None
  return {
    "examples": len(examples),
    "pairs": len(pairs),
    "example_score": mean([e.meta["score"] for e in examples]),
    "pair_margin": mean([p.margin for p in pairs]),
    "chosen_tokens": mean([p.meta["chosen_tokens"] for p in pairs]),
    "rejected_tokens": mean([p.meta["rejected_tokens"] for p in pairs]),
    "counts": dict(counts),
  }


def run(config: SelectConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes examples.jsonl (for rejection-sampling fine-tuning) and pairs.jsonl (for DPO)."""
  inputs = {"candidates": common.input_file(config.candidates, "candidates")}
  for rule in config.rejected:
    parse_rule(rule)

  def body() -> dict[str, Any]:
    sets = list(formats.read_candidates(config.candidates))
    examples, pairs, counts = select(sets, config)
    if not examples or not pairs:
      raise errors.UserError(
        f"{config.candidates}: {len(examples)} examples and {len(pairs)} pairs can be chosen; "
        + common.counted("counts", counts)
      )
    jsonl.write_rows(folder / "examples.jsonl", [example_json(e) for e in examples])
    jsonl.write_rows(folder / "pairs.jsonl", [pair_json(p) for p in pairs])
    return statistics(examples, pairs, counts)

  outputs = ("examples.jsonl", "pairs.jsonl")
  return run_stage(folder, "select", config, inputs, outputs, body, redo=redo)
