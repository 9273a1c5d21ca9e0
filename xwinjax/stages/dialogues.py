"""Dialogues held with a model: each turn is answered before the next is asked, then graded.

Source: LIMA (Zhou et al. 2023), section 6: ten dialogues, every reply graded excellent, pass or
fail. The sandbox's gold scorer grades here; elsewhere people do (docs/annotate.md, --ask=grades).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.bounds import Positive
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, read
from xwinjax.data.records import Example, Message, messages_json
from xwinjax.stages.common import Model
from xwinjax.stages.config import group
from xwinjax.stages.sample import GenerateConfig, sample_shards
from xwinjax.stages.stage import Context, Stage, open_model

GRADES = ("excellent", "pass", "fail")
# (world.json, a dialogue's meta, replies) -> a grade for each
Grader = Callable[[Path, dict[str, Any], Sequence[str]], list[str]]


@dataclasses.dataclass(frozen=True)
class DialoguesConfig:
  """How dialogues are held."""

  generate: GenerateConfig = group(GenerateConfig, samples=1)
  shard: Positive = 64  # dialogues held together


@dataclasses.dataclass
class Dialogue:
  """One in progress."""

  id: str
  turns: list[str]
  meta: dict[str, Any]  # of the row
  messages: list[Message]
  grades: list[str]


def read_turns(path: Path) -> list[Dialogue]:
  """Raises UserError, by line, for rows that are no list of questions."""
  made, names = [], read.Names(())
  for line, row in jsonl.read_rows(path):
    turns = row.get("turns")
    if (
      not isinstance(turns, list)
      or not turns
      or not all(isinstance(t, str) and t.strip() for t in turns)
    ):
      raise UserError(f'{path}:{line}: expected {{"turns": [question, question, …]}}')
    id = str(row.get("id", row.get("question_id", f"dialogue-{line}")))
    made.append(Dialogue(names.give(id), turns, row.get("meta", {}), [], []))
  return made


def hold(
  config: DialoguesConfig, model: Model, held: list[Dialogue], folder: Path, seed: int
) -> int:
  """Asks every turn and appends the model's replies; returns how many turns did not fit."""
  unanswered, open_ones = 0, list(held)
  for turn in range(max(len(d.turns) for d in held)):
    asked = [d for d in open_ones if turn < len(d.turns)]
    if not asked:
      break
    for d in asked:
      d.messages.append(Message("user", d.turns[turn]))
    sets, _ = sample_shards(
      folder / f"turn{turn + 1}",
      f"turn {turn + 1}",
      [Example(d.id, tuple(d.messages)) for d in asked],
      model,
      config.generate,
      config.shard,
      seed,
    )
    replies = {s.id: s.candidates[0].text for s in sets}
    for d in asked:
      if d.id in replies:
        d.messages.append(Message("assistant", replies[d.id]))
      else:
        unanswered += len(d.turns) - turn
        d.messages.pop()
    open_ones = [d for d in asked if d.id in replies]
  return unanswered


def make(
  context: Context,
  config: DialoguesConfig,
  folder: Path,
  model: Path,
  turns: Path,
  gold: Path | None = None,
  *,
  grader: Grader | None = None,
) -> dict[str, Any]:
  """Writes dialogues.jsonl: {"id", "messages", "grades"}."""
  held = read_turns(turns)
  unanswered = hold(config, open_model(context, model, to_sample=True), held, folder, context.seed)
  if gold is not None:
    assert grader is not None, "a gold file needs the option grader"
    for d in held:
      replies = [m.content for m in d.messages if m.role == "assistant"]
      d.grades = grader(gold, d.meta, replies)
  jsonl.write_rows(
    folder / "dialogues.jsonl",
    [
      {
        "id": d.id,
        "messages": messages_json(tuple(d.messages)),
        **({"grades": d.grades} if d.grades else {}),
      }
      for d in held
    ],
  )
  counts = Counter(g for d in held for g in d.grades)
  return {
    "dialogues": len(held),
    "turns": sum(len(d.messages) // 2 for d in held),
    "unanswered": unanswered,
    **({"grades": {g: counts[g] for g in GRADES}} if counts else {}),
  }


STAGE = Stage(
  "dialogues",
  DialoguesConfig,
  make,
  {
    "model": "a language model",
    "turns": 'rows of {"id", "turns": [question, question, …]}, as MT-bench has them',
    "gold?": "world.json of a sandbox: grade every reply",
  },
  ("dialogues.jsonl",),
)
