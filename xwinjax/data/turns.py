"""What a cell of a row holds, as turns: lists of messages, transcripts, JSON text of either."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from xwinjax.data import fields
from xwinjax.data.fields import Row, is_empty
from xwinjax.data.records import UNUSED, Counts, Message, Messages

Names = tuple[str, str]  # of the keys that hold a turn's speaker and its text
OPENAI: Names = ("role", "content")
SHAREGPT: Names = ("from", "value")
SPEAKERS, TEXTS = ("role", "from", "speaker"), ("content", "value", "text")
# Lists whose items are a question with its answer.
EXCHANGES: tuple[Names, ...] = (
  ("input", "output"),
  ("human", "assistant"),
  ("user", "assistant"),
  ("question", "answer"),
  ("instruction", "output"),
)

ROLES = {
  "system": "system",
  "developer": "system",
  "human": "user",
  "user": "user",
  "prompter": "user",
  "gpt": "assistant",
  "chatgpt": "assistant",
  "assistant": "assistant",
  "model": "assistant",
  "bing": "assistant",
  "bard": "assistant",
}
_PLAIN = tuple(name for name in ROLES if name != "developer")
# A turn that has one of these with content is about a tool, which no template here writes.
TOOLS = ("tool_calls", "function_call", "tool_call_id")
# What says whether an answer is trained on, and whether a true value means so of a question, too.
MARKS = {"weight": False, "train": True, "loss": True, "training": True, "trainable": True}
# What else changes the meaning of a turn: marks of other kinds, marked parts, pictures.
LOST = (
  *("mask", "masked", "loss_mask", "loss_weight", "train_detail", "training_detail", "prefix"),
  *("images", "image", "audio", "video"),
)
_TOOL_SETTING = "parallel_tool_calls"  # true in every row of OpenAI's files
TEXT_PARTS = ("text", "input_text", "output_text")

# How a question ends that is written in some template already, up to where the answer begins.
_OPENED = re.compile(
  r"(?:\b(?:Assistant|ASSISTANT):|### (?:Response|Assistant):|\[/INST\]|<\|assistant\|>"
  r"|<\|im_start\|>assistant|<\|end_header_id\|>)\s*\Z"
)
_HH_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_HASH_TURN = re.compile(r"\s*### ?(Human|Assistant):")  # as Guanaco writes them, in a line or apart
_LINE_TURN = re.compile(r"(?:\A\s*|\n)(Human|Assistant):")  # a line each


def decoded(value: Any) -> Any:
  """The list or object that a text of JSON holds, where its items are turns; else the value.

  Of an object that holds `messages` and nothing else it is these.
  """
  if isinstance(value, dict) and isinstance(value.get("messages"), list):
    return value if _holds_more(value) else value["messages"]
  if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
    return value
  try:
    inside = json.loads(value)
  except (ValueError, RecursionError):
    return value
  return inside if names_of(inside) else value


def _holds_more(value: Row) -> bool:
  return any(not is_empty(v) for k, v in value.items() if k not in ("messages", _TOOL_SETTING))


def names_of(value: Any) -> Names | None:
  """How the turns of a list call speaker and text, or None where it holds no turns."""
  turns = value if isinstance(value, list) else [value]
  if not turns or not all(isinstance(turn, dict) for turn in turns):
    return None
  if turns[0].get("role") is not None and turns[0].get("content") is not None:
    return OPENAI  # as most are: the first turn says it
  has = lambda name: any(turn.get(name) is not None for turn in turns)
  for speaker, text in (OPENAI, SHAREGPT):
    if has(speaker) and has(text):
      return speaker, text
  speaker = next(filter(has, SPEAKERS), None)
  if speaker is not None:
    usual = dict((OPENAI, SHAREGPT)).get(speaker, "text")
    return speaker, next(filter(has, TEXTS), usual)
  return next((names for names in EXCHANGES if all(map(has, names))), None)


def chat(value: Any, key: str, counts: Counts, names: Names | None = None) -> Messages:
  """The turns of a list. Raises ValueError for a turn that cannot be written as text.

  Args:
    key: the column, for errors.
    counts: receives what was changed, and keys of turns that nobody reads.
    names: how turns call speaker and text; None goes by the turns.
  """
  value = decoded(value)
  if not isinstance(value, list):
    raise ValueError(f"field {key!r}: found {fields.found(value)}, expected a list of messages")
  names = names or names_of(value) or OPENAI
  if names in EXCHANGES:
    return _exchanges(value, key, names, counts)
  return tuple(_turn(turn, f"{key}[{i}]", key, names, counts) for i, turn in enumerate(value))


def _exchanges(value: list, key: str, names: Names, counts: Counts) -> Messages:
  """Questions with their answers as turns; the last may have none."""
  made: list[Message] = []
  for i, exchange in enumerate(value):
    if not isinstance(exchange, dict):
      raise ValueError(f"{key}[{i}]: found {type(exchange).__name__}, expected an object")
    for name, role in zip(names, ("user", "assistant"), strict=True):
      text = exchange.get(name)
      if not isinstance(text, str):
        if text is None and (name, i) == (names[1], len(value) - 1):
          continue
        raise ValueError(f"{key}[{i}]: field {name!r}: found {fields.found(text)}, expected text")
      made.append(Message(role, text))
    for name in exchange:
      if name not in names and not is_empty(exchange[name]):
        if name in (*LOST, *TOOLS, *MARKS, "system"):
          raise ValueError(f"{key}[{i}]: holds {name}, which would be lost")
        counts[f"{UNUSED}{key}.{name}"] += 1
  return tuple(made)


def _turn(turn: Any, where: str, key: str, names: Names, counts: Counts) -> Message:
  if not isinstance(turn, dict):
    raise ValueError(f"{where}: found {type(turn).__name__}, expected an object")
  speaker = turn.get(names[0])
  if len(turn) == 2 and speaker in _PLAIN and isinstance(turn.get(names[1]), str):
    return Message(ROLES[speaker], turn[names[1]])  # as most are: nothing to be checked
  if not isinstance(speaker, str):
    raise ValueError(f"{where}: field {names[0]!r}: found {fields.found(speaker)}, expected text")
  held = [name for name in TOOLS if not is_empty(turn.get(name))]
  role = ROLES.get(speaker.strip().lower())
  if role is None or held:
    known = "system, user, assistant" if names[0] == "role" else ", ".join(ROLES)
    what = f"holds {held[0]}" if held else f"{names[0]} {speaker!r} is not one of {known}"
    raise ValueError(f"{where}: {what}")
  if speaker == "developer":
    counts["changed: developer turn read as a system turn"] += 1
  lost = [name for name in LOST if not is_empty(turn.get(name))]
  if lost:
    raise ValueError(f"{where}: holds {lost[0]}, which would be lost")
  for name, value in turn.items():
    if name not in (*names, *MARKS, *TOOLS, *LOST) and not is_empty(value):
      counts[f"{UNUSED}{key}.{name}"] += 1
  text = _text(turn, names[1], where, counts)
  return Message(role, text, _trained(turn, role, where, counts))


def _text(turn: Row, name: str, where: str, counts: Counts) -> str:
  """A turn's text; a list of text parts is joined by newlines."""
  value = turn.get(name)
  if value is None and name in turn:
    return ""
  if isinstance(value, dict):
    value = [value]
  if not isinstance(value, list):
    if not isinstance(value, str):
      raise ValueError(f"{where}: field {name!r}: found {fields.found(value)}, expected text")
    return value
  texts = []
  for part in value:
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    text = part.get("text") if kind in TEXT_PARTS else None
    if not isinstance(text, str):
      raise ValueError(f"{where}: a part of the type {kind!r} is no text")
    texts.append(text)
  if len(texts) > 1:
    counts["changed: text parts joined by newlines"] += 1
  return "\n".join(texts)


def _trained(turn: Row, role: str, where: str, counts: Counts) -> bool:
  """Whether the marks of a turn let it be trained on; answers without marks are."""
  said: set[bool] = set()
  for name, of_questions in MARKS.items():
    value = turn.get(name)
    if value is None:
      continue
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
      raise ValueError(f"{where}: {name} is {value!r:.40}; expected 0 or 1")
    if role != "assistant" and value:
      if of_questions:
        raise ValueError(f"{where}: {name} is set on a turn that is no answer")
      counts["changed: questions with a weight are context all the same"] += 1
    said.add(bool(value))
  if len(said) > 1:
    raise ValueError(f"{where}: its marks {', '.join(n for n in MARKS if n in turn)} differ")
  return role != "assistant" or said != {False}


def with_loss_mask(messages: Messages, mask: Any) -> Messages:
  """The turns with a row's own list of 0 and 1, one a turn. Raises ValueError for another list."""
  if is_empty(mask):
    return messages
  if not isinstance(mask, list) or len(mask) != len(messages) or any(m not in (0, 1) for m in mask):
    raise ValueError(f"column 'loss_mask': expected a list of {len(messages)} times 0 or 1")
  pairs = zip(messages, mask, strict=True)
  return tuple(
    Message(m.role, m.content, m.train and bool(on)) if m.role == "assistant" else m
    for m, on in pairs
  )


def alternating(texts: Sequence[Any]) -> Messages:
  """Texts as turns of user and assistant. Raises ValueError for what is no text."""
  if not all(isinstance(t, str) for t in texts):
    raise ValueError("a turn is not text")
  return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


def is_transcript(value: Any) -> bool:
  """Whether a text is a dialogue as HH-RLHF writes them, or with `### Human:`.

  It opens with a speaker's name; where no empty line is before that, someone answers, too. Other
  text may come first only where the assistant is about to speak.
  """
  if not isinstance(value, str) or ("Human:" not in value and "Assistant:" not in value):
    return False
  text = value.replace("\r\n", "\n")
  if _style(text) is not _HH_TURN:
    return True
  if _HH_TURN.match(text) is None:
    return "\n\nHuman:" in text and text.rstrip().endswith("\n\nAssistant:")
  return text.startswith("\n\n") or "\n\nAssistant:" in text


def _style(text: str) -> re.Pattern[str]:
  """What opens the turns of a dialogue. Of the two shorter ones it begins with a human."""
  if text.lstrip().startswith("### Human:") and "### Assistant:" in text:
    return _HASH_TURN
  lines = text.lstrip().startswith("Human:") and "\nAssistant:" in text
  return _LINE_TURN if lines and "\n\nAssistant:" not in text else _HH_TURN


def is_written(text: str) -> bool:
  """Whether a question seems to be written in a chat template, or to be a transcript, already."""
  return _OPENED.search(text[-40:]) is not None or is_transcript(text)


def transcript(text: str, key: str) -> Messages:
  """The turns of "\\n\\nHuman: …\\n\\nAssistant: …"; an empty last answer stays an empty turn.

  What comes before the first of them is a system turn.
  """
  text = text.replace("\r\n", "\n")
  first, *pieces = _style(text).split(text)
  if not pieces or (first.strip() and not is_transcript(text)):
    raise ValueError(
      f"field {key!r}: expected a transcript of '\\n\\nHuman:' and '\\n\\nAssistant:' turns"
    )
  roles = {"Human": "user", "Assistant": "assistant"}
  pairs = zip(pieces[::2], pieces[1::2], strict=True)
  opening = (Message("system", first.strip()),) if first.strip() else ()
  return (*opening, *(Message(roles[who], content.strip()) for who, content in pairs))


def prompt_of(value: Any, key: str, counts: Counts) -> Messages:
  """A prompt as messages, as JSON text of them, or as plain text: one question."""
  value = decoded(value)
  return chat(value, key, counts) if isinstance(value, list) else question(value, key)


def question(value: Any, key: str) -> Messages:
  return (Message("user", fields.text({key: value}, key)),)
