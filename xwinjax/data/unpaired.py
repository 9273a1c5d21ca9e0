"""Single answers that somebody liked or did not: {"prompt", "completion", "label": true or false}.

The columns of prompt and answer are those of any format of conversations. A row of a pair's format
is two of them: a liked answer, and one that was not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import fields, formats, rows
from xwinjax.data.records import Counts, Messages, Pair
from xwinjax.data.rows import Drop

LABELS = ("label", "kto_tag")


@dataclasses.dataclass(frozen=True)
class Liked:
  """An answer, and whether it is a desirable one."""

  id: str
  prompt: Messages
  answer: str
  desirable: bool


def read(
  path: str | Path, counts: Counts, bad_rows: str = "stop", *, limit: int = 0
) -> list[Liked]:
  """The answers of a data set; at most `limit` rows, 0 reads all.

  Raises: UserError naming file and line of malformed rows.
  """
  made = rows.each(path, counts, _parse, bad_rows)
  return [one for row in itertools.islice(made, limit or None) for one in row]


def _parse(row: dict[str, Any], path: Path, line: int, notes: Counts) -> list[Liked]:
  id = fields.row_id(row, path, line)
  label = next((name for name in LABELS if row.get(name) is not None), "")
  if not label:
    try:
      pair = formats.parse_pair(row)
    except ValueError as e:
      raise ValueError(f"neither a column 'label' of true or false, nor a pair: {e}") from None
    answers = ((pair.chosen, True), (pair.rejected, False))
    made = [Liked(f"{id}/{name}", pair.prompt, *a) for name, a in zip("+-", answers, strict=True)]
  else:
    if not isinstance(row[label], bool):
      raise ValueError(f"field {label!r}: expected true or false, found {row[label]!r:.40}")
    rest = {name: value for name, value in row.items() if name != label}
    messages = formats.parse_conversation(rest, formats.detect(rest, "example"))
    if messages[-1].role != "assistant":
      raise Drop("no answer")
    made = [Liked(id, formats.as_context(messages[:-1]), messages[-1].content, row[label])]
  if any(not one.answer.strip() for one in made):
    raise Drop("empty answer")
  return made


def with_others(answers: Sequence[Liked], path: str | Path) -> list[Pair]:
  """Each answer as the `chosen` of a pair whose `rejected` one is another prompt's.

  That is the next one that reads otherwise; TRL shifts them by one. `margin` is 1 for a desirable
  answer and -1 for another.

  Raises: UserError where all are answers to one prompt.
  """
  made, n = [], len(answers)
  for i, one in enumerate(answers):
    order = itertools.chain(range(i + 1, n), range(i))
    differs = lambda a, one=one: a.prompt != one.prompt and a.answer != one.answer
    other = next((answers[j] for j in order if differs(answers[j])), None)
    if other is None:
      raise UserError(
        f"{path}: all answers are to one prompt, or the same; KTO's KL needs another prompt's"
      )
    made.append(Pair(one.id, one.prompt, one.answer, other.answer, 1.0 if one.desirable else -1.0))
  return made
