"""The gold scorer of the sandbox world: what an answer is truly worth, 0 to 5.

One point each for facts that are right, for covering what was asked, for the form the question
calls for, for brevity and for a closing. No training stage sees it, but through the noisy labels
of preference pairs; the chain only measures with it.
"""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Callable, Sequence

from xwinjax.core.errors import UserError
from xwinjax.data.records import Example
from xwinjax.sandbox.world import ATTRIBUTES, CLOSINGS, NUMBERS, Fact, Task, World

_VERBS = {verbs[0]: attribute for attribute, verbs in ATTRIBUTES.items()}
_FIRST = {verbs[1]: attribute for attribute, verbs in ATTRIBUTES.items()}
_alternatives = lambda names: "|".join(sorted(names, key=len, reverse=True))
_CLAIM = re.compile(rf"\b([A-Z][a-z]+) ({_alternatives(_VERBS)}) ((?:the |a )?[a-z]+)")
_OWN_CLAIM = re.compile(rf"\bI ({_alternatives(_FIRST)}) ((?:the |a )?[a-z]+)")
_IT_CLAIM = re.compile(rf"\bIt ({_alternatives(_VERBS)}) ((?:the |a )?[a-z]+)")


@dataclasses.dataclass(frozen=True)
class Points:
  """The five points of an answer, each in [0, 1], and its claims."""

  correct: float
  coverage: float
  form: float
  brevity: float
  closing: float
  claims: int  # facts stated
  false_claims: int  # of them, those that are not so in the world

  @property
  def total(self) -> float:
    return self.correct + self.coverage + self.form + self.brevity + self.closing


def claims(world: World, task: Task, text: str) -> list[Fact]:
  """The facts that an answer states, repeats included.

  "That is a very good question" states none: neither is That anyone, nor "a very" a colour.
  """
  facts = [
    Fact(name, _VERBS[verb], value) for name, verb, value in _CLAIM.findall(text) if name != "It"
  ]
  facts = [f for f in facts if f.name in world.names or f.value in ATTRIBUTES[f.attribute][3]]
  if task.kind == "rewrite" and task.facts:
    me = task.facts[0].name
    facts += [Fact(me, _FIRST[verb], value) for verb, value in _OWN_CLAIM.findall(text)]
  if task.kind == "follow_up" and task.facts:
    it = task.facts[0].name
    facts += [Fact(it, _VERBS[verb], value) for verb, value in _IT_CLAIM.findall(text)]
  if task.kind == "count":
    # Naming a creature claims that it is one of those counted.
    attribute, value = _asked(world, task)
    listed = re.search(r"(?:of them:|It is) ([^.\n]*)", text)
    names = re.findall(r"\b[A-Z][a-z]+\b", listed.group(1)) if listed else []
    facts += [Fact(n, attribute, value) for n in names]
  return facts


def _asked(world: World, task: Task) -> tuple[str, str]:
  return (task.facts[0].attribute, task.facts[0].value) if task.facts else ("", "")


def _body(text: str) -> tuple[str, bool]:
  """The answer without a closing at its end, and whether there was one."""
  text = text.strip()
  for closing in CLOSINGS:
    if text.endswith(closing):
      return text[: -len(closing)].strip(), True
  return text, False


def points(world: World, task: Task, text: str) -> Points:
  """Scores one answer."""
  body, closed = _body(text)
  stated = claims(world, task, body)
  # "One of them" speaks of those asked about: to name another is as wrong as a false fact.
  meant = lambda f: task.kind != "count" or f.name in task.names
  true = [f for f in stated if world.is_true(f) and meant(f)]
  wanted = set(task.facts)
  right = set(true) & wanted
  correct = len(true) / len(stated) if stated else 0.0
  if task.kind == "count":
    match = re.search(r"\b([A-Z]\w+) of them", body)
    number_right = bool(match) and match.group(1) == NUMBERS[task.number]
    coverage = 0.5 * number_right + 0.5 * (len(right) / task.number if task.number else 1.0)
    correct = 0.5 * number_right + 0.5 * (correct if stated else float(not task.number))
  else:
    coverage = min(len(right) / max(task.number, 1), 1.0)
  return Points(
    correct=correct,
    coverage=coverage,
    form=float(_good_form(task, body)),
    brevity=_brevity(task, body) if stated or coverage else 0.0,  # of nothing said, none
    closing=float(closed and not any(c in body for c in CLOSINGS)),
    claims=len(stated),
    false_claims=len(stated) - len(true),
  )


_SENTENCE = rf"[A-Z][a-z]+ (?:{_alternatives(_VERBS)}) (?:the |a )?[a-z]+"


def _good_form(task: Task, body: str) -> bool:
  """Whether the whole body has the form that its kind of question calls for."""
  own = rf"I (?:{_alternatives(_FIRST)}) (?:the |a )?[a-z]+"
  names = r"[A-Z][a-z]+"
  pattern = {
    "list": rf"(?:- {_SENTENCE}\.\n?)+",
    "compare": rf"(?:{_SENTENCE}, while {_SENTENCE}\. ?)+",
    "rewrite": rf"{own}(?: and {own})*\.",
    "count": rf"(?:{'|'.join(NUMBERS)}) of them(?:: {names}(?: and {names})*)?\.",
    "follow_up": rf"{_SENTENCE}\.",
  }[task.kind]
  return re.fullmatch(pattern, body) is not None


def _brevity(task: Task, body: str) -> float:
  """1 up to the words a perfect answer needs, then falling to 0 at twice as many more."""
  words = len(body.split())
  per_fact = {"list": 6, "compare": 6, "rewrite": 6, "count": 2, "follow_up": 5}[task.kind]
  needed = per_fact * max(task.number, 1) + (4 if task.kind == "count" else 0)
  return max(0.0, min(1.0, 1 - (words - needed) / (2 * needed)))


Scorer = Callable[[Sequence[Example], Sequence[Sequence[str]]], list[list[float]]]


def scorer(world: World) -> Scorer:
  """The gold scorer of a world, with the signature all scorers have.

  Raises: UserError for prompts that are not of a sandbox world.
  """

  def score(prompts, candidates):
    scores = []
    for prompt, texts in zip(prompts, candidates, strict=True):
      if "kind" not in prompt.meta:
        raise UserError(f"prompt {prompt.id} is not the sandbox's; gold scores exist only there")
      task = Task.from_meta(prompt.meta)
      scores.append([points(world, task, text).total for text in texts])
    return scores

  return score


def hallucination(
  world: World, prompts: Sequence[Example], candidates: Sequence[Sequence[str]]
) -> float:
  """The share of stated facts that are not so in the world."""
  claimed = false = 0
  for prompt, texts in zip(prompts, candidates, strict=True):
    task = Task.from_meta(prompt.meta)
    for text in texts:
      p = points(world, task, text)
      claimed, false = claimed + p.claims, false + p.false_claims
  return false / max(claimed, 1)


def annotate(rng: random.Random, first: float, second: float, noise: float, tie: float) -> int:
  """What an annotator says of two answers of these gold scores: 1, -1, or 0 for a tie.

  They see the gap through logistic noise of scale `noise`, so that P(1) = σ((gap - tie) / noise),
  and call a gap they see as less than `tie` none. People, and GPT-4, are surer of larger gaps.
  """
  u = rng.random()
  seen = first - second + noise * math.log(max(u, 1e-12) / max(1 - u, 1e-12))
  return 0 if abs(seen) < tie else (1 if seen > 0 else -1)
