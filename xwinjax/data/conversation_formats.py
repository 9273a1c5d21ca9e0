"""Formats of conversations, told apart by what a row's columns hold.

  name            one row
  messages        {"messages": [{"role", "content", "weight"?}, …]}
  sharegpt        {"conversations": [{"from", "value"}, …], "system"?}
  lima            {"conversations": ["question", "answer", …]}
  transcript      {"text": "\\n\\nHuman: …\\n\\nAssistant: …"}
  self_instruct   {"instruction", "instances": [{"input", "output"}]}
  mt_bench        {"question_id", "turns": ["question", …]}
  tree            {"prompt": {"text", "role", "replies": [{"text", "role", "rank", "replies"}]}}
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
from xwinjax.data.fields import QUESTION, Cells
from xwinjax.data.records import Counts, Message, Messages

R = TypeVar("R")
TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
LOOSE = ("data", "items", "chat")  # hold turns where their values say so
CONTEXT = ("input", "context")
NOTHING = ("noinput", "no input")  # what Alpaca's files say for no input, in brackets or not
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
    there += [n for n in LOOSE if n in cells and _holds_turns(cells.peek(n))]
    kinds = [(_kind(name, cells.peek(name)), name) for name in there]
    if turns.is_transcript(cells.peek("text")):
      kinds.append(("transcript", "text"))
    cells.memo[key] = dict(reversed(kinds))  # of equals the first
  return cells.memo[key].get(kind, "")


def _holds_turns(value: Any) -> bool:
  """Whether a value is a list of at least two turns, with names or as texts alone."""
  if not isinstance(value, list) or len(value) < 2:
    return False
  return turns.names_of(value) is not None or all(isinstance(v, str) for v in value)


def _kind(name: str, value: Any) -> str:
  if turns.is_transcript(value):
    return "transcript"
  value = turns.decoded(value)
  if isinstance(value, list) and value and isinstance(value[0], str):
    return "mt_bench" if name == "turns" else "lima"
  names = turns.names_of(value)
  return "sharegpt" if names and names[0] == "from" else "messages"


def _chats(kind: str, names: turns.Names, default: str) -> Format[Messages]:
  def read(cells: Cells, counts: Counts) -> Messages:
    key = column_of(cells, kind) or default
    value = turns.decoded(cells.get(key))
    mine = column_of(cells, kind) and turns.names_of(value)
    found = turns.chat(value, key, counts, mine or names)
    return turns.with_loss_mask(found, cells.get("loss_mask"))

  return Format(lambda cells: column_of(cells, kind), read)


def _lima(cells: Cells, counts: Counts) -> Messages:
  return turns.alternating(fields.a_list(cells, column_of(cells, "lima") or "conversations"))


def _transcript(cells: Cells, counts: Counts) -> Messages:
  key = column_of(cells, "transcript") or "text"
  return turns.transcript(fields.text(cells, key), key)


def asked(cells: Cells, key: str, counts: Counts) -> Messages:
  """The question of a column after its history, followed by its context on a line of its own."""
  held = [name for name in CONTEXT if cells.filled(name)]
  if "input" in held and str(cells.peek("input")).strip("<>(). \n").lower() in NOTHING:
    cells.used.add("input")
    counts["changed: input <noinput> left out"] += 1
    held.remove("input")
  if len(held) > 1:
    raise ValueError(f"columns {held[0]!r} and {held[1]!r} both hold something; expected one")
  texts = [fields.text(cells, name) for name in (key, *held)]
  if held:
    texts = [text for text in texts if text.strip()]
  return (*_history(cells), Message("user", "\n".join(texts)))


def _history(cells: Cells) -> Messages:
  history = cells.get("history")
  if not history:
    return ()
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
    return asked(cells, key, counts) + _answer(cells, answers, counts)

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
  return asked(cells, "prompt", counts) + answer


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
  return asked(first, "instruction", counts) + _answer(first, ("output",), counts)


def _mt_bench(cells: Cells, counts: Counts) -> Messages:
  questions = fields.a_list(cells, "turns")
  if len(questions) > 1:
    counts["changed: only the first question read"] += 1
  return turns.alternating(questions[:1])


def _candidates(cells: Cells, counts: Counts) -> Messages:
  fields.a_list(cells, "candidates")
  return turns.prompt_of(cells.get("prompt"), "prompt", counts)


def _tree(cells: Cells, counts: Counts) -> Messages:
  """OpenAssistant's tree of replies: the one that people ranked first, of each."""
  made: list[Message] = []
  node = cells.get("prompt")
  while node:
    text, role = fields.text(node, "text"), turns.ROLES.get(str(node.get("role")))
    if role is None:
      raise ValueError(f"prompt: role {node.get('role')!r} is not one of prompter, assistant")
    made.append(Message(role, text))
    replies = ranked(node)
    if len(replies) > 1:
      counts["changed: of several replies the one ranked first"] += 1
    node = next(iter(replies), None)
  return tuple(made)


def ranked(node: dict[str, Any]) -> list[dict[str, Any]]:
  """The replies to a node of a tree, best first; those without a rank come last."""
  replies = [r for r in node.get("replies") or [] if isinstance(r, dict) and not r.get("deleted")]
  rank = lambda reply: fields.number(reply, "rank", float("inf"))
  return sorted(replies, key=rank)


def is_tree(cells: Cells) -> bool:
  """Whether a row is a tree of messages, as OpenAssistant's *trees* files have them."""
  prompt = cells.peek("prompt")
  return isinstance(prompt, dict) and isinstance(prompt.get("replies"), list)


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
  "tree": Format(is_tree, _tree),
  "prompt": Format(
    lambda c: c.there("prompt") and not (isinstance(c.peek("candidates"), list) or is_tree(c)),
    _prompt,
  ),
  "question": Format(
    lambda c: isinstance(c.peek("question") or c.peek("query"), str),
    _exchange(QUESTION[2:], ("response", "output", "completion", "answer")),
  ),
}
