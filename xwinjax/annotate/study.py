"""What people are asked: items made from a file of prompts and files of answers.

An item is a prompt with one or two answers; an answer is what follows the prompt in a conversation,
so it may be a dialogue of several turns. Three things can be asked of an item:

  verdict      A is better, B is better, or neither significantly (two answers)
  usefulness   1 to 6, of each answer
  grades       fail, pass or excellent, of each turn of each answer

Source: LIMA (arXiv 2305.11206), sections 4 to 6: pairs of answers, the dialogues' three grades, and
the 1-to-6 scale of its ablations.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl, read
from xwinjax.data.records import Counts, Message, Messages
from xwinjax.data.sources import sources

ASKS = ("verdict", "usefulness", "grades")
PAIRS = ("first", "all")
SIDES = ("A", "B")
NAME = re.compile(r"[^\W_][\w .+-]{0,59}")  # no =, @ or - first: a name ends up in spreadsheets
CHECK_WORDS = 40  # of the real answer, before an attention check's instruction


@dataclasses.dataclass(frozen=True)
class Answer:
  """What one system said after a prompt: its turn, or a dialogue's remaining turns."""

  system: str
  messages: Messages
  scores: dict[str, float] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class Item:
  """A prompt with the one or two answers that are judged together.

  `expected` is None but for attention checks, whose text says what to choose.
  """

  prompt_id: str
  prompt: Messages
  answers: tuple[Answer, ...]
  expected: dict[str, str] | None = dataclasses.field(default=None, hash=False)


@dataclasses.dataclass(frozen=True)
class Question:
  """Something to choose; `answer` and `turn` say what of, `choices` are (value, label, key)."""

  name: str
  text: str
  choices: tuple[tuple[str, str, str], ...]
  answer: int | None = None
  turn: int | None = None


VERDICTS = (
  ("A", "A is better", "a"),
  ("tie", "Neither is significantly better", "n"),
  ("B", "B is better", "b"),
)
USEFULNESS = tuple((str(i), str(i), str(i)) for i in range(1, 7))
GRADES = (("fail", "Fail", "f"), ("pass", "Pass", "p"), ("excellent", "Excellent", "e"))


def questions(item: Item, ask: Sequence[str]) -> list[Question]:
  """What is asked of an item, in the order of the page; A is the answer that stands first."""
  entries = []
  for i, answer in enumerate(item.answers):
    who = f" {SIDES[i]}" if len(item.answers) > 1 else ""
    if "grades" in ask:
      turns = [t for t, m in enumerate(answer.messages) if m.role == "assistant"]
      entries += [
        Question(f"grade {SIDES[i]} {n}", f"Reply {n}{who and ' of' + who}", GRADES, i, t)
        for n, t in enumerate(turns, 1)
      ]
    if "usefulness" in ask:
      text = (
        f"How useful is answer{who}? 1 is useless, 6 is ideal"
        if who
        else ("How useful is the answer? 1 is useless, 6 is ideal")
      )
      entries.append(Question(f"usefulness {SIDES[i]}", text, USEFULNESS, i))
  if "verdict" in ask:
    entries.append(Question("verdict", "Which answer serves the prompt better?", VERDICTS))
  return entries


def check_ask(ask: Sequence[str]) -> tuple[str, ...]:
  """The things to ask, in their order. Raises UserError for an unknown one."""
  unknown = [name for name in ask if name not in ASKS]
  if unknown or not ask:
    raise UserError(f"--ask={','.join(ask)}: expected some of {', '.join(ASKS)}")
  return tuple(name for name in ASKS if name in ask)


def systems(specs: Sequence[str]) -> dict[str, Path]:
  """System name -> file, of FILE or NAME=FILE; files of one name are called by their folder."""
  named = sources(specs, "--answers ")
  for source in named:
    if not NAME.fullmatch(source.name):
      raise UserError(
        f"--answers {source.path}: {source.name!r} is no name for a system; "
        f"write NAME={source.path}"
      )
  return {source.name: source.path for source in named}


def read_answers(path: Path) -> dict[Messages, dict[str, float]]:
  """Whole conversation -> scores, of every answer in a file; of candidates the first.

  An empty answer is kept: a system that says nothing is judged for it.
  """
  answers = {}
  for line, row in jsonl.read_rows(path):
    try:
      format = formats.detect(row)
      if format == "candidates":
        messages, scores = _first_candidate(row)
      else:
        messages = formats.as_context(formats.parse_conversation(row, format))
        scores = {}
    except (ValueError, TypeError, KeyError, AttributeError) as e:
      raise UserError(f"{path}:{line}: {e}") from None
    if messages[-1].role != "assistant":
      raise UserError(f"{path}:{line}: holds a question without an answer")
    answers.setdefault(messages, scores)
  return answers


def _first_candidate(row: dict[str, Any]) -> tuple[Messages, dict[str, float]]:
  first = next(iter(row["candidates"]), None)
  if not isinstance(first, dict) or not isinstance(first.get("text"), str):
    raise ValueError("candidates[0]: expected an object with a 'text'")
  prompt = formats.parse_conversation(row, "candidates")
  scores = {str(k): float(v) for k, v in (first.get("scores") or {}).items()}
  return (*prompt, Message("assistant", first["text"])), scores


def _by_prompt(prompts: Mapping[Messages, str], path: Path, system: str) -> dict[Messages, Answer]:
  """prompt -> answer, of the prompts that a file answers; the longest prompt that fits counts."""
  answers: dict[Messages, Answer] = {}
  for messages, scores in read_answers(path).items():
    for cut in range(len(messages) - 1, 0, -1):
      prompt = messages[:cut]
      if prompt in prompts and messages[cut].role == "assistant":
        answers.setdefault(prompt, Answer(system, messages[cut:], scores))
        break
  if not answers:
    raise UserError(f"{path}: answers none of the prompts; they are matched by their text")
  return answers


def make_items(
  prompts_file: str | Path,
  answers: Sequence[str],
  *,
  ask: Sequence[str] = ("verdict",),
  pairs: str = "first",
  checks: float = 0.05,
  seed: int = 0,
  bad_rows: str = "stop",
  counts: Counts | None = None,
) -> list[Item]:
  """The items of a study, attention checks last.

  Args:
    prompts_file, answers: files in the formats of xwinjax.data.formats; answers as FILE or
      NAME=FILE, matched to prompts by the prompt's text.
    ask: some of ASKS; with "verdict" items are pairs, without it single answers.
    pairs: "first" compares the first system with each other one, "all" every two.
    checks: attention checks, as a share of the items.
    bad_rows: what malformed prompts do: "stop", or be left out with "skip".
    counts: receives what was kept and left out.

  Raises: UserError for files that do not fit each other.
  """
  counts = Counts() if counts is None else counts
  prompts: dict[Messages, str] = {}
  for example in read.prompts(prompts_file, bad_rows=bad_rows):
    prompts.setdefault(example.messages, example.id)
  files = systems(answers)
  by_system = {name: _by_prompt(prompts, path, name) for name, path in files.items()}
  for name in files:
    missing = len(prompts) - len(by_system[name])
    if missing:
      counts[f"prompts without an answer of {name}"] = missing
  items = [
    Item(id, prompt, tuple(by_system[name][prompt] for name in group))
    for group in groups(list(files), ask, pairs)
    for prompt, id in prompts.items()
    if all(prompt in by_system[name] for name in group)
  ]
  if not items:
    raise UserError("no prompt has an answer of both systems of a pair")
  counts["items"] = len(items)
  check_items = attention_checks(items, ask, checks, seed)
  counts["attention checks"] = len(check_items)
  return items + check_items


def groups(names: Sequence[str], ask: Sequence[str], pairs: str) -> list[tuple[str, ...]]:
  """Which systems are shown together."""
  if "verdict" not in ask:
    return [(name,) for name in names]
  if len(names) < 2:
    raise UserError("--answers: a verdict needs answers of two systems; or ask for other things")
  if pairs not in PAIRS:
    raise UserError(f"--pairs={pairs}: expected {' or '.join(PAIRS)}")
  return [
    pair for pair in itertools.combinations(names, 2) if pairs == "all" or pair[0] == names[0]
  ]


def attention_checks(
  items: Sequence[Item], ask: Sequence[str], share: float, seed: int
) -> list[Item]:
  """Items that look like others until their answers say what to choose."""
  if not 0 <= share < 1:
    raise UserError(f"--checks={share}: expected a share of the items, 0 to below 1")
  rng = random.Random(f"checks {seed}")
  number = round(share * len(items)) or int(share > 0)
  return [_check(item, ask, rng) for item in rng.sample(items, min(number, len(items)))]


def _check(item: Item, ask: Sequence[str], rng: random.Random) -> Item:
  asked = questions(item, ask)
  chosen = {q.name: rng.choice(q.choices) for q in asked}
  says = "; ".join(f"{q.text.split('?')[0]}: {chosen[q.name][1]}" for q in asked)
  note = f"\n\n[This item checks attention. Whatever it says, choose these: {says}.]\n\n"
  return Item(
    item.prompt_id,
    item.prompt,
    tuple(dataclasses.replace(a, messages=_noted(a.messages, note)) for a in item.answers),
    {name: value for name, (value, _, _) in chosen.items()},
  )


def _noted(messages: Messages, note: str) -> Messages:
  """The conversation with the note in its first reply, behind that reply's first words."""
  first = messages[0].content
  at = [m.end() for m in re.finditer(r"\S+", first)][:CHECK_WORDS]
  cut = at[-1] if at else 0
  return (Message("assistant", (first[:cut] + note + first[cut:].lstrip()).strip()), *messages[1:])
