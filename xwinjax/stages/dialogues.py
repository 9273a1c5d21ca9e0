"""Dialogues held with a model: each turn is answered before the next is asked, then graded.

Source: LIMA (Zhou et al. 2023), section 6: ten dialogues, every reply graded excellent, pass or
fail. The sandbox's gold scorer grades here; elsewhere people do (docs/annotate.md, --ask=grades).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Example, Message, messages_json
from xwinjax.sandbox import dialogues
from xwinjax.sandbox.world import Task, World
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.sample import GenerateConfig, sample_shards


@dataclasses.dataclass(frozen=True)
class DialoguesConfig:
  """Which dialogues, with which model."""

  model: ModelConfig = group(ModelConfig)
  turns: str = plumbing("")  # rows of {"id", "turns": [question, question, …]}, as MT-bench's
  generate: GenerateConfig = group(GenerateConfig, samples=1)
  gold: str = plumbing("")  # world.json of a sandbox: grade every reply
  shard: int = 64  # dialogues held together
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


@dataclasses.dataclass
class Dialogue:
  """One in progress."""

  id: str
  turns: list[str]
  tasks: list[Task]  # of the sandbox, or none
  messages: list[Message]
  grades: list[str]


def read_turns(path: Path) -> list[Dialogue]:
  """Raises UserError, by line, for rows that are no list of questions."""
  made = []
  for line, row in jsonl.read_rows(path):
    turns = row.get("turns")
    if (
      not isinstance(turns, list)
      or not turns
      or not all(isinstance(t, str) and t.strip() for t in turns)
    ):
      raise UserError(f'{path}:{line}: expected {{"turns": [question, question, …]}}')
    tasks = [Task.from_meta(meta) for meta in row.get("meta", {}).get("tasks", ())]
    id = str(row.get("id", row.get("question_id", f"dialogue-{line}")))
    made.append(Dialogue(id, turns, tasks, [], []))
  return made


def hold(config: DialoguesConfig, model, held: list[Dialogue], folder: Path) -> int:
  """Asks every turn and appends the model's replies; returns how many turns did not fit."""
  unanswered, open_ones = 0, list(held)
  for turn in range(max(len(d.turns) for d in held)):
    asked = [d for d in open_ones if turn < len(d.turns)]
    if not asked:
      break
    for d in asked:
      d.messages.append(Message("user", d.turns[turn]))
    rows, _ = sample_shards(
      folder / f"turn{turn + 1}",
      f"turn {turn + 1}",
      [Example(d.id, tuple(d.messages)) for d in asked],
      model,
      config.generate,
      config.shard,
      config.seed,
    )
    replies = {row["id"]: row["candidates"][0]["text"] for row in rows}
    for d in asked:
      if d.id in replies:
        d.messages.append(Message("assistant", replies[d.id]))
      else:
        unanswered += len(d.turns) - turn
        d.messages.pop()
    open_ones = [d for d in asked if d.id in replies]
  return unanswered


def run(config: DialoguesConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes dialogues.jsonl: {"id", "messages", "grades"}."""
  inputs = {
    "model": common.input_file(config.model.path, "model.path"),
    "turns": common.input_file(config.turns, "turns"),
  }
  if config.gold:
    inputs["gold"] = common.input_file(config.gold, "gold")

  def body() -> dict[str, Any]:
    held = read_turns(inputs["turns"])
    model = common.open_model(config.model, common.make_mesh(config.mesh), reward=False)
    unanswered = hold(config, model, held, folder)
    if config.gold:
      world = World.load(config.gold)
      for d in held:
        replies = [m.content for m in d.messages if m.role == "assistant"]
        d.grades = [dialogues.grade(world, t, r) for t, r in zip(d.tasks, replies, strict=False)]
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
      **({"grades": {g: counts[g] for g in dialogues.GRADES}} if counts else {}),
    }

  return run_stage(folder, "dialogues", config, inputs, ("dialogues.jsonl",), body, redo=redo)
