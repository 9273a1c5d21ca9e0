"""The fields of a row, checked: what is wrong is a ValueError that names the field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from xwinjax.data.records import ROLES, Message, Messages

Row = dict[str, Any]
# What a malformed row may raise; readers turn it into a line that names file and row.
MISTAKES = (ValueError, TypeError, KeyError, AttributeError, OverflowError)


def text(row: Row, key: str, *, optional: bool = False) -> str:
  value = row.get(key)
  if value is None and optional:
    return ""
  if not isinstance(value, str):
    kind = "nothing" if key not in row else type(value).__name__
    raise ValueError(f"field {key!r}: found {kind}, expected text")
  return value


def a_list(row: Row, key: str) -> list:
  value = row.get(key)
  if not isinstance(value, list):
    raise ValueError(f"field {key!r}: found {type(value).__name__}, expected a list")
  return value


def number(row: Row, key: str, default: float = 0.0) -> float:
  value = row.get(key)
  if value is None:
    return default
  if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
    raise ValueError(f"field {key!r}: found {value!r:.40}, expected a number")
  return float(value)


def messages(value: Any, key: str) -> Messages:
  """A list of {"role", "content"}, or a plain string as one user message."""
  if isinstance(value, str):
    return (Message("user", value),)
  if not isinstance(value, list):
    raise ValueError(f"field {key!r}: found {type(value).__name__}, expected a list of messages")
  messages = []
  for i, m in enumerate(value):
    if not isinstance(m, dict):
      raise ValueError(f"{key}[{i}]: found {type(m).__name__}, expected an object")
    role = text(m, "role")
    if role not in ROLES:
      raise ValueError(f"{key}[{i}]: role {role!r} is not one of {', '.join(ROLES)}")
    messages.append(Message(role, text(m, "content")))
  return tuple(messages)


def row_id(row: Row, path: Path, line: int) -> str:
  given = row.get("id", row.get("question_id"))
  return str(given) if isinstance(given, (str, int)) else f"{path.name.split('.')[0]}-{line}"


def meta(row: Row) -> dict[str, Any]:
  meta = row.get("meta", {})
  if not isinstance(meta, dict):
    raise ValueError(f"field 'meta': found {type(meta).__name__}, expected an object")
  return meta
