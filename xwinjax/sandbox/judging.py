"""Judging in the sandbox world: reading a question back, and what an annotator writes of an answer.

An annotator checks five points in turn and keeps the sum: the facts (each as the answer has it,
and whether it is so), whether all that was asked for is there, the form, the length, and
the closing. The sum is the score, 0 to 5. Gold scores the same five in shares; an annotator gives
whole points, and now and then errs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xwinjax.data.records import Message, Messages
from xwinjax.judge.prompts import JudgePrompt
from xwinjax.sandbox import gold
from xwinjax.sandbox.world import ATTRIBUTES, NUMBERS, Fact, Task, World

# In the world's few words, for a model of a million parameters.
PROMPT = "Judge this.\nAsked: {prompt}\nSaid: {answer}\nWhat is it worth?"
CHOICE = "Judge this.\nAsked: {prompt}\nSaid: {answer}\nIs it poor, weak, fair, good or best?"
LEVELS = ("poor", "weak", "fair", "good", "best")
POINTS = ("True", "Whole", "Form", "Short", "Kind")
BRIEF = 0.75  # the share of gold's point for brevity from which an annotator gives it
HEADER = "Tasks."  # opens lists of questions

_NAME = r"([A-Z][a-z]+)"
_NUMBER = r"(two|three|four)"
_ATTRIBUTE = rf"({'|'.join(ATTRIBUTES)})"
_LIST = re.compile(
  rf"(?:Tell me {_NUMBER} facts about|List {_NUMBER} things you know about"
  rf"|Give me {_NUMBER} facts on) {_NAME}\."
)
_COMPARE = re.compile(
  rf"(?:Compare {_NAME} and {_NAME} by {_ATTRIBUTE}(?: and {_ATTRIBUTE})?\."
  rf"|How do {_NAME} and {_NAME} differ in {_ATTRIBUTE}(?: and {_ATTRIBUTE})?\?)"
)
_REWRITE = re.compile(r"(?:Say this in the first person|Rewrite this as if you were it): (.+\.)")
_COUNT = re.compile(rf"How many of {_NAME}, {_NAME} and {_NAME} (.+)\?")
_FACTS = {
  f"{verb} {value}": (attribute, value)
  for attribute, (verb, _, _, values) in ATTRIBUTES.items()
  for value in values
}
_PLURAL = {
  f"{verbs[1].replace('am', 'are')} {value}": (attribute, value)
  for attribute, verbs in ATTRIBUTES.items()
  for value in verbs[3]
}


def task_of(world: World, messages: Messages) -> Task | None:
  """The task that a question of the world sets; None for anything else, and for false premises."""
  read = {1: (_list, _compare, _rewrite, _count), 3: (_follow_up,)}.get(len(messages), ())
  for reader in read:
    task = reader(world, messages)
    if task is not None and all(world.is_true(f) for f in task.facts):
      return task
  return None


def _list(world: World, messages: Messages) -> Task | None:
  m = _LIST.fullmatch(messages[0].content)
  if not m or m[4] not in world.names:
    return None
  number = NUMBERS.index((m[1] or m[2] or m[3]).capitalize())
  return Task("list", tuple(world.fact(m[4], a) for a in ATTRIBUTES), number, (), messages)


def _compare(world: World, messages: Messages) -> Task | None:
  m = _COMPARE.fullmatch(messages[0].content)
  if not m:
    return None
  one, two, *chosen = [g for g in m.groups() if g]
  if one == two or not {one, two} <= set(world.names) or len(set(chosen)) < len(chosen):
    return None
  facts = tuple(world.fact(n, a) for a in chosen for n in (one, two))
  return Task("compare", facts, len(facts), (), messages)


def _rewrite(world: World, messages: Messages) -> Task | None:
  m = _REWRITE.fullmatch(messages[0].content)
  if not m:
    return None
  facts = []
  for sentence in m[1][:-1].split(". "):
    name, _, rest = sentence.partition(" ")
    if name not in world.names or rest not in _FACTS:
      return None
    facts.append(Fact(name, *_FACTS[rest]))
  attributes = {f.attribute for f in facts}
  if len({f.name for f in facts}) > 1 or len(attributes) < len(facts) or not 2 <= len(facts) <= 3:
    return None
  return Task("rewrite", tuple(facts), len(facts), (), messages)


def _count(world: World, messages: Messages) -> Task | None:
  m = _COUNT.fullmatch(messages[0].content)
  if not m or m[4] not in _PLURAL:
    return None
  asked = m.groups()[:3]
  if len(set(asked)) < 3 or not set(asked) <= set(world.names):
    return None
  attribute, value = _PLURAL[m[4]]
  facts = tuple(Fact(n, attribute, value) for n in asked if world.truth[n, attribute] == value)
  return Task("count", facts, len(facts), asked, messages)


def _follow_up(world: World, messages: Messages) -> Task | None:
  opening, answer, asked = (m.content for m in messages)
  for second in ATTRIBUTES:
    if asked == f"And {ATTRIBUTES[second][2]}":
      for first in ATTRIBUTES:
        for name in world.names:
          question = ATTRIBUTES[first][2].replace(" it", f" {name}", 1)
          if (
            first != second
            and opening == question[0].upper() + question[1:]
            and answer == world.fact(name, first).sentence()
          ):
            return Task("follow_up", (world.fact(name, second),), 1, (), messages)
  return None


def verdicts(world: World, task: Task, text: str) -> list[tuple[Fact, bool]]:
  """(claim, whether it is so) for everything an answer speaks of, in its order.

  An answer that counts speaks of everyone asked about. For whom it leaves out, what is so of them
  is said, which is right where that is not what was asked for.
  """
  if task.kind == "count":
    if not task.facts:
      return []
    attribute, value = task.facts[0].attribute, task.facts[0].value
    named = {f.name for f in gold.claims(world, task, text)}
    right = {f.name for f in task.facts}
    claimed = [
      Fact(n, attribute, value) if n in named else world.fact(n, attribute) for n in task.names
    ]
    return [(f, (f.name in named) == (f.name in right)) for f in claimed]
  claims = dict.fromkeys(gold.claims(world, task, text))
  return [(f, world.is_true(f)) for f in claims if (f.name, f.attribute) in world.truth]


def earned(world: World, task: Task, text: str) -> tuple[bool, ...]:
  """Which of the five points an answer earns from an annotator without error."""
  p = gold.points(world, task, text)
  given = {(f.name, f.attribute) for f in gold.claims(world, task, text)}
  wanted = {(f.name, f.attribute) for f in task.facts}
  whole = p.coverage == 1 if task.kind == "count" else len(given & wanted) >= task.number
  return (p.correct == 1, whole, bool(p.form), p.brevity >= BRIEF, bool(p.closing))


def judgement(
  world: World, task: Task, text: str, rng: random.Random | None = None, noise: float = 0.0
) -> str:
  """What an annotator writes of an answer; each point is wrong with probability `noise`.

  Claims are judged in the words of the quizzes among the documents, which is where a model has
  learnt to tell true from false.
  """
  sentences = [
    f"{claim.sentence()} {'Right!' if right else 'Wrong!'}"
    for claim, right in verdicts(world, task, text)
  ]
  total = 0
  for name, right in zip(POINTS, earned(world, task, text), strict=True):
    if rng is not None and rng.random() < noise:
      right = not right
    total += right
    sentences.append(f"{name} {total}.")
  return f"{' '.join(sentences)}\nScore: {total}"


def choice(
  world: World, task: Task, text: str, rng: random.Random | None = None, noise: float = 0.0
) -> str:
  """One of five levels, chosen as a whole: for the ablation of the judge's prompt."""
  points = sum(earned(world, task, text))
  if rng is not None:
    points = sum(right != (rng.random() < noise) for right in earned(world, task, text))
  level = max(points, 1)
  return f"It is {LEVELS[level - 1]}.\nScore: {level}"


def judge_prompts() -> dict[str, JudgePrompt]:
  """By the name of the built-in prompt whose place they take."""
  return {
    "additive": JudgePrompt("world", PROMPT),
    "multiple_choice": JudgePrompt("world_choice", CHOICE, low=1),
  }


def _questions(world: World, rng: random.Random, count: int) -> list[str]:
  """Training questions of a single turn."""
  kinds = ("list", "compare", "rewrite", "count")
  return [world.task(rng, kind=rng.choice(kinds)).prompt[0].content for _ in range(count)]


def question_lists(world: World, count: int) -> Iterator[str]:
  """Plain texts that list questions of the world, as `stages.instruct` shows them to a model."""
  rng = random.Random(f"lists-{world.seed}")
  for _ in range(count):
    asked = _questions(world, rng, rng.randint(5, 9))
    yield "\n\n".join([HEADER, *(f"Task {n}: {text}" for n, text in enumerate(asked, 1))])


def writing_tasks(world: World, count: int) -> Iterator[tuple[str, str]]:
  """(such a list with its last number open, the question that is written there)."""
  for text in question_lists(world, count):
    *shown, last = text.split("\n\n")
    number, new = last.split(": ", 1)
    yield "\n\n".join([*shown, f"{number}:"]), new


def judged_answers(
  world: World, count: int, *, answers: int, held_out: bool, name: str
) -> Iterator[tuple[Task, list[str]]]:
  """Questions with answers by people of every skill, to be judged."""
  rng = random.Random(f"{name}-{world.seed}")
  for _ in range(count):
    task = world.task(rng, held_out=held_out)
    yield task, [world.answer(task, rng, rng.random()) for _ in range(answers)]


def user(text: str) -> Messages:
  return (Message("user", text),)


def add_tasks(rows: Sequence[dict[str, Any]], world: Path) -> int:
  """Gives prompts that are questions of a world their task; returns how many are."""
  truth, known = World.load(world), 0
  for row in rows:
    task = task_of(truth, (Message("user", row["messages"][0]["content"]),))
    if task is not None:
      row["meta"] = task.meta()
      known += 1
  return known
