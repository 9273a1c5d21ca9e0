"""Pairs told by who was found better: two answers and a verdict, or several and their ratings.

  name       one row
  verdict    {"prompt" | "question" | …, "response_a", "response_b", "label": "A"}
  rated      {"instruction", "completions": [{"response", "overall_score"}, …]}: UltraFeedback as it
             was made, {"prompt", "answers": [{"answer", "rank"}]}: Nectar
  listed     {"instruction", "output": ["better", "worse"]}
  tree_pair  OpenAssistant's trees: of the first question with two ranked replies, first and last

What such a row says is written as `chosen` and `rejected`, and read as any other pair.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from xwinjax.data import fields, turns
from xwinjax.data.conversation_formats import Format, is_tree, ranked
from xwinjax.data.fields import QUESTION, Cells, is_empty
from xwinjax.data.preference_formats import FORMATS as PAIRS
from xwinjax.data.preference_formats import Answers
from xwinjax.data.records import Counts, Message
from xwinjax.data.rows import Drop

# Two answers, and what numbers in a verdict stand for: the first, the second.
TWO: tuple[tuple[str, str, tuple[int, ...]], ...] = (
  ("response_a", "response_b", ()),
  ("answer_a", "answer_b", ()),
  ("completion_a", "completion_b", ()),
  ("conversation_a", "conversation_b", ()),
  ("human_ref_a", "human_ref_b", (1, 0)),  # SHP: labels is 1 where A is preferred
  ("output_1", "output_2", (1, 2)),
  ("response_1", "response_2", (1, 2)),
  ("response1", "response2", (1, 2)),
  ("response_0", "response_1", (0, 1)),
  ("answer_0", "answer_1", (0, 1)),
)
VERDICTS = (
  *("label", "labels", "winner", "preference", "overall_preference", "verdict", "choice"),
  *("better", "better_response_id"),
)
_FIRST = ("a", "model_a", "response_a", "answer_a", "a>b", "a>>b", "[[a]]", "assistant a")
_SECOND = tuple(w.translate(str.maketrans("ab><", "ba><")) for w in _FIRST[:4])
_SECOND = (*_SECOND, "b>a", "b>>a", "a<b", "a<<b", "[[b]]", "assistant b")
_TIES = ("tie", "tie (bothbad)", "both", "neither", "draw", "a=b", "[[c]]", "c", "both_bad")
BEST_AND_WORST = "changed: of several answers the best and the worst"
# Keys of an answer among several, and of what it is worth.
_TEXT = ("response", "answer", "text", "completion", "output")
_WORTH = ("fine-grained_score", "overall_score", "score", "rating")


def two(cells: Cells) -> tuple[str, str, tuple[int, ...]] | None:
  """The columns of two answers, where "chosen" and "rejected" say nothing."""
  if "rejected" in cells:
    return None
  return next((t for t in TWO if t[0] in cells and t[1] in cells), None)


_COLUMNS = {"rejected", "completions", "answers", *(first for first, _, _ in TWO)}


def may_be_pair(cells: Cells) -> bool:
  """Whether a look at the formats of pairs is worth its time."""
  if not _COLUMNS.isdisjoint(cells):
    return True
  return isinstance(cells.peek("output"), list) or isinstance(cells.peek("prompt"), dict)


def _verdict(cells: Cells, counts: Counts) -> Answers:
  found = two(cells)
  if found is None:
    raise ValueError("expected two answers, such as 'response_a' and 'response_b'")
  first, second, numbers = found
  names = [name for name in VERDICTS if name in cells]
  if not names:
    raise ValueError(
      f"{first!r} and {second!r}: no column says which is better; expected one of "
      f"{', '.join(VERDICTS)}"
    )
  if len(names) > 1:
    raise ValueError(f"columns {names[0]!r} and {names[1]!r} both give a verdict; expected one")
  better = _which(cells.get(names[0]), names[0], numbers)
  best, worst = (first, second) if better == 0 else (second, first)
  kept = {k: v for k, v in cells.items() if k not in (first, second)}
  answers = Cells({**kept, "chosen": cells.get(best), "rejected": cells.get(worst)})
  return _as_pair(answers, cells, counts)


def _which(value: Any, name: str, numbers: tuple[int, ...]) -> int:
  """0 for the first, 1 for the second. Raises Drop for a tie, ValueError for what is unclear."""
  if isinstance(value, str):
    word = value.strip().lower()
    for which, words in enumerate((_FIRST, _SECOND)):
      if word in words:
        return which
    if word in _TIES:
      raise Drop("a tie")
    value = int(word) if word.isdigit() else value
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if name == "overall_preference" and number:  # HelpSteer 3: from -3, the first, to 3
    numbers, value = (-1, 1), (value > 0) - (value < 0)
  if name == "preference" and numbers == (1, 2) and number and 1 < value < 2:
    value = 1.5 if value == 1.5 else round(value)  # AlpacaEval's weighted ones
  if number and value in numbers:
    return numbers.index(value)
  if number and (numbers, value) in (((1, 2), 0), ((1, 2), 1.5), ((-1, 1), 0)):
    raise Drop("a tie")
  known = ", ".join(["A", "B", "tie", *map(str, numbers)])
  raise ValueError(f"column {name!r} is {value!r:.40}; expected one of {known}")


def _as_pair(row: Cells, cells: Cells, counts: Counts) -> Answers:
  """Reads a row with `chosen` and `rejected`; what it used counts as used of `cells`."""
  name = next((name for name, f in PAIRS.items() if f.fits(row)), None)
  if name is None:
    raise ValueError(f"no column holds the question; expected one of {', '.join(QUESTION)}")
  found = PAIRS[name].read(row, counts)
  cells.used |= row.used
  return found


def _many(cells: Cells) -> str:
  """The column of several answers with ratings or ranks, or ""."""
  for name in ("completions", "answers"):
    value = cells.peek(name)
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
      return name
  return ""


def _rated(cells: Cells, counts: Counts) -> Answers:
  """The best rated answer against the worst."""
  key = _many(cells)
  answers = fields.a_list(cells, key or "completions")
  worths = [_worth(answer) for answer in answers]
  known = sorted((w, -i) for i, w in enumerate(worths) if w is not None)  # of equals the first
  if len(known) < 2:
    raise Drop("fewer than two answers with a rating")
  (most, best), (least, worst) = known[-1], known[0]
  if most == least:
    raise Drop("all answers are rated the same")
  kept = {k: v for k, v in cells.items() if k not in (key, "output", "response", "answer")}
  texts = {"chosen": _text_of(answers[-best]), "rejected": _text_of(answers[-worst])}
  if len(answers) > 2:
    counts[BEST_AND_WORST] += 1
  row = Cells({**kept, **texts})
  found = _as_pair(row, cells, counts)
  if "rank" not in answers[-best] and "margin" not in cells:
    cells["margin"] = most - least
  return found


def _text_of(answer: dict[str, Any]) -> str:
  return fields.text(answer, next((key for key in _TEXT if key in answer), _TEXT[0]))


def _worth(answer: dict[str, Any]) -> float | None:
  """What an answer is worth: the mean of its aspects' ratings, its score, or how high it ranks."""
  aspects = answer.get("annotations")
  if isinstance(aspects, dict):
    given = [a.get("Rating", a.get("rating")) for a in aspects.values() if isinstance(a, dict)]
    numbers = [float(str(g)) for g in given if str(g).replace(".", "", 1).isdigit()]
    if numbers:
      return statistics.fmean(numbers)
  for key in _WORTH:
    if not is_empty(answer.get(key)):
      return fields.number(answer, key)
  if "rank" in answer:
    return -fields.number(answer, "rank")
  return None


def _listed(cells: Cells, counts: Counts) -> Answers:
  better, worse = cells.get("output")
  kept = {k: v for k, v in cells.items() if k != "output"}
  return _as_pair(Cells({**kept, "chosen": better, "rejected": worse}), cells, counts)


def _ranked(cells: Cells) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
  """The turns up to the first question that has two ranked replies, and these, best first."""
  node, path = cells.peek("prompt") if is_tree(cells) else None, []
  while isinstance(node, dict):
    path.append(node)
    replies = ranked(node)
    rated = [reply for reply in replies if reply.get("rank") is not None]
    if turns.ROLES.get(str(node.get("role"))) == "user" and len(rated) > 1:
      return path, rated
    node = next(iter(replies), None)
  return None


def _tree_pair(cells: Cells, counts: Counts) -> Answers:
  cells.used.add("prompt")
  if (found := _ranked(cells)) is None:
    raise Drop("no question with two ranked replies")
  path, rated = found
  if len(rated) > 2:
    counts[BEST_AND_WORST] += 1
  if any(ranked(reply) for reply in (rated[0], rated[-1])):
    counts["changed: turns behind the ranked answers left out"] += 1
  said = tuple(Message(turns.ROLES[str(n["role"])], fields.text(n, "text")) for n in path)
  return Answers(said, fields.text(rated[0], "text"), fields.text(rated[-1], "text"))


def _lists_two(cells: Cells) -> bool:
  value = cells.peek("output")
  two_texts = isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)
  return two_texts and "rejected" not in cells and bool(cells.there(*QUESTION))


def _without(fits: Callable[[Cells], Any]) -> Callable[[Cells], Any]:
  return lambda cells: "rejected" not in cells and fits(cells)


JUDGED: dict[str, Format[Answers]] = {
  "verdict": Format(two, _verdict),
  "rated": Format(_without(_many), _rated),
  "listed": Format(_lists_two, _listed),
  "tree_pair": Format(_without(_ranked), _tree_pair),
}
FORMATS = {**PAIRS, **JUDGED}
