"""Formats of conversations, told apart by what a row's columns hold.

  name            one row
  messages        {"messages": [{"role", "content", "weight"?}, …]}
  sharegpt        {"conversations": [{"from", "value"}, …], "system"?}
  lima            {"conversations": ["question", "answer", …]}
  transcript      {"text": "\\n\\nHuman: …\\n\\nAssistant: …"}
  self_instruct   {"instruction", "instances": [{"input", "output"}]}
  mt_bench        {"question_id", "turns": ["question", …]}
  candidates      {"prompt", "candidates": [{"text", …}]}
  hh_prompt       {"prompt": "\\n\\nHuman: …\\n\\nAssistant:", "response"?}
  alpaca_eval     {"instruction", "output", "generator"}
  dolly           {"instruction", "context", "response"}
  alpaca          {"instruction", "input"?, "output", "system"?, "history"?}
  prompt          {"prompt", "completion"?}: texts, or lists of messages
  question        {"question", "answer" | "response"?, "system_prompt"?}

Lists of turns may lie in any column of TURNS, as JSON text too. docs/data_formats.md has examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from xwinjax.data import fields, turns
from xwinjax.data.fields import Cells
from xwinjax.data.records import Counts, Message, Messages

R = TypeVar("R")
TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
QUESTION = ("instruction", "prompt", "question", "query")
CONTEXT = ("input", "context")
ANSWER = ("output", "response", "completion", "answer")


@dataclasses.dataclass(frozen=True)
class Format(Generic[R]):
  """A way to read a row."""

  fits: Callable[[Cells], Any]  # whether a row holds what this format reads
  read: Callable[[Cells, Counts], R]  # raises ValueError for a row that does not fit


def column_of(cells: Cells, kind: str) -> str:
  """The first column whose turns are of a kind: messages, sharegpt, lima, mt_bench, transcript."""
  key = ("turns", cells.blank_too)
  if key not in cells.memo:
    there = [name for name in TURNS if cells.there(name)]
    kinds = [(_kind(name, cells.peek(name)), name) for name in there]
    if turns.is_transcript(cells.peek("text")):
      kinds.append(("transcript", "text"))
    cells.memo[key] = dict(reversed(kinds))  # of equals the first
  return cells.memo[key].get(kind, "")


def _kind(name: str, value: Any) -> str:
  if turns.is_transcript(value):
    return "transcript"
  value = turns.decoded(value)
  if isinstance(value, list) and value and isinstance(value[0], str):
    return "mt_bench" if name == "turns" else "lima"
  return "sharegpt" if turns.names_of(value) == turns.SHAREGPT else "messages"


def _chats(kind: str, names: turns.Names, default: str) -> Format[Messages]:
  def read(cells: Cells, counts: Counts) -> Messages:
    key = column_of(cells, kind) or default
    found = turns.chat(cells.get(key), key, counts, names)
    return turns.with_loss_mask(found, cells.get("loss_mask"))

  return Format(lambda cells: column_of(cells, kind), read)


def _lima(cells: Cells, counts: Counts) -> Messages:
  return turns.alternating(fields.a_list(cells, column_of(cells, "lima") or "conversations"))


def _transcript(cells: Cells, counts: Counts) -> Messages:
  key = column_of(cells, "transcript") or "text"
  return turns.transcript(fields.text(cells, key), key)


def asked(cells: Cells, key: str) -> Messages:
  """The question of a column after its history, followed by its context on a line of its own."""
  held = [name for name in CONTEXT if cells.filled(name)]
  if len(held) > 1:
    raise ValueError(f"columns {held[0]!r} and {held[1]!r} both hold something; expected one")
  texts = [fields.text(cells, name) for name in (key, *held)]
  if held:
    texts = [text for text in texts if text.strip()]
  return (*_history(cells), Message("user", "\n".join(texts)))


def _history(cells: Cells) -> Messages:
  history = cells.get("history") or []
  if turns.names_of(history):
    return turns.chat(history, "history", Counts())
  texts = []
  if not isinstance(history, list):
    raise ValueError(f"field 'history': found {type(history).__name__}, expected a list")
  for i, exchange in enumerate(history):
    pair = isinstance(exchange, list) and len(exchange) == 2
    if not (pair and all(isinstance(t, str) for t in exchange)):
      raise ValueError(f"history[{i}]: expected [question, answer]")
    texts += exchange
  return turns.alternating(texts)


def _exchange(
  questions: tuple[str, ...], answers: tuple[str, ...]
) -> Callable[[Cells, Counts], Messages]:
  """Reads a question, what belongs to it, and an answer where there is one."""

  def read(cells: Cells, counts: Counts) -> Messages:
    key = cells.there(*questions) or questions[0]
    return asked(cells, key) + _answer(cells, answers, counts)

  return read


def _answer(cells: Cells, names: tuple[str, ...], counts: Counts) -> Messages:
  name = cells.there(*names) or next((n for n in names if n in cells), "")
  if not name:
    return ()
  value = turns.decoded(cells.get(name)) if name == "completion" else cells.get(name)
  if isinstance(value, list):
    return turns.chat(value, name, counts)
  return (Message("assistant", fields.text(cells, name)),)


def _prompt(cells: Cells, counts: Counts) -> Messages:
  """Messages, or plain text with what belongs to it."""
  answer = _answer(cells, ("completion", "response", "output", "answer"), counts)
  if isinstance(turns.decoded(cells.peek("prompt")), list):
    return turns.prompt_of(cells.get("prompt"), "prompt", counts) + answer
  return asked(cells, "prompt") + answer


def transcript_column(cells: Cells) -> str:
  """The first column of a question that holds a transcript, or ""."""
  return next((name for name in QUESTION if turns.is_transcript(cells.peek(name))), "")


def hh_prompt(cells: Cells) -> Messages:
  """The transcript in the column of a question, without the "Assistant:" that it may end with."""
  key = transcript_column(cells) or "prompt"
  found = turns.transcript(fields.text(cells, key), key)
  opened = found[-1].role == "assistant" and not found[-1].content
  return found[:-1] if opened else found


def _hh_exchange(cells: Cells, counts: Counts) -> Messages:
  answer = _answer(cells, ("response", "completion", "output", "answer"), counts)
  return hh_prompt(cells) + tuple(dataclasses.replace(m, content=m.content.strip()) for m in answer)


def _self_instruct(cells: Cells, counts: Counts) -> Messages:
  instances = fields.a_list(cells, "instances")
  if not instances or not isinstance(instances[0], dict):
    raise ValueError("field 'instances': expected a list of objects")
  if len(instances) > 1:
    counts["changed: only the first instance read"] += 1
  first = Cells({"instruction": cells.get("instruction"), **instances[0]})
  return asked(first, "instruction") + _answer(first, ("output",), counts)


def _mt_bench(cells: Cells, counts: Counts) -> Messages:
  questions = fields.a_list(cells, "turns")
  if len(questions) > 1:
    counts["changed: only the first question read"] += 1
  return turns.alternating(questions[:1])


def _candidates(cells: Cells, counts: Counts) -> Messages:
  fields.a_list(cells, "candidates")
  return turns.prompt_of(cells.get("prompt"), "prompt", counts)


def _dolly(cells: Cells) -> bool:
  mine = cells.there("context", "response") and not cells.there("output", "input")
  return bool(mine and cells.there("instruction"))


FORMATS: dict[str, Format[Messages]] = {
  "candidates": Format(lambda c: isinstance(c.peek("candidates"), list), _candidates),
  "messages": _chats("messages", turns.OPENAI, "messages"),
  "sharegpt": _chats("sharegpt", turns.SHAREGPT, "conversations"),
  "lima": Format(lambda c: column_of(c, "lima"), _lima),
  "transcript": Format(lambda c: column_of(c, "transcript"), _transcript),
  "self_instruct": Format(
    lambda c: c.there("instruction") and isinstance(c.peek("instances"), list), _self_instruct
  ),
  "mt_bench": Format(lambda c: column_of(c, "mt_bench"), _mt_bench),
  "hh_prompt": Format(transcript_column, _hh_exchange),
  "alpaca_eval": Format(
    lambda c: c.there("instruction") and c.there("generator"), _exchange(QUESTION[:1], ANSWER)
  ),
  "dolly": Format(_dolly, _exchange(QUESTION[:1], ("response",))),
  "alpaca": Format(
    lambda c: c.there("instruction") and not (c.there("instances", "generator") or _dolly(c)),
    _exchange(QUESTION[:1], ANSWER),
  ),
  "prompt": Format(
    lambda c: c.there("prompt") and not isinstance(c.peek("candidates"), list), _prompt
  ),
  "question": Format(
    lambda c: isinstance(c.peek("question") or c.peek("query"), str),
    _exchange(QUESTION[2:], ("response", "output", "completion", "answer")),
  ),
}
