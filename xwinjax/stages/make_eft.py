"""Judging examples (EFT) from answers that people have ranked: the model's own good judgements.

The SFT model judges every answer; where its order of a question's answers agrees with people's, its
judgements become examples, balanced over the scores. Source: Yuan et al. 2024, section 2.1.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl
from xwinjax.data.records import (
  CandidateSet,
  Counts,
  Example,
  Message,
  candidates_json,
  example_json,
)
from xwinjax.judge.prompts import JudgePrompt
from xwinjax.judge.self_judge import Judgements, judge_messages, mean_score
from xwinjax.stages import common, judge
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.judge import JudgeConfig
from xwinjax.stages.judge_metrics import measure
from xwinjax.stages.manifest import run_stage


@dataclasses.dataclass(frozen=True)
class MakeEftConfig:
  """Which judgements become examples."""

  rankings: str = plumbing("")  # {"prompt", "candidates": [{"text", "scores": {people: …}}]} rows
  people: str = "human"  # people's values among the scores; higher is better
  judge: JudgeConfig = group(JudgeConfig)  # the model that judges, its prompt, how often
  agreement: float = 1.0  # share of the pairs people rank apart on which the judge must agree
  balance: float = 1.0  # no score has more than this times an equal share of the examples; 0: any
  heldout_share: float = 0.25  # of the questions, set apart to measure judges on
  seed: int = 0


def agreement(scores: Sequence[float], values: Sequence[float]) -> float | None:
  """The share of pairs that people rank apart which the judge orders the same; None without any.

  Ties of the judge's and missing scores do not agree.

  >>> agreement([4.0, 2.0, 2.0], [3, 1, 2])
  0.6666666666666666
  """
  pairs = [
    (i, j) for i, j in itertools.combinations(range(len(values)), 2) if values[i] != values[j]
  ]
  if not pairs:
    return None
  same = [(scores[i] - scores[j]) * (values[i] - values[j]) > 0 for i, j in pairs]
  return sum(same) / len(pairs)


def nearest(judgements: Judgements) -> tuple[str, float] | None:
  """(text, score) of the judgement nearest to the mean of its answer's; None without a score."""
  mean = mean_score(judgements)
  read = [(j.text, j.score) for j in judgements if j.score is not None]
  return min(read, key=lambda j: abs(j[1] - mean)) if read else None


def split(
  sets: Sequence[CandidateSet], share: float, seed: int
) -> tuple[list[CandidateSet], list[CandidateSet]]:
  """(to make examples of, held out), by question."""
  numbers = list(range(len(sets)))
  random.Random(f"make-eft-{seed}").shuffle(numbers)
  held = set(numbers[: round(share * len(sets))])
  return (
    [s for i, s in enumerate(sets) if i not in held],
    [s for i, s in enumerate(sets) if i in held],
  )


def balanced(
  examples: Sequence[tuple[float, Example]], balance: float, seed: int, counts: Counts
) -> list[Example]:
  """The examples, those of too frequent scores thinned out at random; their order stays."""
  by_score: dict[float, list[int]] = {}
  for i, (score, _) in enumerate(examples):
    by_score.setdefault(score, []).append(i)
  most = math.ceil(balance * len(examples) / max(len(by_score), 1)) if balance else len(examples)
  kept: set[int] = set()
  for score, numbers in sorted(by_score.items()):
    chosen = random.Random(f"balance-{seed}-{score}").sample(numbers, min(most, len(numbers)))
    counts["dropped: its score is too frequent"] += len(numbers) - len(chosen)
    kept |= set(chosen)
  return [example for i, (_, example) in enumerate(examples) if i in kept]


def make(
  config: MakeEftConfig,
  prompt: JudgePrompt,
  sets: Sequence[CandidateSet],
  judged: Sequence[Sequence[Judgements]],
) -> tuple[list[Example], Counts]:
  """(examples, what became of questions and judgements)."""
  counts, found = Counts(questions=len(sets)), []
  for row, judgements in zip(sets, judged, strict=True):
    values = [c.scores[config.people] for c in row.candidates]
    share = agreement([mean_score(js) for js in judgements], values)
    if share is None:
      counts["questions dropped: people rank no answers apart"] += 1
      continue
    if any(nearest(js) is None for js in judgements):
      counts["questions dropped: an answer without a score"] += 1
      continue
    if share < config.agreement:
      counts["questions dropped: another order than people's"] += 1
      continue
    counts["questions kept"] += 1
    for n, (c, js) in enumerate(zip(row.candidates, judgements, strict=True)):
      chosen = nearest(js)
      assert chosen is not None
      messages = judge_messages(prompt, row.prompt, c.text)
      example = Example(
        f"{row.id}/{n}", (*messages, Message("assistant", chosen[0])), {"score": chosen[1]}
      )
      found.append((chosen[1], example))
  kept = balanced(found, config.balance, config.seed, counts)
  counts["kept"] = len(kept)
  return kept, counts


def run(config: MakeEftConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes eft.jsonl (conversations) and heldout_judged.jsonl (candidates with people's values)."""
  if config.judge.by != "self":
    raise UserError("config.judge.by is not 'self': only a model that writes makes examples")
  judge.check(config.judge)
  inputs = {
    **judge.inputs_of(config.judge),
    "rankings": common.input_file(config.rankings, "rankings"),
  }

  def body() -> dict[str, Any]:
    sets = [
      dataclasses.replace(s, candidates=tuple(c for c in s.candidates if config.people in c.scores))
      for s in formats.read_candidates(config.rankings)
    ]
    sets = [s for s in sets if len(s.candidates) > 1]
    if not sets:
      raise UserError(
        f"{config.rankings}: no question has two answers with a score {config.people!r}"
      )
    training, heldout = split(sets, config.heldout_share, config.seed)
    mine = dataclasses.replace(config.judge, mode="sampled", seed=config.seed)
    scored, judged, figures = judge.judge_sets(mine, training, folder, "make_eft")
    examples, counts = make(config, judge.get_prompt(config.judge), training, judged)
    if not examples:
      raise UserError(common.counted(f"{config.rankings}: no judgement can be used", counts))
    jsonl.write_rows(folder / "eft.jsonl", map(example_json, examples))
    jsonl.write_rows(folder / "heldout_judged.jsonl", map(candidates_json, heldout))
    scores = Counts(str(e.meta["score"]) for e in examples)
    return {
      "examples": len(examples),
      "heldout_questions": len(heldout),
      "counts": dict(counts),
      "scores": dict(sorted(scores.items())),
      "judge": measure(scored, mine.score, config.people, seed=config.seed),
      "judging": figures,
    }

  outputs = ("eft.jsonl", "heldout_judged.jsonl")
  return run_stage(folder, "make_eft", config, inputs, outputs, body, redo=redo)
