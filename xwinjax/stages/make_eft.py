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

from xwinjax.core.bounds import Amount, Part, Share
from xwinjax.core.errors import UserError
from xwinjax.data import candidates, jsonl
from xwinjax.data.records import CandidateSet, Counts, Example, Message, counted, example_json
from xwinjax.judge.prompts import JudgePrompt
from xwinjax.judge.self_judge import Judgements, judge_messages, mean_score
from xwinjax.stages.judge_metrics import measure
from xwinjax.stages.score import Judge, check_writes, get_prompt, judge_sets
from xwinjax.stages.stage import Context, Stage


@dataclasses.dataclass(frozen=True)
class MakeEftConfig:
  """Which judgements become examples."""

  people: str = "human"  # people's values among the scores; higher is better
  agreement: Share = 1.0  # share of the pairs people rank apart on which the judge must agree
  balance: Amount = 1.0  # no score has more than this times an equal share of the examples; 0: any
  heldout_share: Part = 0.25  # of the questions, set apart to measure judges on


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


def examples_of(
  config: MakeEftConfig,
  prompt: JudgePrompt,
  sets: Sequence[CandidateSet],
  judged: Sequence[Sequence[Judgements]],
  seed: int = 0,
) -> tuple[list[Example], Counts]:
  """(examples, what became of questions and judgements)."""
  counts, made = Counts(questions=len(sets)), []
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
      made.append((chosen[1], example))
  kept = balanced(made, config.balance, seed, counts)
  counts["kept"] = len(kept)
  return kept, counts


def make(
  context: Context, config: MakeEftConfig, folder: Path, rankings: Path, *, judge: Judge
) -> dict[str, Any]:
  """Writes eft.jsonl (conversations) and heldout_judged.jsonl (candidates with people's values)."""
  check_writes(judge)
  sets = [
    dataclasses.replace(s, candidates=tuple(c for c in s.candidates if config.people in c.scores))
    for s in candidates.read(rankings)
  ]
  sets = [s for s in sets if len(s.candidates) > 1]
  if not sets:
    raise UserError(f"{rankings}: no question has two answers with a score {config.people!r}")
  training, heldout = split(sets, config.heldout_share, context.seed)
  mine = judge.but(mode="sampled")
  scored, judged, figures = judge_sets(context, mine, training, folder, "make_eft")
  prompt = get_prompt(mine.config)
  examples, counts = examples_of(config, prompt, training, judged, context.seed)
  if not examples:
    raise UserError(counted(f"{rankings}: no judgement can be used", counts))
  jsonl.write_rows(folder / "eft.jsonl", map(example_json, examples))
  candidates.write(folder / "heldout_judged.jsonl", heldout)
  scores = Counts(str(e.meta["score"]) for e in examples)
  return {
    "examples": len(examples),
    "heldout_questions": len(heldout),
    "counts": dict(counts),
    "scores": dict(sorted(scores.items())),
    "judge": measure(scored, mine.config.score, config.people, seed=context.seed),
    "judging": figures,
  }


STAGE = Stage(
  "make_eft",
  MakeEftConfig,
  make,
  {"rankings": '{"prompt", "candidates": [{"text", "scores": {people: …}}]} rows'},
  ("eft.jsonl", "heldout_judged.jsonl"),
)
