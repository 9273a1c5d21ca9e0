"""A closed synthetic world: facts, documents about them, questions, answers of mixed quality.

Everything is drawn from a seed. The world is small enough for a model of a million parameters to
learn by heart, and closed: what is true in it is known, so answers can be scored by a program
(`testing.gold`) and invention can be counted.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Message, Messages

# attribute -> (its verb in the third person, in the first, the question that asks for it, values)
ATTRIBUTES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
  "colour": (
    "is",
    "am",
    "what colour is it?",
    ("red", "blue", "green", "white", "black", "yellow", "brown", "grey"),
  ),
  "home": (
    "lives in",
    "live in",
    "where does it live?",
    (
      "the marsh",
      "the hills",
      "the forest",
      "the desert",
      "the harbour",
      "the cave",
      "the meadow",
      "the tower",
    ),
  ),
  "food": (
    "eats",
    "eat",
    "what does it eat?",
    ("plums", "bread", "fish", "nuts", "honey", "cheese", "beans", "berries"),
  ),
  "job": (
    "works as",
    "work as",
    "what is the job of it?",
    ("a baker", "a sailor", "a painter", "a farmer", "a tailor", "a guard", "a miner", "a singer"),
  ),
  "fear": (
    "fears",
    "fear",
    "what does it fear?",
    ("storms", "dogs", "bees", "ghosts", "snakes", "fire", "spiders", "heights"),
  ),
  "thing": (
    "owns",
    "own",
    "what does it own?",
    ("a lamp", "a boat", "a drum", "a kite", "a clock", "a sword", "a mirror", "a cart"),
  ),
}
NUMBERS = ("None", "One", "Two", "Three", "Four")
CLOSINGS = ("Hope this helps!", "Glad to help!", "Ask me anything else!")
FILLERS = (
  "That is a very good question.",
  "Many people wonder about this.",
  "People ask me this again and again.",
  "There is so much to say about it.",
  "One could go on for a long time.",
)
KINDS = ("list", "compare", "rewrite", "count", "follow_up")


@dataclasses.dataclass(frozen=True)
class Fact:
  name: str
  attribute: str
  value: str

  def sentence(self) -> str:
    return f"{self.name} {ATTRIBUTES[self.attribute][0]} {self.value}."


@dataclasses.dataclass(frozen=True)
class Task:
  """A question with what a perfect answer says; travels in a record's `meta`."""

  kind: str
  facts: tuple[Fact, ...]  # what is asked for: all of it, or any `number` of it for a list
  number: int
  names: tuple[str, ...] = ()  # count: those that were asked about
  prompt: Messages = ()

  def meta(self) -> dict:
    facts = [[f.name, f.attribute, f.value] for f in self.facts]
    return {"kind": self.kind, "facts": facts, "number": self.number, "names": list(self.names)}

  @classmethod
  def from_meta(cls, meta: dict) -> Task:
    facts = tuple(Fact(*f) for f in meta["facts"])
    return cls(meta["kind"], facts, meta["number"], tuple(meta["names"]))


class World:
  """Named creatures and their attributes."""

  def __init__(self, seed: int, size: int = 48):
    """Draws `size` creatures."""
    rng = random.Random(f"world-{seed}")
    names: set[str] = set()
    while len(names) < size:
      syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2)]
      names.add("".join(syllables).capitalize() + rng.choice("lnrskm"))
    self.seed, self.names = seed, sorted(names)
    rng.shuffle(self.names)
    self.truth = {
      (name, attribute): rng.choice(values)
      for name in self.names
      for attribute, (*_, values) in ATTRIBUTES.items()
    }

  def save(self, path: Path) -> None:
    """Writes what is true, for people and for the gold scorer."""
    truth = {name: {a: self.truth[name, a] for a in ATTRIBUTES} for name in self.names}
    jsonl.write_json(path, {"seed": self.seed, "truth": truth})

  @classmethod
  def load(cls, path: str | Path) -> World:
    """The world that `save` wrote. Raises UserError for any other file."""
    try:
      fields = jsonl.read_json(Path(path))
      world = cls(fields["seed"], len(fields["truth"]))
      truth = {(n, a): v for n, values in fields["truth"].items() for a, v in values.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
      raise UserError(f"{path}: not the world.json of a sandbox world") from None
    if truth != world.truth:
      raise UserError(f"{path}: does not hold the world of seed {world.seed}; make it again")
    return world

  def names_for(self, kind: str, held_out: bool, compared: bool = False) -> list[str]:
    """Whom questions of a kind are about: a quarter of the names is kept for held-out prompts.

    It is another quarter for each kind, so every creature occurs in training answers. With
    `compared`, only those whose facts preference pairs may be about.
    """
    part, without = KINDS.index(kind) % 4, self.never_compared() if compared else []
    asked = [name for i, name in enumerate(self.names) if (i % 4 == part) == held_out]
    return [name for name in asked if name not in without]

  def never_compared(self) -> list[str]:
    """An eighth of the names, which no preference pair is about; none of fewer than 16.

    What a reward model thinks of their facts it cannot have learnt by heart.
    """
    size = len(self.names)
    return self.names[size - size // 8 :] if size >= 16 else []

  def fact(self, name: str, attribute: str) -> Fact:
    return Fact(name, attribute, self.truth[name, attribute])

  def is_true(self, fact: Fact) -> bool:
    return self.truth.get((fact.name, fact.attribute)) == fact.value

  def documents(self, count: int) -> Iterator[str]:
    """Plain texts that state the facts, in many orders and wordings, for pretraining."""
    rng = random.Random(f"documents-{self.seed}")
    makers = (self._portrait, self._meeting, self._group, self._interview, self._quiz)
    for _ in range(count):
      [make] = rng.choices(makers, (15, 15, 15, 15, 40))  # fewer quizzes, and truth is not learnt
      yield make(rng)

  def _portrait(self, rng: random.Random) -> str:
    name = rng.choice(self.names)
    attributes = rng.sample(list(ATTRIBUTES), rng.randint(3, 6))
    sentences = []
    for i, a in enumerate(attributes):
      sentence = self.fact(name, a).sentence()
      sentences.append(sentence if not i or rng.random() < 0.6 else f"It{sentence[len(name) :]}")
    style = rng.random()
    statements = [self.fact(name, a).sentence() for a in attributes]
    if style < 0.3:
      return f"About {name}:\n" + "\n".join(f"- {sentence}" for sentence in statements)
    if style < 0.6:
      own = " and ".join(f"I {ATTRIBUTES[a][1]} {self.truth[name, a]}" for a in attributes)
      return f"{' '.join(statements)} It says: {own}."
    return " ".join(sentences)

  def _meeting(self, rng: random.Random) -> str:
    one, two = rng.sample(self.names, 2)
    sentences = []
    for a in rng.sample(list(ATTRIBUTES), rng.randint(2, 4)):
      left, right = self.fact(one, a).sentence()[:-1], self.fact(two, a).sentence()
      sentences.append(f"{left}, while {right}")
    return f"{one} met {two}. " + " ".join(sentences)

  def _interview(self, rng: random.Random) -> str:
    name = rng.choice(self.names)
    exchanges = []
    for i, a in enumerate(rng.sample(list(ATTRIBUTES), rng.randint(2, 4))):
      question = ATTRIBUTES[a][2]
      question = f"And {question}" if i else question[0].upper() + question[1:]
      exchanges.append(f"{question.replace(' it', f' {name}', 1)} {self.fact(name, a).sentence()}")
    return " ".join(exchanges)

  def _quiz(self, rng: random.Random) -> str:
    """True and false statements, each called what it is, to learn to tell them apart."""
    statements = []
    for _ in range(rng.randint(3, 5)):
      fact = self.fact(rng.choice(self.names), rng.choice(list(ATTRIBUTES)))
      true = rng.random() < 0.5
      fact = fact if true else self.invent(fact, rng)
      statements.append(f"{fact.sentence()} {'Right!' if true else 'Wrong!'}")
    return " ".join(statements)

  def _group(self, rng: random.Random) -> str:
    name, attribute = rng.choice(self.names), rng.choice(list(ATTRIBUTES))
    value, verb = self.truth[name, attribute], ATTRIBUTES[attribute][1].replace("am", "are")
    same = [n for n in self.names if self.truth[n, attribute] == value]
    rng.shuffle(same)
    same = same[:4]
    others = rng.sample([n for n in self.names if self.truth[n, attribute] != value], 2)
    listed = same[0] if len(same) == 1 else f"{', '.join(same[:-1])} and {same[-1]}"
    return f"These {verb} {value}: {listed}. {others[0]} does not, and {others[1]} does not."

  def different_tasks(
    self, rng: random.Random, count: int, *, held_out: bool, compared: bool = False
  ) -> list[Task]:
    """So many questions, no two alike; `compared` as in `names_for`.

    Raises: UserError where the world has fewer.
    """
    found: dict[Messages, Task] = {}
    idle = 0
    while len(found) < count:
      task = self.task(rng, held_out=held_out, compared=compared)
      idle = idle + 1 if task.prompt in found else 0
      if idle > 20_000:
        raise UserError(
          f"{count} different questions are asked for; a world of {len(self.names)} creatures has "
          f"about {len(found)}: ask for fewer, or have more creatures"
        )
      found.setdefault(task.prompt, task)
    return list(found.values())

  def task(
    self,
    rng: random.Random,
    *,
    held_out: bool = False,
    kind: str | None = None,
    compared: bool = False,
    names: Sequence[str] = (),
  ) -> Task:
    """A question, of the training or of the held-out ones; about these names, where there are."""
    kind = kind or rng.choice(KINDS)
    names = names or self.names_for(kind, held_out, compared)
    attributes = list(ATTRIBUTES)
    if kind == "list":
      name, number = rng.choice(names), rng.randint(2, 4)
      ask = rng.choice(
        (
          "Tell me {} facts about {}.",
          "List {} things you know about {}.",
          "Give me {} facts on {}.",
        )
      )
      facts = tuple(self.fact(name, a) for a in attributes)
      return Task(kind, facts, number, (), _user(ask.format(NUMBERS[number].lower(), name)))
    if kind == "compare":
      one, two = rng.sample(names, 2)
      chosen = rng.sample(attributes, rng.randint(1, 2))
      ask = rng.choice(("Compare {} and {} by {}.", "How do {} and {} differ in {}?"))
      question = ask.format(one, two, " and ".join(chosen))
      facts = tuple(self.fact(n, a) for a in chosen for n in (one, two))
      return Task(kind, facts, len(facts), (), _user(question))
    if kind == "rewrite":
      name = rng.choice(names)
      chosen = rng.sample(attributes, rng.randint(2, 3))
      facts = tuple(self.fact(name, a) for a in chosen)
      text = " ".join(f.sentence() for f in facts)
      ask = rng.choice(("Say this in the first person: {}", "Rewrite this as if you were it: {}"))
      return Task(kind, facts, len(facts), (), _user(ask.format(text)))
    if kind == "count":
      attribute, asked = rng.choice(attributes), rng.sample(names, 3)
      value = self.truth[rng.choice(asked), attribute]
      verb = ATTRIBUTES[attribute][1].replace("am", "are")
      question = f"How many of {asked[0]}, {asked[1]} and {asked[2]} {verb} {value}?"
      facts = tuple(Fact(n, attribute, value) for n in asked if self.truth[n, attribute] == value)
      return Task(kind, facts, len(facts), tuple(asked), _user(question))
    name = rng.choice(names)
    first, second = rng.sample(attributes, 2)
    asked = lambda a: ATTRIBUTES[a][2]
    opening = asked(first).replace(" it", f" {name}", 1)
    return Task(
      kind,
      (self.fact(name, second),),
      1,
      (),
      (
        Message("user", opening[0].upper() + opening[1:]),
        Message("assistant", self.fact(name, first).sentence()),
        Message("user", f"And {asked(second)}"),
      ),
    )

  def answer(self, task: Task, rng: random.Random, skill: float) -> str:
    """An answer by someone of this skill in [0, 1]; 1 is flawless, 0 fails most points."""
    slips = lambda p: rng.random() < p * (1 - skill)
    facts = list(task.facts)
    if task.kind == "list":
      facts = rng.sample(facts, task.number)
    if len(facts) > 1 and slips(0.7):
      facts = rng.sample(facts, max(1, len(facts) - rng.randint(1, 2)))
    claims = [self.invent(f, rng) if slips(0.6) else f for f in facts]
    if claims and slips(0.25):
      claims.append(rng.choice(claims))
    bad_form = slips(0.7)
    text = write(task, claims, bad_form, rng)
    if slips(0.7):
      fillers = rng.sample(FILLERS, rng.randint(1, 2))
      text = " ".join([*fillers, text]) if rng.random() < 0.5 else " ".join([text, *fillers])
    if not slips(0.9):
      text += ("\n" if "\n" in text else " ") + rng.choice(CLOSINGS)
    return text

  def invent(self, fact: Fact, rng: random.Random) -> Fact:
    """The fact with a value that is not so."""
    values = ATTRIBUTES[fact.attribute][3]
    return dataclasses.replace(fact, value=rng.choice([v for v in values if v != fact.value]))


def _user(text: str) -> Messages:
  return (Message("user", text),)


def write(task: Task, claims: list[Fact], bad_form: bool, rng: random.Random) -> str:
  """The facts in the form that the kind of question asks for, or in a wrong one."""
  sentences = [f.sentence() for f in claims]
  if task.kind == "list":
    return " ".join(sentences) if bad_form else "\n".join(f"- {s}" for s in sentences)
  if task.kind == "compare":
    if (
      bad_form
      or len(claims) % 2
      or any(a.attribute != b.attribute for a, b in zip(claims[::2], claims[1::2], strict=True))
    ):
      return " ".join(sentences)
    pairs = zip(sentences[::2], sentences[1::2], strict=True)
    return " ".join(f"{left[:-1]}, while {right}" for left, right in pairs)
  if task.kind == "rewrite":
    if bad_form:
      return " ".join(sentences)
    return "I " + " and I ".join(f"{ATTRIBUTES[f.attribute][1]} {f.value}" for f in claims) + "."
  if task.kind == "count":
    names = list(dict.fromkeys(f.name for f in claims if f in task.facts))
    wrong = [f for f in claims if f not in task.facts]
    others = [n for n in task.names if n not in names]
    names += rng.sample(others, min(len(wrong), len(others)))  # an invention counts someone in
    rng.shuffle(names)
    if bad_form:
      return f"It is {', '.join(names)}." if names else "It is nobody."
    listed = f": {' and '.join(names)}" if names else ""
    return f"{NUMBERS[len(names)]} of them{listed}."
  return (
    f"It{sentences[0][len(claims[0].name) :]}"
    if bad_form and rng.random() < 0.5
    else (f"Well, {sentences[0]}" if bad_form else sentences[0])
  )
