"""Requests as the OpenAI API has them, checked; and the bodies that answer them.

What is wrong raises Refused with a status and a line that names the field. A field that is known
and has no meaning here is refused unless it says what happens anyway.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import ROLES, Message, Messages

MOST_CHOICES = 16  # of one request
MOST_STOPS = 4
MOST_STOP_LENGTH = 200
MOST_LOGPROBS = 20
# What changes nothing here; anything else unknown is refused.
WITHOUT_EFFECT = {"user", "metadata", "store", "service_tier", "safety_identifier"}
# Fields whose neutral values ask for what happens anyway.
NEUTRAL: dict[str, tuple[Any, ...]] = {
  "frequency_penalty": (0, None),
  "presence_penalty": (0, None),
  "logit_bias": ({}, None),
  "suffix": ("", None),
  "best_of": (1, None),
  "tools": ([], None),
  "response_format": ({"type": "text"}, None),
  "parallel_tool_calls": (None,),
}
COMMON = {"model", "max_tokens", "temperature", "top_p", "n", "stream", "stream_options", "stop"}
COMMON |= {"seed", "logprobs"}
FIELDS = {
  "chat": COMMON | {"messages", "max_completion_tokens", "top_logprobs"},
  "text": COMMON | {"prompt", "echo"},
}


class Refused(Exception):
  """A request that is not answered: the status, and why."""

  def __init__(self, status: int, message: str, field: str | None = None):
    super().__init__(message)
    self.status, self.message, self.field = status, message, field

  def body(self) -> dict[str, Any]:
    kind = "server_error" if self.status >= 500 else "invalid_request_error"
    return {
      "error": {"message": self.message, "type": kind, "param": self.field, "code": self.status}
    }


@dataclasses.dataclass(frozen=True)
class Question:
  """A checked request; `prompts` are conversations, texts, or ids."""

  chat: bool
  prompts: tuple[Any, ...]
  max_tokens: int | None = None
  temperature: float = 1.0
  top_p: float = 1.0
  choices: int = 1
  stream: bool = False
  usage_in_stream: bool = False
  stops: tuple[str, ...] = ()
  seed: int | None = None
  logprobs: int | None = None  # None: not asked for; else so many of the most probable beside
  echo: bool = False


def _wrong(field: str, found: Any, expected: str) -> Refused:
  return Refused(400, f"{field} is {json.dumps(found)[:60]}; expected {expected}", field)


def _number(
  row: dict[str, Any], field: str, low: float, high: float, default: Any, whole: bool = False
) -> Any:
  value = row.get(field)
  if value is None:
    return default
  kinds = (int,) if whole else (int, float)
  if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
    raise _wrong(field, value, "a whole number" if whole else "a number")
  if not low <= value <= high:
    raise _wrong(field, value, f"{low} to {high}")
  return value


def _flag(row: dict[str, Any], field: str) -> bool:
  value = row.get(field)
  if value is not None and not isinstance(value, bool):
    raise _wrong(field, value, "true or false")
  return bool(value)


def parse(body: bytes, chat: bool, model: str) -> Question:
  """The question in a request's body. Raises Refused."""
  try:
    row = jsonl.decode(body.decode("utf-8"), "the body")
  except UnicodeDecodeError:
    raise Refused(400, "the body is not UTF-8") from None
  except UserError as e:
    raise Refused(400, str(e)) from None
  if not isinstance(row, dict):
    raise Refused(400, f"the body is a {type(row).__name__}; expected a JSON object")
  for field, value in row.items():
    if field in FIELDS["chat" if chat else "text"] or field in WITHOUT_EFFECT:
      continue
    if field not in NEUTRAL or value not in NEUTRAL[field]:
      known = "is not supported" if field in NEUTRAL else "is unknown"
      raise Refused(400, f"field {field!r} {known} here; leave it out", field[:60])
  if row.get("model") != model:
    raise Refused(
      404, f"model {json.dumps(row.get('model'))[:80]} is not here; {model!r} is", "model"
    )
  options = row.get("stream_options") or {}
  if not isinstance(options, dict):
    raise _wrong("stream_options", options, "an object")
  question = Question(
    chat,
    (_messages(row.get("messages")),) if chat else _prompts(row.get("prompt")),
    max_tokens=_max_tokens(row, chat),
    temperature=float(_number(row, "temperature", 0, 2, 1.0)),
    top_p=float(_number(row, "top_p", 1e-6, 1, 1.0)),
    choices=_number(row, "n", 1, MOST_CHOICES, 1, whole=True),
    stream=_flag(row, "stream"),
    usage_in_stream=_flag(options, "include_usage"),
    stops=_stops(row.get("stop")),
    seed=_number(row, "seed", -(2**63), 2**64, None, whole=True),
    logprobs=_logprobs(row, chat),
    echo=not chat and _flag(row, "echo"),
  )
  if 0 < question.temperature < 0.001:
    raise _wrong("temperature", question.temperature, "0, or 0.001 to 2")
  if question.stream and question.logprobs is not None:
    raise Refused(400, "logprobs are not given in a stream; leave out one of them", "logprobs")
  if question.stream and question.echo:
    raise Refused(400, "echo is not given in a stream; leave out one of them", "echo")
  return question


def _max_tokens(row: dict[str, Any], chat: bool) -> int | None:
  names = ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)
  for name in names:
    if row.get(name) is not None:
      return _number(row, name, 1 if chat else 0, 2**20, None, whole=True)
  return None if chat else 16  # as the API says


def _logprobs(row: dict[str, Any], chat: bool) -> int | None:
  if not chat:
    return _number(row, "logprobs", 0, MOST_LOGPROBS, None, whole=True)
  best = _number(row, "top_logprobs", 0, MOST_LOGPROBS, None, whole=True)
  if _flag(row, "logprobs"):
    return best or 0
  if best is not None:
    raise Refused(400, "top_logprobs needs logprobs: true", "top_logprobs")
  return None


def _stops(value: Any) -> tuple[str, ...]:
  stops = [value] if isinstance(value, str) else [] if value is None else value
  expected = f"at most {MOST_STOPS} texts of 1 to {MOST_STOP_LENGTH} characters"
  if not isinstance(stops, list) or len(stops) > MOST_STOPS:
    raise _wrong("stop", value, expected)
  if not all(isinstance(s, str) and 0 < len(s) <= MOST_STOP_LENGTH for s in stops):
    raise _wrong("stop", value, expected)
  return tuple(stops)


def _prompts(value: Any) -> tuple[Any, ...]:
  expected = "a text, a list of token ids, or a list of either"
  is_ids = lambda x: isinstance(x, list) and x and all(type(i) is int for i in x)
  some = [value] if isinstance(value, str) or is_ids(value) else value
  if not isinstance(some, list) or not some:
    raise _wrong("prompt", value, expected)
  if len(some) > 256:
    raise Refused(400, f"prompt holds {len(some)} prompts; expected at most 256", "prompt")
  if not all(isinstance(p, str) or is_ids(p) for p in some):
    raise _wrong("prompt", value, expected)
  return tuple(p if isinstance(p, str) else tuple(p) for p in some)


def _messages(value: Any) -> Messages:
  if not isinstance(value, list) or not value:
    raise _wrong("messages", value, "a list of messages")
  found: list[Message] = []
  for i, message in enumerate(value):
    where = f"messages[{i}]"
    if not isinstance(message, dict):
      raise _wrong(where, message, "an object with role and content")
    role, content = message.get("role"), message.get("content")
    role = "system" if role == "developer" else role
    if role not in ROLES:
      raise _wrong(f"{where}.role", role, ", ".join(ROLES))
    if isinstance(content, list) and all(
      isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str)
      for p in content
    ):
      content = "".join(p["text"] for p in content)
    if not isinstance(content, str):
      raise _wrong(f"{where}.content", content, "a text")
    if role == "system" and i:
      raise Refused(400, f"{where}: a system message opens a conversation or is not there", where)
    if found and found[-1].role == role:
      raise Refused(400, f"{where}: two turns of {role} follow each other", where)
    found.append(Message(role, content))
  if found[-1].role != "user":
    raise Refused(400, "messages must end with the user's turn", "messages")
  return tuple(found)
