"""Choosing from scored candidates: answers to fine-tune on, and pairs for DPO.

Sources: Ni et al. 2024 (ranks of the multiwise set); Yuan et al. 2024, section 2.2 (the highest
score against the lowest).
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from xwinjax.core.bounds import Amount, Finite, Natural, Positive, Weight
from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import jsonl
from xwinjax.data.records import (
  Candidate,
  CandidateSet,
  Counts,
  Example,
  Message,
  Pair,
  counted,
  example_json,
  pair_json,
)
from xwinjax.losses.reward import pessimistic
from xwinjax.stages.config import later
from xwinjax.stages.stage import Context, Stage

UNSCORED = ("refuse", "leave_out")


@dataclasses.dataclass(frozen=True)
class SelectConfig:
  """Which of each prompt's candidates are trained on."""

  by: str = "rm"  # the score to rank by; several, parted by commas, are an ensemble
  first: Natural = 0  # look only at the first n candidates of a prompt; 0 looks at all
  unscored: str = "refuse"  # candidates without that score: refuse, or leave_out and count
  ended_only: bool = True  # leave out candidates cut off at max_new: they never ended
  shorter_within: Amount = 0.0  # choose the shortest of those so near to the best; 0: the best
  rank: Positive = 1  # the rank that rejection-sampling fine-tuning trains on; 1 is the chosen one
  least: Finite | None = None  # examples score at least this; None: whatever they score
  rejected: tuple[str, ...] = ("rank:-1",)  # of each pair: rank:R (-1 the last), std:K, random
  tie: Amount = 0.0  # a pair whose scores differ by no more is dropped
  keep_score: bool = False  # note the chosen answer's score in each pair's meta
  spread_weight: Weight = later(0.0)  # of an ensemble's variance, taken from its mean score


def with_ensemble(row: CandidateSet, config: SelectConfig) -> CandidateSet:
  """The set with the ensemble's score under the name of `by`; the same where `by` is one score."""
  names = [name.strip() for name in config.by.split(",")]
  if len(names) == 1:
    return row
  members = np.array([[c.scores.get(n, math.nan) for n in names] for c in row.candidates])
  scores = pessimistic(jnp.asarray(members), spread_weight=config.spread_weight)
  return candidate_files.with_scores(row, {config.by: np.asarray(scores).tolist()})


def ranked(row: CandidateSet, config: SelectConfig, counts: Counts) -> list[Candidate]:
  """A prompt's distinct candidates, best first; equal scores keep their order of sampling."""
  candidates = row.candidates[: config.first or None]
  scored = [c for c in candidates if config.by in c.scores]
  if config.unscored == "leave_out":
    counts["left out: candidates without a score"] += len(candidates) - len(scored)
  elif len(scored) < len(candidates):
    raise UserError(
      f"prompt {row.id} has a candidate without a score {config.by!r}; "
      "run the score stage on it first"
    )
  ended = scored
  if config.ended_only:
    ended = [c for c in scored if c.finish != "length"]
    counts["left out: candidates cut off at max_new"] += len(scored) - len(ended)
  spoken = [c for c in ended if c.text.strip()]
  counts["left out: empty answers"] += len(ended) - len(spoken)
  first: dict[str, Candidate] = {}
  for c in spoken:
    first.setdefault(c.text, c)
  counts["left out: repeats of a text"] += len(spoken) - len(first)
  return sorted(first.values(), key=lambda c: -c.scores[config.by])


def order(row: CandidateSet, config: SelectConfig, counts: Counts) -> list[Candidate]:
  """A prompt's candidates as they are chosen from: the chosen one, then the others best first."""
  best = ranked(row, config, counts)
  if not best or not config.shorter_within:
    return best
  highest = best[0].scores[config.by]
  near = [c for c in best if highest - c.scores[config.by] <= config.shorter_within]
  chosen = min(near, key=lambda c: c.tokens)
  counts["chosen: a shorter one near the best"] += chosen is not best[0]
  return [chosen, *(c for c in best if c is not chosen)]


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
  raise UserError(
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


def example_of(
  row: CandidateSet, ordered: Sequence[Candidate], config: SelectConfig, counts: Counts
) -> Example | None:
  """The answer of the wanted rank as an example; None where there is none of use."""
  if not 0 < config.rank <= len(ordered):
    counts[f"no example: fewer than {config.rank} candidates"] += 1
    return None
  answer = ordered[config.rank - 1]
  score = answer.scores[config.by]
  if config.least is not None and score < config.least:
    counts["no example: its score is too low"] += 1
    return None
  return Example(row.id, (*row.prompt, Message("assistant", answer.text)), {"score": score})


def pairs_of(
  row: CandidateSet, ordered: Sequence[Candidate], config: SelectConfig, counts: Counts, seed: int
) -> list[Pair]:
  """The chosen answer against that of each rejected rule."""
  if len(ordered) < 2:
    counts["no pair: a single candidate" if ordered else "no pair: no candidate is left"] += 1
    return []
  chosen, pairs = ordered[0], []
  score = chosen.scores[config.by]
  for n, rule in enumerate(config.rejected):
    rejected = pick_rejected(ordered, rule, config.by, f"{seed}/{row.id}/{n}")
    if rejected is None:
      counts[f"no pair: no candidate for {rule}"] += 1
      continue
    margin = score - rejected.scores[config.by]
    if margin <= config.tie:
      counts["no pair: tie"] += 1
      continue
    id = row.id if len(config.rejected) == 1 else f"{row.id}/{rule}"
    meta: dict[str, Any] = {"chosen_score": score} if config.keep_score else {}
    meta |= {"chosen_tokens": chosen.tokens, "rejected_tokens": rejected.tokens}
    pairs.append(Pair(id, row.prompt, chosen.text, rejected.text, round(margin, 5), meta))
  return pairs


def select(
  sets: Sequence[CandidateSet], config: SelectConfig, seed: int = 0
) -> tuple[list[Example], list[Pair], Counts]:
  """(examples of the wanted rank, pairs of the chosen and each rejected, what was left out)."""
  counts, examples, pairs = Counts(), [], []
  for row in sets:
    row = with_ensemble(row, config)
    ordered = order(row, config, counts)
    example = example_of(row, ordered, config, counts)
    examples += [example] if example is not None else []
    pairs += pairs_of(row, ordered, config, counts, seed)
  return examples, pairs, counts


def statistics(
  examples: Sequence[Example], pairs: Sequence[Pair], counts: Counts
) -> dict[str, Any]:
  """What was chosen: how many, how far apart, how long."""
  mean = lambda values: round(float(np.mean(values)), 4) if len(values) else None
  lengths = [(p.meta["chosen_tokens"], p.meta["rejected_tokens"]) for p in pairs]
  margins = [p.margin for p in pairs]
  edges = np.histogram(margins, bins=np.arange(0, 5.5, 0.5))
  noted = [p.meta["chosen_score"] for p in pairs if "chosen_score" in p.meta]
  return {
    "examples": len(examples),
    "pairs": len(pairs),
    "example_score": mean([e.meta["score"] for e in examples]),
    "pair_margin": mean(margins),
    "margin": mean(margins),
    "margins": {f"{low:g}": int(n) for n, low in zip(*edges, strict=False)},
    "chosen_score": mean(noted),
    "chosen_tokens": mean([c for c, _ in lengths]),
    "rejected_tokens": mean([r for _, r in lengths]),
    "chosen_longer": mean([c > r for c, r in lengths]),
    "counts": dict(counts),
  }


def check(config: SelectConfig, **inputs: Path | None) -> None:
  """Raises UserError for settings that do not exist."""
  if not config.by:
    raise UserError("config.by is empty; it names the score to go by, such as rm or self")
  if config.spread_weight and "," not in config.by:
    raise UserError(
      f"config.spread_weight is of several scores, and config.by is {config.by!r}; name them, "
      "parted by commas"
    )
  if config.unscored not in UNSCORED:
    raise UserError(f"config.unscored {config.unscored!r} is not one of {', '.join(UNSCORED)}")
  for rule in config.rejected:
    parse_rule(rule)


def make(context: Context, config: SelectConfig, folder: Path, candidates: Path) -> dict[str, Any]:
  """Writes examples.jsonl (for rejection-sampling fine-tuning) and pairs.jsonl (for DPO)."""
  sets = list(candidate_files.read(candidates))
  try:
    examples, pairs, counts = select(sets, config, context.seed)
  except UserError as e:
    raise UserError(f"{candidates}: {e}") from None
  if not pairs or not (examples or config.least is not None):
    raise UserError(
      f"{candidates}: {len(examples)} examples and {len(pairs)} pairs can be chosen; "
      + counted("counts", counts)
    )
  jsonl.write_rows(folder / "examples.jsonl", map(example_json, examples))
  jsonl.write_rows(folder / "pairs.jsonl", map(pair_json, pairs))
  return statistics(examples, pairs, counts)


STAGE = Stage(
  "select",
  SelectConfig,
  make,
  {"candidates": "scored candidates"},
  ("examples.jsonl", "pairs.jsonl"),
  uses=("seed",),
  check=check,
)
