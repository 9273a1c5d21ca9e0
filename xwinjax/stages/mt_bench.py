"""MT-bench of one model: two turns, graded 1 to 10 by a judge; files as FastChat has them.

Source: Zheng et al. 2023 (arXiv 2306.05685). Temperatures by category are FastChat's. The grading
prompt's words are ours, with a reference answer where there is one; FastChat's own can be given as
--config.judge.prompt_file.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Example, Message, Messages
from xwinjax.eval import statistics
from xwinjax.stages.alpaca_eval import preferences
from xwinjax.stages.config import group
from xwinjax.stages.dialogues import Dialogue, DialoguesConfig, hold, read_turns
from xwinjax.stages.sample import GenerateConfig
from xwinjax.stages.score import Judge
from xwinjax.stages.stage import Context, Stage, open_model

TEMPERATURES = {
  **{"writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0},
  **{"reasoning": 0.0, "stem": 0.1, "humanities": 0.1},
}
ANSWERS, SINGLE, PAIRS = "model_answer.jsonl", "single.jsonl", "pair.jsonl"


@dataclasses.dataclass(frozen=True)
class MTBenchConfig:
  """How a model is asked and graded."""

  name: str = "model"  # of the model in the files
  limit: Natural = 0  # take so many questions; 0 takes all
  generate: GenerateConfig = group(GenerateConfig, samples=1, max_new=1024)
  by_category: bool = True  # temperatures by category as FastChat's; else generate.params alone
  shard: Positive = 64  # questions asked together


def read_answers(path: Path) -> dict[str, list[str]]:
  """question_id -> the turns of the first choice. Raises UserError by line."""
  found = {}
  for line, row in jsonl.read_rows(path):
    try:
      turns = row["choices"][0]["turns"]
      found[str(row["question_id"])] = [str(t) for t in turns]
    except (KeyError, IndexError, TypeError):
      raise UserError(
        f'{path}:{line}: expected {{"question_id", "choices": [{{"turns": [answer, …]}}]}}'
      ) from None
  return found


def answer(
  context: Context,
  config: MTBenchConfig,
  folder: Path,
  model: Path,
  held: Sequence[Dialogue],
  category: dict[str, str],
) -> int:
  """Holds every dialogue at its category's temperature; returns the turns that did not fit."""
  opened = open_model(context, model, to_sample=True)
  by_temperature: dict[float, list[Dialogue]] = defaultdict(list)
  for d in held:
    own = TEMPERATURES.get(category.get(d.id, ""), 0.7)
    by_temperature[own if config.by_category else config.generate.params.temperature].append(d)
  unanswered = 0
  for t, some in sorted(by_temperature.items()):
    params = dataclasses.replace(config.generate.params, temperature=t)
    how = DialoguesConfig(dataclasses.replace(config.generate, params=params), config.shard)
    unanswered += hold(how, opened, some, folder / "answers" / f"{t:g}", context.seed)
  return unanswered


def _with_reference(messages: Messages, reference: str) -> Messages:
  """The conversation as a judge is shown it."""
  if not reference:
    return messages
  *before, last = messages
  text = f"{last.content}\n\n(A reference answer, for the judge alone: {reference})"
  return (*before, Message("user", text))


def asked_of(
  held: Sequence[Dialogue], references: dict[str, list[str]]
) -> tuple[list[tuple[str, int]], list[Example], list[str]]:
  """((question, turn), what the judge is shown, the answer) of every answered turn."""
  places, examples, texts = [], [], []
  for d in held:
    for turn in range(1, len(d.messages) // 2 + 1):
      known = references.get(d.id, [])
      reference = known[turn - 1] if turn <= len(known) else ""
      shown = _with_reference(tuple(d.messages[: 2 * turn - 1]), reference)
      places.append((d.id, turn))
      examples.append(Example(f"{d.id}/{turn}", shown))
      texts.append(d.messages[2 * turn - 1].content)
  return places, examples, texts


def make(
  context: Context,
  config: MTBenchConfig,
  folder: Path,
  model: Path,
  questions: Path,
  references: Path | None = None,
  baseline: Path | None = None,
  *,
  judge: Judge,
) -> dict[str, Any]:
  """Writes answers and judgements in FastChat's JSONL."""
  held = read_turns(questions)[: config.limit or None]
  rows = [row for _, row in jsonl.read_rows(questions)][: config.limit or None]
  category = {d.id: str(row.get("category", "")) for d, row in zip(held, rows, strict=True)}
  known = read_answers(references) if references else {}
  others = read_answers(baseline) if baseline else {}
  unanswered = answer(context, config, folder, model, held, category)
  jsonl.write_rows(folder / ANSWERS, [_answer_row(config.name, d) for d in held])
  places, examples, texts = asked_of(held, known if judge.asked else {})
  single = judge.but(mode="sampled")
  scored = single.open(context, single)(examples, [[t] for t in texts], folder / "single", "grade")
  grades = [row[0] for row in scored.scores[single.config.score]]
  said = [row[0] for row in scored.judgements] or [()] * len(places)
  jsonl.write_rows(
    folder / SINGLE,
    [
      {
        "question_id": _number(id),
        "model": config.name,
        "judge": [judge.config.by, judge.config.prompt],
        "judgment": "\n\n".join(j.text for j in judgements),
        "score": -1 if np.isnan(grade) else grade,
        "turn": turn,
      }
      for (id, turn), grade, judgements in zip(places, grades, said, strict=True)
    ],
  )
  figures = grade_figures(places, grades, category, context.seed)
  if baseline:
    figures["versus_baseline"] = against(
      context, config, folder, judge, (places, examples, texts), others, baseline
    )
  return figures | {"unanswered": unanswered, "judge": scored.figures}


def _number(id: str) -> int | str:
  return int(id) if id.isdigit() else id


def _answer_row(name: str, d: Dialogue) -> dict[str, Any]:
  turns = [m.content for m in d.messages if m.role == "assistant"]
  turns += [""] * (len(d.turns) - len(turns))
  digest = hashlib.sha256("\0".join([name, d.id, *turns]).encode()).hexdigest()
  choices = [{"index": 0, "turns": turns}]
  return {
    "question_id": _number(d.id),
    "answer_id": digest[:22],
    "model_id": name,
    "choices": choices,
  }


def grade_figures(
  places: Sequence[tuple[str, int]], grades: Sequence[float], category: dict[str, str], seed: int
) -> dict[str, Any]:
  """The mean grade, by turn and by category; missing grades are left out and counted."""
  given = [(id, turn, g) for (id, turn), g in zip(places, grades, strict=True) if not np.isnan(g)]
  mean = lambda some: round(float(np.mean(some)), 4) if some else None
  by_question: dict[str, list[float]] = defaultdict(list)
  for id, _, g in given:
    by_question[id].append(g)
  turns = sorted({turn for _, turn, _ in given})
  kinds = sorted(set(category.values()))
  means = np.array([np.mean(g) for g in by_question.values()])
  return {
    "score": mean([g for *_, g in given]),
    "ci": list(statistics.bootstrap(means, seed=seed)) if len(means) else None,
    "by_turn": {str(t): mean([g for _, turn, g in given if turn == t]) for t in turns},
    "by_category": {k: mean([g for id, _, g in given if category[id] == k]) for k in kinds},
    "turns": len(places),
    "unparsed_share": 1 - len(given) / len(places) if places else None,
  }


def against(
  context: Context,
  config: MTBenchConfig,
  folder: Path,
  judge: Judge,
  answered: tuple[list[tuple[str, int]], list[Example], list[str]],
  others: dict[str, list[str]],
  baseline: Path,
) -> dict[str, Any]:
  """Each answer against the baseline's to the same turn, in both orders."""
  met = [
    (place, example, text, others[place[0]][place[1] - 1])
    for place, example, text in zip(*answered, strict=True)
    if place[1] <= len(others.get(place[0], []))
  ]
  if not met:
    raise UserError(f"{baseline}: answers none of the questions")
  both = judge.but(mode="pairwise", both_positions=True)
  pairs = [(theirs, ours) for _, _, ours, theirs in met]
  scored = both.open(context, both)([e for _, e, *_ in met], pairs, folder / "pair", "compare")
  given = preferences(scored, both.config.score)
  winner = lambda p: "error" if p is None else "tie" if p == 1.5 else f"model_{1 + (p > 1.5)}"
  jsonl.write_rows(
    folder / PAIRS,
    [
      {
        "question_id": _number(id),
        "model_1": baseline.stem,
        "model_2": config.name,
        "g1_winner": winner(p),
        "g2_winner": winner(p),
        "judge": [judge.config.by, "pairwise"],
        "turn": turn,
      }
      for ((id, turn), *_), p in zip(met, given, strict=True)
    ],
  )
  rates = np.array([p - 1 for p in given if p is not None])
  return {
    "win_rate": float(rates.mean()) if len(rates) else None,
    "is_it_real": statistics.is_it_real(rates - 0.5, "win rate", seed=context.seed)
    if len(rates)
    else None,
    "turns": len(met),
    "unparsed_share": 1 - len(rates) / len(met),
    "judge": scored.figures,
  }


STAGE = Stage(
  "mt_bench",
  MTBenchConfig,
  make,
  {
    "model": "a language model",
    "questions": 'MT-bench\'s question.jsonl: {"question_id", "category", "turns"}',
    "references?": "reference answers in FastChat's layout, for the judge",
    "baseline?": "another model's answers in FastChat's layout, to compare with",
  },
  (ANSWERS, SINGLE, f"{PAIRS}?"),
)
