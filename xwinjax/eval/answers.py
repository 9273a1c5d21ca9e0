"""What several systems answered and what was said of them, from runs and files as published.

A source is a folder or a file, written NAME=PLACE where the name it brings will not do:

  a benchmark's run   annotations.json (AlpacaEval); model_answer.jsonl with its grades (MT-bench)
  a stage's run       candidates.jsonl
  a recipe's run      each of its evaluations, a system each
  a file              candidates; AlpacaEval's outputs or annotations; FastChat's questions, answers
                      or grades; votes (eval/votes.py)

Systems whose answers to a prompt bear scores of one name are compared by them: every candidate of
one with every candidate of the other, as eval/winrate.py does.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import candidates, fields, jsonl
from xwinjax.data.records import prompt_text
from xwinjax.data.sources import sources
from xwinjax.eval import votes
from xwinjax.eval.ballot import Ballot, Row, Vote

Item = tuple[str, int]  # a prompt's text, the turn
DEFAULT_NAME = "model"  # of a run that was given none
NO_JUDGE = ("reference",)  # scores that say nothing of how good an answer is
CATEGORY = ("category", "dataset", "domain", "subset")
MANY = "left out: a second answer of a system to a prompt"


@dataclasses.dataclass
class Answer:
  """A system's answer to an item, or the first of several."""

  text: str | None = None
  characters: float = 0.0  # a mean over all
  tokens: float | None = None
  scores: dict[str, list[float]] = dataclasses.field(default_factory=dict)  # of all candidates


@dataclasses.dataclass
class Answers:
  """All that was read."""

  systems: dict[str, dict[Item, Answer]] = dataclasses.field(default_factory=dict)
  prompts: dict[Item, list[Row]] = dataclasses.field(default_factory=dict)  # turns
  categories: dict[str, str] = dataclasses.field(default_factory=dict)  # by a prompt's text
  ballot: Ballot = dataclasses.field(default_factory=Ballot)


def _category(row: Row) -> str:
  return next((str(row[key]) for key in CATEGORY if row.get(key)), "")


def _asked(*questions: str) -> list[Row]:
  return [{"role": "user", "content": text} for text in questions]


def _one(text: str) -> Answer:
  return Answer(text, len(text))


class _Reader:
  """Reads sources, one after the other, into `found`."""

  def __init__(self, judges: Sequence[str]):
    self.found, self.judges = Answers(), list(judges)
    self.voted: list[tuple[str, Row]] = []  # (where, row); counted together, in `identify`

  def answer(self, system: str, item: Item, answer: Answer) -> None:
    held = self.found.systems.setdefault(system, {}).setdefault(item, Answer())
    if held.text is not None and answer.text not in (None, held.text):
      self.found.ballot.counts[MANY] += 1
      return
    if held.text is None and answer.text is not None:
      held.text, held.characters, held.tokens = answer.text, answer.characters, answer.tokens
    held.scores |= answer.scores

  def asked(self, item: Item, turns: list[Row], category: str = "") -> None:
    self.found.prompts.setdefault(item, turns)
    if category:
      self.found.categories.setdefault(item[0], category)

  def file(self, path: Path, name: str, given: bool) -> None:
    """`name` is the system's where the file says none, and in any case where it was `given`."""
    kind = next((k for k, needed in KINDS.items() if needed <= _first(path).keys()), "")
    if not kind:
      votes.read(path, self.judges, self.found.ballot)
      return
    called = lambda own: name if given or not own or own == DEFAULT_NAME else str(own)
    for line, row in jsonl.read_rows(path):
      try:
        getattr(self, kind)(row, called, path, line)
      except fields.MISTAKES as e:
        raise UserError(f"{path}:{line}: {e}") from None

  def candidates(self, row: Row, called: Callable[[str], str], path: Path, line: int) -> None:
    made = candidates.parse(row, path, line)
    item = (prompt_text(made.prompt), 1)
    turns = [{"role": m.role, "content": m.content} for m in made.prompt]
    self.asked(item, turns, _category(made.meta))
    if not made.candidates:
      return
    names = set.intersection(*(set(c.scores) for c in made.candidates)) - {*NO_JUDGE}
    scores = {name: [c.scores[name] for c in made.candidates] for name in sorted(names)}
    mean = lambda values: float(np.mean(list(values)))
    tokens = mean(c.tokens for c in made.candidates) or None
    characters = mean(len(c.text) for c in made.candidates)
    self.answer(called(""), item, Answer(made.candidates[0].text, characters, tokens, scores))

  def outputs(self, row: Row, called: Callable[[str], str], path: Path, line: int) -> None:
    item = (fields.text(row, "instruction"), 1)
    self.asked(item, _asked(item[0]), _category(row))
    answer = _one(fields.text(row, "output"))
    self.answer(called(row.get("generator", "")), item, answer)

  def annotations(self, row: Row, called: Callable[[str], str], path: Path, line: int) -> None:
    item = (fields.text(row, "instruction"), 1)
    self.asked(item, _asked(item[0]), _category(row))
    row = {**row, "generator_2": called(row["generator_2"])}
    row.setdefault("annotator", path.stem)
    for side in "12":
      if isinstance(text := row.get(f"output_{side}"), str):
        self.answer(row[f"generator_{side}"], item, _one(text))
    self.voted.append((f"{path}:{line}", row))
    self.judges.append(row["annotator"])

  def questions(self, row: Row, called: Callable[[str], str], path: Path, line: int) -> None:
    texts = [str(text) for text in fields.a_list(row, "turns")]
    self.found.ballot.known["mt_bench", str(row["question_id"])] = (texts[0],)
    for turn in range(1, len(texts) + 1):
      self.asked((texts[0], turn), _asked(*texts[:turn]), _category(row))

  def model_answers(self, row: Row, called: Callable[[str], str], path: Path, line: int) -> None:
    prompt = votes.named("mt_bench", row["question_id"])
    for turn, text in enumerate(row["choices"][0]["turns"], 1):
      self.answer(called(row.get("model_id", "")), (prompt, turn), _one(str(text)))

  def grades(self, row: Row, called: Callable[[str], str], path: Path, line: int) -> None:
    judge = row["judge"][0] if isinstance(row["judge"], list) else row["judge"]
    item = (votes.named("mt_bench", row["question_id"]), int(row.get("turn", 1)))
    score = fields.number(row, "score")
    if score >= 0:  # -1 where none could be read
      scores = {f"{judge}, graded": [score]}
      self.answer(called(fields.text(row, "model")), item, Answer(scores=scores))

  def pairs(self, row: Row, called: Callable[[str], str], path: Path, line: int) -> None:
    judge = row["judge"][0] if isinstance(row["judge"], list) else row["judge"]
    row = {**row, "model_2": called(row["model_2"]), "judge": judge}
    self.voted.append((f"{path}:{line}", row))
    self.judges.append(judge)

  def identify(self) -> None:
    """Questions that were named by number get their text."""
    texts = {votes.named(*key): words[0] for key, words in self.found.ballot.known.items()}
    for held in self.found.systems.values():
      for prompt, turn in list(held):
        if prompt in texts:
          held[texts[prompt], turn] = held.pop((prompt, turn))
    votes.collect(self.voted, list(dict.fromkeys(self.judges)), self.found.ballot)


KINDS = {  # a method of _Reader -> the keys of its rows
  "candidates": {"prompt", "candidates"},
  "annotations": {"instruction", "preference", "generator_1", "generator_2"},
  "outputs": {"instruction", "output"},
  "questions": {"question_id", "turns"},
  "model_answers": {"question_id", "choices"},
  "grades": {"question_id", "score", "model", "judge"},
  "pairs": {"question_id", "model_1", "model_2", "g1_winner"},
}


def _first(path: Path) -> Row:
  if path.suffix == ".txt":
    return {}
  with jsonl.open_bytes(path) as file:
    if file.read(16) == b"SQLite format 3\0":
      return {}
  return next((row for _, row in jsonl.read_rows(path)), {})


def _files(folder: Path) -> list[tuple[str, Path]]:
  """(the system's name within the folder, file) of what a run left."""
  if (folder / "annotations.json").exists():
    return [("", folder / "annotations.json")]
  if (folder / "model_answer.jsonl").exists():
    found = [folder / n for n in ("model_answer.jsonl", "single.jsonl", "pair.jsonl")]
    asked = jsonl.read_json(folder / "manifest.json") if (folder / "manifest.json").exists() else {}
    found = [Path(asked.get("input_paths", {}).get("questions", "")), *found]
    return [("", path) for path in found if path.is_file()]
  for name in ("candidates.jsonl", "model_outputs.json"):
    if (folder / name).exists():
      return [("", folder / name)]
  evaluations = sorted(
    path
    for pattern in ("*/candidates.jsonl", "*/*/candidates.jsonl")
    for path in folder.glob(pattern)
    if path.parent.name.startswith("evaluate")
  )
  where = lambda path: path.parent.relative_to(folder).as_posix()
  plain = lambda name: name.replace("evaluate_", "").removesuffix("/evaluate")
  return [(plain(where(path)), path) for path in evaluations]


def read(specs: Sequence[str], judges: Sequence[str] = ()) -> Answers:
  """All sources together; votes of the annotators named `judges` are kept apart.

  Raises: UserError for a place without anything to compare, by line for a malformed row.
  """
  reader = _Reader(judges)
  for source in sources(specs):
    name, place, given = source.name, source.path, source.given
    if not place.exists():
      raise UserError(f"{place}: no such folder or file; expected PLACE or NAME=PLACE")
    if not place.is_dir():
      reader.file(place, name, given)
      continue
    files = _files(place)
    if not files:
      raise UserError(
        f"{place}: holds no candidates.jsonl, annotations.json, model_answer.jsonl or evaluations"
      )
    for inner, path in files:
      full = f"{name}/{inner}" if inner and len(specs) > 1 else inner or name
      reader.file(path, full, given or bool(inner))
  reader.identify()
  found = reader.found
  of_scores = votes_of_scores(found)
  votes.add(found.ballot, of_scores, sorted({v.annotator for v in of_scores}))
  return found


def votes_of_scores(found: Answers) -> list[Vote]:
  """What scores of one name say of every two systems that bear them."""
  made = []
  for (a, ours), (b, theirs) in itertools.combinations(found.systems.items(), 2):
    for item, answer in ours.items():
      other = theirs.get(item, Answer())
      for name in answer.scores.keys() & other.scores.keys():
        gap = np.subtract.outer(answer.scores[name], other.scores[name])
        share = float(np.mean((gap > 0) + (gap == 0) / 2))
        label = "A" if share > 0.5 else "B" if share < 0.5 else "tie"
        made.append(Vote(item[0], name, a, b, label, item[1], share=share))
  return made
