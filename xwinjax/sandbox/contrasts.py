"""Pairs of answers that differ in one thing: contrasts of truth, and a reward model's report card.

A pair of samples differs in everything at once, and a reward model learns from it what is cheapest
to see: form and manners. Whether a fact is so it learns from pairs that differ in nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from xwinjax.data.records import Message, Pair
from xwinjax.sandbox import gold
from xwinjax.sandbox.world import ATTRIBUTES, CLOSINGS, FILLERS, KINDS, Fact, Task, World, write

UNSEEN = "truth, never compared"
SKILLS = ("truth", UNSEEN, "coverage", "form", "brevity", "closing")
EDITABLE = tuple(kind for kind in KINDS if kind != "count")  # whose answers state facts one by one


def with_one_lie(world: World, task: Task, text: str, rng: random.Random) -> str | None:
  """The same answer with one of its true facts made false; None where it states none."""
  true = [f for f in gold.claims(world, task, text) if world.is_true(f)]
  if not true:
    return None
  fact = rng.choice(true)
  verb = ATTRIBUTES[fact.attribute][1 if "I " in text and task.kind == "rewrite" else 0]
  old, new = f"{verb} {fact.value}", f"{verb} {world.invent(fact, rng).value}"
  start = text.find(old, max(text.find(f"{fact.name} {old}"), 0))  # "It eats plums" names nobody
  return None if start < 0 else text[:start] + new + text[start + len(old) :]


def asked_outright(world: World, rng: random.Random, names: Sequence[str]) -> Task:
  """A question after a single fact."""
  name, attribute = rng.choice(names), rng.choice(list(ATTRIBUTES))
  question = ATTRIBUTES[attribute][2].replace(" it", f" {name}", 1)
  prompt = (Message("user", question[0].upper() + question[1:]),)
  return Task("follow_up", (world.fact(name, attribute),), 1, (), prompt)


def of_truth(world: World, count: int, seed: int, noise: float, tie: float) -> Iterator[Pair]:
  """So many pairs that differ in one fact, half about facts asked outright, under noisy labels.

  Args:
    noise, tie: of the annotators, as in `gold.annotate`; pairs that they call ties are left out.
  """
  rng, made = random.Random(f"contrasts-{seed}"), 0
  names = [n for n in world.names if n not in world.never_compared()]
  while made < count:
    kind = rng.choice(EDITABLE)
    outright = made % 2 == 0
    task = (
      asked_outright(world, rng, names) if outright else world.task(rng, kind=kind, compared=True)
    )
    text = world.answer(task, rng, rng.uniform(0.2, 1.0))
    other = with_one_lie(world, task, text, rng)
    if other is None:
      continue
    one, two = (gold.points(world, task, t).total for t in (text, other))
    verdict = gold.annotate(rng, one, two, noise, tie)
    if verdict:
      chosen, rejected = (text, other) if verdict > 0 else (other, text)
      yield Pair(f"contrast-{made}", task.prompt, chosen, rejected)
      made += 1


def without(world: World, task: Task, skill: str, rng: random.Random) -> tuple[str, str] | None:
  """A flawless answer, and the same but for one skill; None where the question has no such pair."""
  lists = task.kind == "list"
  facts = rng.sample(task.facts, task.number) if lists else list(task.facts)
  closing = rng.choice(CLOSINGS)

  def answer(said: Sequence[Fact], bad_form: bool = False) -> str:
    body = write(task, list(said), bad_form, rng)
    return body + ("\n" if "\n" in body else " ") + closing

  good = answer(facts)
  fewer = facts[: 2 if task.kind == "compare" else -1]
  if skill == "coverage":
    worse = answer(fewer) if 0 < len(fewer) < len(facts) else None
  elif skill == "form":
    worse = answer(facts, bad_form=True)
  elif skill == "brevity":  # which costs the form, too
    worse = " ".join([*rng.sample(FILLERS, 2), good])
  elif skill == "closing":
    worse = good.removesuffix(closing).rstrip()
  else:
    worse = with_one_lie(world, task, good, rng)
  return None if worse is None else (good, worse)


def _costs(world: World, task: Task, good: str, worse: str) -> bool:
  """Not so where "It" stands for a name: the form of a sentence allows it."""
  one, two = (gold.points(world, task, text).total for text in (good, worse))
  return one > two


def card(world: World, count: int) -> Iterator[Pair]:
  """`count` pairs a skill, on held-out questions: a flawless answer, and it without the skill.

  The skill is their `subset`. Truth is asked about twice: about creatures that preference pairs
  speak of, and about those that they never do, of whom only documents and conversations told.
  """
  unseen = world.never_compared()
  for skill in SKILLS if unseen else [s for s in SKILLS if s != UNSEEN]:
    rng, made = random.Random(f"card-{skill}-{world.seed}"), 0
    while made < count:
      kind = rng.choice(EDITABLE)
      names = unseen if skill == UNSEEN else world.names_for(kind, True, compared=True)
      task = world.task(rng, kind=kind, names=names)
      pair = without(world, task, skill, rng)
      if pair is not None and _costs(world, task, *pair):
        yield Pair(f"card-{skill}-{made}", task.prompt, *pair, meta={"subset": skill})
        made += 1
