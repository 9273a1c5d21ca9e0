"""Readers: what the field's files hold, as our records.

  name            one row                                                  read as
  messages        {"messages": [{"role", "content"}, …]}                   example, prompt
  alpaca          {"instruction", "input"?, "output", "history"?}          example, prompt
  alpaca_pairs    {"instruction", "input"?, "chosen"|"output", "rejected"} pair
  alpaca_eval     {"instruction", "output", "generator"}                   example, prompt
  sharegpt        {"conversations": [{"from", "value"}, …]}                example, prompt
  lima            {"conversations": ["question", "answer", …]}             example, prompt
  hh              {"chosen": "\\n\\nHuman: …", "rejected": …}                pair
  pairs           {"prompt", "chosen", "rejected", "margin"?}              pair
  prompt          {"prompt", "completion"?}                                prompt, example
  self_instruct   {"instruction", "instances": [{"input", "output"}]}      example, prompt
  mt_bench        {"question_id", "turns": […]}                            prompt
  candidates      {"prompt", "candidates": [{"text", …}]}                  prompt

Malformed rows end in one line naming file and line. Rows that are well formed but of no use
(an empty answer, equal answers) are dropped and counted under their reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from xwinjax.core.errors import UserError
from xwinjax.data import fields, jsonl
from xwinjax.data.fields import Row
from xwinjax.data.records import Counts, Example, Message, Messages, Pair

T = TypeVar("T")

_SHAREGPT_ROLES = {
  "system": "system",
  "human": "user",
  "user": "user",
  "gpt": "assistant",
  "chatgpt": "assistant",
  "assistant": "assistant",
  "bing": "assistant",
  "bard": "assistant",
}
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")


class Drop(Exception):
  """A well-formed row of no use; the message is the reason it is counted under."""


def _instruction(row: Row) -> str:
  instruction, extra = fields.text(row, "instruction"), fields.text(row, "input", optional=True)
  return f"{instruction}\n{extra}" if extra.strip() else instruction


def _alpaca(row: Row) -> Messages:
  turns = []
  for i, exchange in enumerate(row.get("history") or []):
    if not (isinstance(exchange, list) and all(isinstance(t, str) for t in exchange)):
      raise ValueError(f"history[{i}]: expected [question, answer]")
    turns += exchange
  turns += [_instruction(row), fields.text(row, "output", optional=True)]
  return _alternating(turns)


def _alternating(texts: list) -> Messages:
  if not all(isinstance(t, str) for t in texts):
    raise ValueError("a turn is not text")
  return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


def _sharegpt(row: Row) -> Messages:
  messages = []
  for i, turn in enumerate(fields.a_list(row, "conversations")):
    if not isinstance(turn, dict):
      raise ValueError(f"conversations[{i}]: found {type(turn).__name__}, expected an object")
    role = _SHAREGPT_ROLES.get(fields.text(turn, "from"))
    if role is None:
      raise ValueError(
        f"conversations[{i}]: from {turn['from']!r} is not one of {', '.join(_SHAREGPT_ROLES)}"
      )
    messages.append(Message(role, fields.text(turn, "value")))
  return tuple(messages)


def _self_instruct(row: Row) -> Messages:
  instances = fields.a_list(row, "instances")
  if not instances or not isinstance(instances[0], dict):
    raise ValueError("field 'instances': expected a list of objects")
  first = instances[0]
  question = _instruction({"instruction": row.get("instruction"), "input": first.get("input")})
  return _alternating([question, fields.text(first, "output", optional=True)])


def _prompt_completion(row: Row) -> Messages:
  prompt = fields.messages(row.get("prompt"), "prompt")
  completion = row.get("completion")
  if completion is None:
    return prompt
  return prompt + (
    (Message("assistant", completion),)
    if isinstance(completion, str)
    else fields.messages(completion, "completion")
  )


def _hh_transcript(text: str, key: str) -> Messages:
  pieces = _HH_TURN.split(text)
  if len(pieces) < 5 or pieces[0].strip():
    raise ValueError(
      f"field {key!r}: expected a transcript of '\\n\\nHuman:' and '\\n\\nAssistant:' turns"
    )
  roles = {"Human": "user", "Assistant": "assistant"}
  turns = zip(pieces[1::2], pieces[2::2], strict=True)
  return tuple(Message(roles[who], content.strip()) for who, content in turns)


_CONVERSATIONS: dict[str, Callable[[Row], Messages]] = {
  "messages": lambda row: fields.messages(row.get("messages"), "messages"),
  "alpaca": _alpaca,
  "alpaca_eval": _alpaca,
  "sharegpt": _sharegpt,
  "lima": lambda row: _alternating(fields.a_list(row, "conversations")),
  "prompt": _prompt_completion,
  "self_instruct": _self_instruct,
  "mt_bench": lambda row: _alternating(fields.a_list(row, "turns")[:1]),
  "candidates": lambda row: fields.messages(row.get("prompt"), "prompt"),
  "pairs": lambda row: fields.messages(row.get("prompt"), "prompt"),
}
FORMATS = (*_CONVERSATIONS, "alpaca_pairs", "hh")


def detect(row: Row) -> str:
  """The format of a row, by its keys. Raises ValueError when none fits."""
  keys = row.keys()
  if "candidates" in keys:
    return "candidates"
  if "chosen" in keys and "rejected" in keys and "prompt" in keys:
    return "pairs"
  if "rejected" in keys and "instruction" in keys:
    return "alpaca_pairs"
  if "chosen" in keys and "rejected" in keys:
    return "hh"
  if "messages" in keys:
    return "messages"
  if "conversations" in keys:
    turns = row["conversations"]
    return "lima" if isinstance(turns, list) and turns and isinstance(turns[0], str) else "sharegpt"
  if "instances" in keys and "instruction" in keys:
    return "self_instruct"
  if "turns" in keys:
    return "mt_bench"
  if "instruction" in keys:
    return "alpaca_eval" if "generator" in keys else "alpaca"
  if "prompt" in keys:
    return "prompt"
  raise ValueError(
    f"unknown format (keys: {', '.join(sorted(keys)) or 'none'}); "
    f"name one with format={'|'.join(FORMATS)}"
  )


def _tidy(messages: Messages, counts: Counts) -> Messages:
  """Merges turns of one speaker that follow each other; drops what no template can render."""
  merged: list[Message] = []
  for m in messages:
    if merged and merged[-1].role == m.role:
      if m.role == "system":
        raise Drop("two system turns")
      counts["changed: merged turns of one speaker"] += 1
      merged[-1] = Message(m.role, f"{merged[-1].content}\n\n{m.content}")
    else:
      merged.append(m)
  start = 1 if merged and merged[0].role == "system" else 0
  if any(m.role == "system" for m in merged[start:]):
    raise Drop("system turn in the middle")
  if len(merged) <= start:
    raise Drop("no turns")
  if merged[start].role != "user":
    raise Drop("assistant turn first")
  if any(not m.content.strip() for m in merged[start:-1]):
    raise Drop("empty turn")
  return tuple(merged)


def _read(
  path: str | Path, format: str, counts: Counts, parse: Callable[[str, Row, Path, int], T]
) -> Iterator[T]:
  if format != "auto" and format not in FORMATS:
    raise UserError(f"format {format!r} is not one of auto, {', '.join(FORMATS)}")
  path = Path(path)
  for line, row in jsonl.read_rows(path):
    counts["read"] += 1
    try:
      record = parse(detect(row) if format == "auto" else format, row, path, line)
    except Drop as reason:
      counts[f"dropped: {reason}"] += 1
      continue
    except fields.MISTAKES as e:
      raise UserError(f"{path}:{line}: {e}") from None
    counts["kept"] += 1
    yield record


def _conversation(format: str, row: Row) -> Messages:
  if format not in _CONVERSATIONS:
    raise ValueError(f"format {format!r} holds pairs, not conversations")
  return _CONVERSATIONS[format](row)


def parse_conversation(row: Row, format: str = "messages") -> Messages:
  """One row's conversation as it stands; it may end with a question. Raises ValueError."""
  try:
    return _tidy(_conversation(format, row), Counts())
  except Drop as reason:
    raise ValueError(str(reason)) from None


def read_examples(
  path: str | Path, format: str = "auto", counts: Counts | None = None
) -> Iterator[Example]:
  """Conversations to train on: each ends with an answer.

  Args:
    path: .json, .jsonl, either with .gz, or .parquet.
    format: a name from this module's table, or "auto" to go by each row's keys.
    counts: receives what was read, kept, changed and dropped.

  Raises: UserError naming file and line for a malformed row.
  """
  counts = Counts() if counts is None else counts

  def parse(name, row, path, line):
    messages = _tidy(_conversation(name, row), counts)
    if messages[-1].role == "user":
      messages = messages[:-1]
      counts["changed: last turn without an answer cut"] += 1
    if not messages or messages[-1].role != "assistant":
      raise Drop("no answer")
    if not messages[-1].content.strip():
      raise Drop("empty answer")
    return Example(fields.row_id(row, path, line), messages, fields.meta(row))

  return _read(path, format, counts, parse)


def read_prompts(
  path: str | Path, format: str = "auto", counts: Counts | None = None
) -> Iterator[Example]:
  """Conversations to answer: each ends with a question (a final answer, if any, is left out)."""
  counts = Counts() if counts is None else counts

  def parse(name, row, path, line):
    if name in ("hh", "alpaca_pairs"):
      messages = _parse_pair(name, row, counts).prompt
    else:
      messages = _tidy(_conversation(name, row), counts)
      if messages[-1].role == "assistant":
        messages = messages[:-1]
    if messages[-1].role != "user" or not messages[-1].content.strip():
      raise Drop("no question")
    return Example(fields.row_id(row, path, line), messages, fields.meta(row))

  return _read(path, format, counts, parse)


def _answer(value: Any, key: str) -> str:
  if isinstance(value, str):
    return value
  messages = fields.messages(value, key)
  if len(messages) != 1 or messages[0].role != "assistant":
    raise ValueError(f"field {key!r}: expected one assistant message")
  return messages[0].content


def _parse_pair(name: str, row: Row, counts: Counts) -> Pair:
  if name == "hh":
    chosen, rejected = (_hh_transcript(fields.text(row, k), k) for k in ("chosen", "rejected"))
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
      raise Drop("transcript without a last answer")
    if chosen[:-1] != rejected[:-1]:
      raise Drop("answers to different prompts")
    prompt, texts = chosen[:-1], (chosen[-1].content, rejected[-1].content)
  elif name == "alpaca_pairs":
    prompt = (Message("user", _instruction(row)),)
    best = "chosen" if "chosen" in row else "output"
    texts = (fields.text(row, best), fields.text(row, "rejected"))
  elif name == "pairs":
    prompt = fields.messages(row.get("prompt"), "prompt")
    texts = tuple(_answer(row[k], k) for k in ("chosen", "rejected"))
  else:
    raise ValueError(f"format {name!r} does not hold pairs; expected hh, pairs or alpaca_pairs")
  margin = fields.number(row, "margin")
  return Pair("", _tidy(prompt, counts), *texts, margin=margin, meta=fields.meta(row))


def read_pairs(
  path: str | Path, format: str = "auto", counts: Counts | None = None
) -> Iterator[Pair]:
  """Preference pairs. Empty answers, equal answers and differing prompts are dropped."""
  counts = Counts() if counts is None else counts

  def parse(name, row, path, line):
    pair = _parse_pair(name, row, counts)
    if not pair.chosen.strip() or not pair.rejected.strip():
      raise Drop("empty answer")
    if pair.chosen == pair.rejected:
      raise Drop("equal answers")
    if pair.prompt[-1].role != "user":
      raise Drop("no question")
    return Pair(
      fields.row_id(row, path, line),
      pair.prompt,
      pair.chosen,
      pair.rejected,
      pair.margin,
      pair.meta,
    )

  return _read(path, format, counts, parse)
