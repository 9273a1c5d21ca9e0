"""Readers: what the field's files hold, as our records.

`conversation_formats` and `preference_formats` list the formats, docs/data_formats.md has examples.
A row's format is told by what its columns hold; where more than one reading is possible, the one
taken is counted as "as NAME". Every column is read, counted as unused, or refused where it
is known to change what the row means.

Malformed rows end in one line naming file and line, or are skipped and counted. Rows that are well
formed but of no use (an empty answer, equal answers) are dropped and counted under their reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from xwinjax.core.errors import UserError
from xwinjax.data import (
  conversation_formats,
  fields,
  judged_formats,
  preference_formats,
  rows,
  shapes,
  turns,
)
from xwinjax.data.conversation_formats import ANSWER, CONTEXT, TURNS, Format
from xwinjax.data.fields import QUESTION, Cells, Row, is_empty
from xwinjax.data.preference_formats import Answers, merged
from xwinjax.data.records import UNUSED, Counts, Example, Message, Messages, Pair
from xwinjax.data.rows import Drop as Drop

T = TypeVar("T")
_CONVERSATIONS: Mapping[str, Format[Messages]] = conversation_formats.FORMATS
_PAIRS: Mapping[str, Format[Answers]] = judged_formats.FORMATS
FORMATS = (*_CONVERSATIONS, *_PAIRS)
SYSTEM = ("system", "system_prompt")
DIALOGUES = "pairs with an answer that is a whole dialogue"

# Columns that change what a row means, where they hold something that no reader takes up.
_ATTACHED = ("images", "image", "videos", "video", "audios", "audio", "tools", "functions")
_BELONGS = (*CONTEXT, "history", "documents")
_MASKS = ("loss_mask", "loss_masks", "mask", "train_mask", "train_on")
_WEIGHTS = ("weight", "weights", "sample_weight", "loss_weight")
_WANTED = ("label", "kto_tag", "train", "trainable")  # false: an answer not to be trained on


def is_pair(name: str) -> bool:
  """Whether a format holds preference pairs."""
  return name in _PAIRS


def detect(row: Row, kind: str = "any") -> str:
  """The format of a row, by what its columns hold.

  Args:
    kind: what is wanted of it: "example", "pair", "prompt"; or "any".

  Raises: ValueError when none fits.
  """
  return _choices(Cells(row), kind)[0]


_SEEN: dict[Any, tuple[list[str], bool, dict[Any, Any]]] = {}  # what was found out of a shape
_MOST_SEEN = 4096
_WITH_VERDICT = {"verdict", "rated", "tree_pair"}  # prompts need none


def _choices(cells: Cells, kind: str) -> list[str]:
  """The formats that fit, the one to take first. Columns that hold nothing count if they must."""
  shape = shapes.shape(cells)
  if shape is None:
    return _find(cells, kind)
  seen = _SEEN.get((kind, shape))
  if seen is not None:
    found, cells.blank_too, cells.memo = seen
    return found
  found = _find(cells, kind)
  if len(_SEEN) < _MOST_SEEN:
    _SEEN[kind, shape] = found, cells.blank_too, cells.memo
  return found


def _find(cells: Cells, kind: str) -> list[str]:
  found, other = [], []
  may = judged_formats.may_be_pair(cells)
  for cells.blank_too in (False, True):
    pairs = [name for name, f in _PAIRS.items() if may and f.fits(cells)]
    others = [name for name, f in _CONVERSATIONS.items() if f.fits(cells)]
    other = other or [*pairs, *others]
    if kind == "pair":
      found = pairs
    elif kind == "example":
      # A question without an answer of its own.
      alone = pairs and not ("tree" in others or cells.there(*ANSWER, *TURNS, "text"))
      found = [] if alone else others
    elif kind == "prompt":
      order = [*others, *pairs] if "candidates" in others else [*pairs, *others]
      found = sorted(order, key=lambda name: name in _WITH_VERDICT)
    else:
      found = [*others, *pairs] if "candidates" in others else [*pairs, *others]
    if found:
      return found
  if kind == "pair" and "tree" in other:
    raise Drop("no question with two ranked replies")
  if other:
    raise ValueError(_holds(other[0], kind))
  keys = ", ".join(sorted(cells)) or "none"
  if isinstance(cells.peek("text"), str):
    raise ValueError("column 'text' holds no turns: it is neither a list nor a transcript")
  null = f"; null: {', '.join(sorted(cells.nulls))}" if cells.nulls else ""
  raise ValueError(f"unknown format (keys: {keys}{null}); name one with format={'|'.join(FORMATS)}")


def _holds(name: str, kind: str) -> str:
  if kind == "pair":
    return f"format {name!r} does not hold pairs; expected {', '.join(_PAIRS)}"
  return f"format {name!r} holds pairs, not conversations"


def _tidy(messages: Messages, counts: Counts) -> Messages:
  """Merges turns of one speaker that follow each other; drops what no template can render."""
  messages = merged(messages, counts)
  start = 1 if messages and messages[0].role == "system" else 0
  roles = [m.role for m in messages]
  if "system" in roles[start:]:
    raise Drop("system turn in the middle")
  if len(messages) <= start:
    raise Drop("no turns")
  if roles[start] != "user":
    raise Drop("assistant turn first")
  for m in messages[start:-1]:
    if is_empty(m.content):
      raise Drop("empty turn")
  for m in messages:
    if m.role == "user" and turns.is_written(m.content):
      counts["questions with the words of a template or transcript in them"] += 1
      break
  return messages


def _with_system(messages: Messages, cells: Cells, counts: Counts) -> Messages:
  """The conversation, opened by the system text of a column of its own."""
  texts = {fields.text(cells, name).strip() for name in SYSTEM if cells.filled(name)}
  if texts and messages and messages[0].role == "system" and is_empty(messages[0].content):
    messages = messages[1:]
  if messages and messages[0].role == "system":
    texts.add(messages[0].content.strip())
    opening, messages = messages[0], messages[1:]
  elif texts:
    opening = Message("system", fields.text(cells, cells.filled(*SYSTEM)))
    counts["changed: system column opens the conversation"] += 1
  else:
    return messages
  if len(texts) > 1:
    raise ValueError("column 'system' and the system turn differ; which of the two is meant?")
  return (opening, *messages)


def _conversation(name: str, cells: Cells, counts: Counts) -> Messages:
  if name in _PAIRS:
    raise ValueError(_holds(name, "example"))
  found = _CONVERSATIONS[name].read(cells, counts)
  return _tidy(_with_system(found, cells, counts), counts)


def _pair(name: str, cells: Cells, counts: Counts) -> Answers:
  if name not in _PAIRS:
    raise ValueError(_holds(name, "pair"))
  found = _PAIRS[name].read(cells, counts)
  prompt = _tidy(_with_system(found.prompt, cells, counts), counts)
  return dataclasses.replace(found, prompt=as_context(prompt))


def as_context(messages: Messages) -> Messages:
  """A prompt's turns: none of them is a target, whatever their marks said."""
  return tuple(Message(m.role, m.content) for m in messages)


def _lost(name: str, value: Any, cells: Cells, kind: str) -> bool:
  """Whether leaving this column unread would change what the row means."""
  if name in _ATTACHED:
    return value not in ("[]", "{}", "null")  # JSON text of nothing
  if name in _BELONGS:
    # Beside a question that nobody reads either, it belongs to that.
    return not any(cells.filled(q) and q not in cells.used for q in QUESTION)
  if name in _MASKS:
    return kind == "example"
  if name in _WEIGHTS:
    return kind != "prompt" and value != 1
  return name in _WANTED and kind == "example" and value is False


def _account(cells: Cells, kind: str, format: str, counts: Counts) -> None:
  """Counts the columns nobody read. Raises ValueError for one that changes the row's meaning.

  A format that was asked for by name leaves them out all the same.
  """
  for name in sorted(cells.full - cells.used):
    value = cells.peek(name)
    if format == "auto" and _lost(name, value, cells, kind):
      raise ValueError(
        f"column {name!r} ({value!r:.40}) changes what the row means, and nothing reads it; "
        "a format asked for by name leaves it out"
      )
    counts[f"{UNUSED}{name}"] += 1


def _read(
  path: str | Path,
  format: str,
  kind: str,
  counts: Counts | None,
  bad_rows: str,
  parse: Callable[[str, Cells, str, Counts], T],
) -> Iterator[T]:
  """What `parse(format's name, row, id, notes)` makes of the rows of a data set."""
  if format != "auto" and format not in FORMATS:
    raise UserError(f"format {format!r} is not one of auto, {', '.join(FORMATS)}")
  if format != "auto" and kind != "prompt" and is_pair(format) != (kind == "pair"):
    raise UserError(f"{path}: {_holds(format, kind)}")

  def read(row: Row, file: Path, line: int, notes: Counts) -> T:
    cells, others = Cells(row), []
    name = format
    if format == "auto":
      name, *others = _choices(cells, kind)
    id = fields.row_id(cells, file, line)
    record = parse(name, cells, id, notes)
    _account(cells, kind, format, notes)
    if any(differs(parse, other, row, id, record) for other in others):
      notes[f"as {name}"] += 1
    return record

  def differs(parse: Callable, name: str, row: Row, id: str, record: T) -> bool:
    """Whether a row can be read in another way, too, and would then be another record."""
    try:
      return parse(name, Cells(row), id, Counts()) != record
    except (Drop, *fields.MISTAKES):
      return False

  return rows.each(path, Counts() if counts is None else counts, read, bad_rows)


def parse_conversation(row: Row, format: str = "messages") -> Messages:
  """One row's conversation as it stands; it may end with a question. Raises ValueError."""
  try:
    return _conversation(format, Cells(row), Counts())
  except Drop as reason:
    raise ValueError(str(reason)) from None


def parse_pair(row: Row) -> Answers:
  """One row's prompt and two answers, of whatever format. Raises ValueError."""
  cells = Cells(row)
  try:
    return _pair(_choices(cells, "pair")[0], cells, Counts())
  except Drop as reason:
    raise ValueError(str(reason)) from None


def read_examples(
  path: str | Path, format: str = "auto", counts: Counts | None = None, bad_rows: str = "stop"
) -> Iterator[Example]:
  """Conversations to train on: each ends with an answer.

  Args:
    path: files as `rows.files` takes them: .json, .jsonl, either with .gz, or .parquet.
    format: a format's name, or "auto" to go by each row's columns.
    counts: receives what was read, kept, changed, dropped and skipped, and unused columns.
    bad_rows: "stop" refuses a file with malformed rows, "skip" leaves them out.

  Raises: UserError naming file and line of malformed rows.
  """

  def parse(name: str, cells: Cells, id: str, notes: Counts) -> Example:
    messages = _conversation(name, cells, notes)
    if messages[-1].role == "user":
      messages = messages[:-1]
      notes["changed: last turn without an answer cut"] += 1
    if not messages or messages[-1].role != "assistant":
      raise Drop("no answer")
    if not messages[-1].content.strip():
      raise Drop("empty answer")
    if not any(m.train for m in messages if m.role == "assistant"):
      raise Drop("every answer is marked as not to be trained on")
    return Example(id, messages, fields.meta(cells))

  return _read(path, format, "example", counts, bad_rows, parse)


def read_prompts(
  path: str | Path, format: str = "auto", counts: Counts | None = None, bad_rows: str = "stop"
) -> Iterator[Example]:
  """Conversations to answer: each ends with a question (a final answer, if any, is left out)."""

  def parse(name: str, cells: Cells, id: str, notes: Counts) -> Example:
    if name in _PAIRS:
      messages = _pair(name, cells, notes).prompt
    else:
      messages = as_context(_conversation(name, cells, notes))
      if messages[-1].role == "assistant":
        messages = messages[:-1]
    if messages[-1].role != "user" or not messages[-1].content.strip():
      raise Drop("no question")
    return Example(id, messages, fields.meta(cells))

  return _read(path, format, "prompt", counts, bad_rows, parse)


def read_pairs(
  path: str | Path, format: str = "auto", counts: Counts | None = None, bad_rows: str = "stop"
) -> Iterator[Pair]:
  """Preference pairs. Empty answers, equal answers and differing prompts are dropped."""

  def parse(name: str, cells: Cells, id: str, notes: Counts) -> Pair:
    found = _pair(name, cells, notes)
    margin = preference_formats.margin(cells, notes)
    if not found.chosen.strip() or not found.rejected.strip():
      raise Drop("empty answer")
    if found.chosen == found.rejected:
      raise Drop("equal answers")
    if turns.is_transcript(found.chosen) or turns.is_transcript(found.rejected):
      notes[DIALOGUES] += 1
    asked = found.prompt[-1].content.strip()
    if found.chosen.lstrip().startswith(asked) and found.rejected.lstrip().startswith(asked):
      notes["both answers begin with the question"] += 1
    if found.prompt[-1].role != "user" or not found.prompt[-1].content.strip():
      raise Drop("no question")
    return Pair(id, found.prompt, found.chosen, found.rejected, margin, fields.meta(cells))

  return _read(path, format, "pair", counts, bad_rows, parse)
