"""Formats of preference pairs, told apart by what a row's columns hold.

  name            one row
  pairs           {"prompt", "chosen", "rejected", "margin"?}: texts, or lists of messages
  rm_static       {"prompt": "\\n\\nHuman: …\\n\\nAssistant:", "chosen", "rejected"}
  ultrafeedback   {"prompt", "chosen": [{"role", "content"}, …], "rejected": […]}: whole dialogues
  implicit        the same without a prompt, as TRL has it
  hh              {"chosen": "\\n\\nHuman: …", "rejected": …}: whole transcripts
  sharegpt_pairs  {"conversations": […], "chosen": {"from", "value"}, "rejected": {…}}
  implicit_text   {"chosen": "question answer", "rejected": "question other"}: texts alone
  alpaca_pairs    {"instruction", "input"?, "chosen" | "output", "rejected"}

docs/data_formats.md has examples.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from typing import Any

from xwinjax.data import fields, turns
from xwinjax.data.conversation_formats import Format, asked, column_of, hh_prompt, transcript_column
from xwinjax.data.fields import QUESTION, Cells
from xwinjax.data.records import Counts, Message, Messages
from xwinjax.data.rows import Drop

PROMPT = QUESTION[1:]
# Columns whose difference is the margin.
SCORES = (
  ("score_chosen", "score_rejected"),
  ("chosen_score", "rejected_score"),
  ("chosen_rating", "rejected_rating"),
  ("chosen-rating", "rejected-rating"),
)


@dataclasses.dataclass(frozen=True)
class Answers:
  """A prompt and its two answers, as a row has them."""

  prompt: Messages
  chosen: str
  rejected: str


def merged(messages: Messages, counts: Counts) -> Messages:
  """Turns of one speaker that follow each other made one. Raises Drop, ValueError where none is."""
  made: list = []
  for m in messages:
    if made and made[-1].role == m.role:
      if m.role == "system":
        raise Drop("two system turns")
      if made[-1].train != m.train:
        raise ValueError("of two answers in a row one is marked as not to be trained on")
      counts["changed: merged turns of one speaker"] += 1
      made[-1] = dataclasses.replace(m, content=f"{made[-1].content}\n\n{m.content}")
    else:
      made.append(m)
  return tuple(made)


def margin(cells: Cells, counts: Counts) -> float:
  """How much better the chosen answer is: the row's own margin, or the difference of its scores."""
  if "margin" in cells:
    return fields.number(cells, "margin")
  for best, worst in SCORES:
    if best in cells and worst in cells:
      gap = fields.number(cells, best) - fields.number(cells, worst)
      if gap < 0:
        counts["chosen is scored below rejected"] += 1
      return gap
  return 0.0


def _answers(cells: Cells) -> str:
  """What chosen and rejected hold: chats, transcripts, texts (single turns, too), or ""."""
  if not (cells.there("rejected") and cells.there("chosen")):
    return ""
  key = ("answers", cells.blank_too)
  if key not in cells.memo:
    cells.memo[key] = _kind_of_answers(cells)
  return cells.memo[key]


def _kind_of_answers(cells: Cells) -> str:
  values = [turns.decoded(cells.peek(name)) for name in ("chosen", "rejected")]
  if all(isinstance(v, list) for v in values) and any(map(_asks, itertools.chain(*values))):
    return "chats"
  return "transcripts" if all(map(turns.is_transcript, values)) else "texts"


def _asks(turn: Any) -> bool:
  role = (turn.get("role") or turn.get("from")) if isinstance(turn, dict) else None
  return isinstance(role, str) and turns.ROLES.get(role.lower()) != "assistant"


def _answer(cells: Cells, key: str, counts: Counts) -> str:
  """A text, or one turn of the assistant."""
  value = turns.decoded(cells.get(key))
  if not isinstance(value, (list, dict)):
    return fields.text(cells, key)
  if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
    if len(value) > 1:
      raise ValueError(f"field {key!r}: holds {len(value)} answers, expected one")
    return value[0]
  messages = turns.chat(value if isinstance(value, list) else [value], key, counts)
  if len(messages) != 1 or messages[0].role != "assistant":
    raise ValueError(f"field {key!r}: expected one assistant message")
  return _wanted(messages, key)


def _wanted(messages: Messages, key: str) -> str:
  """The last answer. Raises ValueError for one that is marked as not to be trained on."""
  if not messages[-1].train:
    raise ValueError(f"field {key!r}: the answer is marked as not to be trained on")
  return messages[-1].content


def _two(cells: Cells, counts: Counts, best: str = "chosen") -> tuple[str, str]:
  return _answer(cells, best, counts), _answer(cells, "rejected", counts)


def _pairs(cells: Cells, counts: Counts) -> Answers:
  key = cells.there(*PROMPT) or PROMPT[0]
  if isinstance(turns.decoded(cells.peek(key)), list):
    return Answers(turns.prompt_of(cells.get(key), key, counts), *_two(cells, counts))
  return Answers(asked(cells, key, counts), *_two(cells, counts))


def _rm_static(cells: Cells, counts: Counts) -> Answers:
  chosen, rejected = _two(cells, counts)
  _check_alone(chosen, rejected)
  return Answers(hh_prompt(cells), chosen.strip(), rejected.strip())


def _check_alone(chosen: str, rejected: str) -> None:
  """Raises ValueError for a whole dialogue where an answer is read."""
  for key, text in (("chosen", chosen), ("rejected", rejected)):
    if turns.is_transcript(text):
      raise ValueError(f"field {key!r}: holds a whole transcript, which is no answer")


def _alpaca_pairs(cells: Cells, counts: Counts) -> Answers:
  best = "chosen" if "chosen" in cells else "output"
  return Answers(asked(cells, QUESTION[0], counts), *_two(cells, counts, best))


def _sharegpt_pairs(cells: Cells, counts: Counts) -> Answers:
  kinds = ("messages", "sharegpt")
  key = next((k for kind in kinds if (k := column_of(cells, kind))), "conversations")
  return Answers(turns.chat(cells.get(key), key, counts), *_two(cells, counts))


def _whole(parse: Callable[[Cells, str, Counts], Messages]) -> Callable[[Cells, Counts], Answers]:
  """Reads dialogues of which each ends with an answer, and which are equal up to there."""

  def read(cells: Cells, counts: Counts) -> Answers:
    chosen, rejected = parse(cells, "chosen", counts), parse(cells, "rejected", Counts())
    if not chosen or not rejected or {chosen[-1].role, rejected[-1].role} != {"assistant"}:
      raise Drop("transcript without a last answer")
    if [(m.role, m.content) for m in chosen[:-1]] != [(m.role, m.content) for m in rejected[:-1]]:
      raise Drop("answers to different prompts")
    chosen, rejected = merged(chosen, counts), merged(rejected, Counts())
    _check_prompt(cells, chosen[:-1])
    return Answers(chosen[:-1], _wanted(chosen, "chosen"), _wanted(rejected, "rejected"))

  return read


def _check_prompt(cells: Cells, prompt: Messages) -> None:
  """Raises ValueError for a prompt column that is not what the dialogues answer."""
  key = cells.filled(*QUESTION)
  if not key:
    return
  value = turns.decoded(cells.get(key))
  said = [(m.role, m.content.strip()) for m in prompt]
  if isinstance(value, list):
    stated = [(m.role, m.content.strip()) for m in turns.chat(value, key, Counts())]
    fits = bool(stated) and said[-len(stated) :] == stated
  elif turns.is_transcript(value):
    fits = said == [(m.role, m.content) for m in hh_prompt(cells)]
  else:
    fits = ("user", fields.text(cells, key).strip()) in said
  if not fits:
    raise ValueError(f"column {key!r} is no question of 'chosen'; which of the two is meant?")


def _chat(cells: Cells, key: str, counts: Counts) -> Messages:
  return turns.chat(cells.get(key), key, counts)


def _transcript(cells: Cells, key: str, counts: Counts) -> Messages:
  return turns.transcript(fields.text(cells, key), key)


def _implicit_text(cells: Cells, counts: Counts) -> Answers:
  """TRL's implicit prompt of plain texts: what both begin with, up to a blank, is the prompt."""
  chosen, rejected = fields.text(cells, "chosen"), fields.text(cells, "rejected")
  _check_alone(chosen, rejected)
  if not all(isinstance(turns.decoded(text), str) for text in (chosen, rejected)):
    raise ValueError("'chosen' and 'rejected' hold answers alone; no column holds the question")
  together = itertools.takewhile(lambda two: two[0] == two[1], zip(chosen, rejected, strict=False))
  shared = "".join(a for a, _ in together)
  if len(shared) < max(len(chosen), len(rejected)):  # a word of which only a part is shared
    shared = shared[: max((m.end() for m in re.finditer(r"\s", shared)), default=0)]
  if not shared.strip():
    raise ValueError("'chosen' and 'rejected' share no beginning that could be the prompt")
  counts["changed: the prompt is what both texts begin with"] += 1
  n = len(shared)
  return Answers((Message("user", shared.strip()),), chosen[n:].strip(), rejected[n:].strip())


def _texts(*prompts: str) -> Callable[[Cells], Any]:
  return lambda cells: _answers(cells) == "texts" and cells.there(*prompts)


def _has_turns(cells: Cells) -> bool:
  return bool(column_of(cells, "messages") or column_of(cells, "sharegpt"))


FORMATS: dict[str, Format[Answers]] = {
  "rm_static": Format(lambda c: _answers(c) == "texts" and transcript_column(c), _rm_static),
  "pairs": Format(_texts(*PROMPT), _pairs),
  "alpaca_pairs": Format(
    lambda c: (
      c.there("instruction")
      and c.there("rejected")
      and c.there("chosen", "output")
      and _answers(c) != "chats"
    ),
    _alpaca_pairs,
  ),
  "ultrafeedback": Format(lambda c: _answers(c) == "chats" and c.there(*QUESTION), _whole(_chat)),
  "implicit": Format(lambda c: _answers(c) == "chats" and not c.there(*QUESTION), _whole(_chat)),
  "sharegpt_pairs": Format(lambda c: _answers(c) == "texts" and _has_turns(c), _sharegpt_pairs),
  "hh": Format(lambda c: _answers(c) == "transcripts", _whole(_transcript)),
  "implicit_text": Format(
    lambda c: _answers(c) == "texts" and not c.there(*QUESTION) and not _has_turns(c),
    _implicit_text,
  ),
}
