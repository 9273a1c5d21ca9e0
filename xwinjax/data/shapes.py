"""What formats are told apart by, short enough to be remembered.

Rows of one shape are of the same formats, so a file's are told apart a few times, not row by row.
"""

from __future__ import annotations

from collections.abc import Hashable

from xwinjax.data.conversation_formats import LOOSE, TURNS
from xwinjax.data.fields import QUESTION, Cells
from xwinjax.data.turns import is_transcript

# Columns whose texts and objects say what they are only to those who read them: a format that tells
# itself by the text of another belongs here with it.
_READ = {*TURNS, *LOOSE, *QUESTION, "text", "chosen", "rejected"}


def shape(cells: Cells) -> Hashable | None:
  """The columns of a row with what kind of thing each holds; None where a text has to be read."""
  parts: list[Hashable] = []
  for name, value in cells.items():
    part: Hashable = type(value)
    if isinstance(value, str):
      read = name in _READ
      if read and _opens(value):
        return None
      part = (not value, name in cells.full, read and is_transcript(value))
    elif isinstance(value, list):
      part = _of_list(value, name in ("chosen", "rejected"))
      if part is None:
        return None
    elif isinstance(value, dict):
      if name in _READ:
        return None
      part = (dict, bool(value))
    parts.append((name, part))
  return tuple(parts)


def _opens(text: str) -> bool:
  """Whether a text may be JSON."""
  return text.lstrip()[:1] in ("[", "{")


def _of_list(value: list, with_roles: bool) -> Hashable | None:
  kinds: set[Hashable] = set()
  for item in value:
    if type(item) is not dict:
      kinds.add(type(item))
    elif None in item.values():
      return None
    else:
      kinds.add(tuple(item))
      role = item.get("role", item.get("from")) if with_roles else ""
      if not isinstance(role, str):
        return None
      kinds.add(role)
  if str in kinds and len(kinds) > 1:
    return None  # the first of them decides
  return list, frozenset(kinds), min(len(value), 3)
