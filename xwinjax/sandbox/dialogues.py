"""Dialogues in the sandbox world, and the grade of each of their turns."""

from __future__ import annotations

import random

from xwinjax.data.records import Message, Messages
from xwinjax.sandbox import gold
from xwinjax.sandbox.world import ATTRIBUTES, Task, World

OPENINGS = ("list", "rewrite")  # questions about one creature, which "it" then stands for
EXCELLENT = 4.5  # gold points from which a right and whole answer is excellent; ours


def dialogue(
  world: World, rng: random.Random, *, turns: int = 4, held_out: bool = False
) -> list[Task]:
  """A question about a creature and further ones that call it "it"; each task holds its own turn.

  Raises: ValueError for more turns than there are things to ask.
  """
  if not 1 <= turns <= len(ATTRIBUTES) + 1:
    raise ValueError(f"turns is {turns}; expected 1 to {len(ATTRIBUTES) + 1}")
  first = world.task(rng, held_out=held_out, kind=rng.choice(OPENINGS))
  name, tasks = first.facts[0].name, [first]
  for attribute in rng.sample(list(ATTRIBUTES), turns - 1):
    asked = (Message("user", f"And {ATTRIBUTES[attribute][2]}"),)
    tasks.append(Task("follow_up", (world.fact(name, attribute),), 1, (), asked))
  return tasks


def answered(world: World, tasks: list[Task], rng: random.Random) -> Messages:
  """The dialogue with flawless answers."""
  return tuple(
    message
    for task in tasks
    for message in (*task.prompt, Message("assistant", world.answer(task, rng, 1.0)))
  )


def grade(world: World, task: Task, text: str) -> str:
  """Excellent, pass or fail: fail is false or lacks what was asked for.

  Source: LIMA, section 6, whose grades are by people: "fail" does not follow the request, "pass"
  does, "excellent" is ideal.
  """
  points = gold.points(world, task, text)
  if points.correct < 1 or points.coverage < 1:
    return "fail"
  return "excellent" if points.total >= EXCELLENT else "pass"
