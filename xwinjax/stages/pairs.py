"""Preference pairs of a model's own answers: the highest score against the lowest.

Source: Yuan et al. 2024, section 2.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
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
from xwinjax.stages import common, select
from xwinjax.stages.config import plumbing
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.select import SelectConfig


@dataclasses.dataclass(frozen=True)
class PairsConfig:
  """Which answers make a pair."""

  candidates: str = plumbing("")  # judged candidates
  by: str = ""  # the score to go by; the loop takes its judge's
  tie: float = 0.0  # a pair whose scores differ by no more is dropped
  shorter_within: float = 0.0  # choose the shortest of those so near to the best; 0: the best
  ended_only: bool = True  # leave out candidates cut off at max_new: they never ended
  least: float = 0.0  # examples of best answers (examples.jsonl) score at least this


def order(row: CandidateSet, config: PairsConfig, counts: Counts) -> list[Candidate]:
  """A prompt's distinct candidates with a score, the chosen one first, the others best first."""
  scored = tuple(c for c in row.candidates if config.by in c.scores)
  counts["left out: candidates without a score"] += len(row.candidates) - len(scored)
  rules = SelectConfig(by=config.by, ended_only=config.ended_only)
  found = select.ranked(dataclasses.replace(row, candidates=scored), rules, counts)
  if not found or not config.shorter_within:
    return found
  best = found[0].scores[config.by]
  near = [c for c in found if best - c.scores[config.by] <= config.shorter_within]
  chosen = min(near, key=lambda c: c.tokens)
  counts["chosen: a shorter one near the best"] += chosen is not found[0]
  return [chosen, *(c for c in found if c is not chosen)]


def make(
  sets: Sequence[CandidateSet], config: PairsConfig
) -> tuple[list[Pair], list[Example], Counts]:
  """(pairs, examples of chosen answers, what was left out)."""
  counts, pairs, examples = Counts(), [], []
  for row in sets:
    found = order(row, config, counts)
    if not found:
      counts["no pair: no candidate with a score"] += 1
      continue
    chosen, rejected = found[0], found[-1]
    score = chosen.scores[config.by]
    if score >= config.least:
      answer = Message("assistant", chosen.text)
      examples.append(Example(row.id, (*row.prompt, answer), {"score": score}))
    margin = score - rejected.scores[config.by]
    if rejected is chosen:
      counts["no pair: a single candidate"] += 1
    elif margin <= config.tie:
      counts["no pair: tie"] += 1
    else:
      meta = {
        "chosen_score": score,
        "chosen_tokens": chosen.tokens,
        "rejected_tokens": rejected.tokens,
      }
      pairs.append(Pair(row.id, row.prompt, chosen.text, rejected.text, round(margin, 5), meta))
  return pairs, examples, counts


def statistics(pairs: Sequence[Pair], examples: Sequence[Example], counts: Counts) -> dict:
  """How many pairs, how far apart, how long."""
  mean = lambda values: round(float(np.mean(values)), 4) if len(values) else None
  lengths = [(p.meta["chosen_tokens"], p.meta["rejected_tokens"]) for p in pairs]
  edges = np.histogram([p.margin for p in pairs], bins=np.arange(0, 5.5, 0.5))
  return {
    "pairs": len(pairs),
    "examples": len(examples),
    "margin": mean([p.margin for p in pairs]),
    "margins": {f"{low:g}": int(n) for n, low in zip(*edges, strict=False)},
    "chosen_score": mean([p.meta["chosen_score"] for p in pairs]),
    "chosen_tokens": mean([c for c, _ in lengths]),
    "rejected_tokens": mean([r for _, r in lengths]),
    "chosen_longer": mean([c > r for c, r in lengths]),
    "counts": dict(counts),
  }


def run(config: PairsConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes pairs.jsonl (for DPO) and examples.jsonl (the chosen answers alone)."""
  if not config.by:
    raise UserError("config.by is empty; it names the score to go by, such as self")
  inputs = {"candidates": common.input_file(config.candidates, "candidates")}

  def body() -> dict[str, Any]:
    sets = list(formats.read_candidates(config.candidates))
    pairs, examples, counts = make(sets, config)
    if not pairs:
      raise UserError(common.counted(f"{config.candidates}: no pair can be made", counts))
    jsonl.write_rows(folder / "pairs.jsonl", map(pair_json, pairs))
    jsonl.write_rows(folder / "examples.jsonl", map(example_json, examples))
    return statistics(pairs, examples, counts)

  outputs = ("pairs.jsonl", "examples.jsonl")
  return run_stage(folder, "pairs", config, inputs, outputs, body, redo=redo)
