"""What preference losses train on, as items: pairs, single answers, or lists of scored candidates.

Reference and DPO stage make the same items of the same file, so that log-probs fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import items, rows, unpaired
from xwinjax.data.items import Items
from xwinjax.data.preflight import Settings
from xwinjax.data.records import Counts, Messages
from xwinjax.stages import common, reward, select
from xwinjax.stages.common import Model
from xwinjax.stages.select import SelectConfig

ScoredList = tuple[str, Messages, list[tuple[str, float]]]  # id, prompt, answers with scores


class Reads(Protocol):
  """The settings of a stage that say how its preferences are read."""

  @property
  def format(self) -> str: ...
  @property
  def limit(self) -> int: ...
  @property
  def max_length(self) -> int: ...
  @property
  def answers(self) -> int: ...
  @property
  def score(self) -> str: ...


def read(config: Reads, kind: str, file: Path, model: Model, bad_rows: str) -> tuple[Items, Counts]:
  """The items of a data set, and what became of its rows.

  Args:
    kind: "pairs"; "unpaired": [answer, another prompt's answer] with `desirable`, 1 or 0; "lists":
      `config.answers` candidates a prompt, best first, with their `scores`.

  Raises: UserError for rows that hold none.
  """
  if kind == "pairs":
    pairs, counts = reward.read_pairs(config, file, bad_rows)
    return reward.pair_items(pairs, model, config.max_length), counts
  if kind == "unpaired":
    counts = Counts()
    answers = unpaired.read(file, counts, bad_rows, limit=config.limit)
    made = reward.pair_items(unpaired.with_others(answers, file), model, config.max_length)
    desirable = (made.fields["margin"] > 0).astype(np.float32)
    return made.with_fields(desirable=desirable), counts
  return _lists(config, file, model, bad_rows)


def check(config: Reads, kind: str, default: Reads) -> None:
  """Raises UserError for settings that data of this kind does not take."""
  if kind != "pairs" and config.format != "auto":
    raise UserError(f"config.format is for pairs; of {kind} it is found: set it to auto")
  for name in ("answers", "score"):
    if kind != "lists" and getattr(config, name) != getattr(default, name):
      raise UserError(
        f"config.{name} belongs to losses of lists; set it to {getattr(default, name)!r}"
      )


def _lists(config: Reads, file: Path, model: Model, bad_rows: str) -> tuple[Items, Counts]:
  """Answers of evenly spaced ranks, the best and the last among them."""
  counts, rule = Counts(), SelectConfig(by=config.score)

  def parse(row: dict[str, Any], path: Path, line: int, notes: Counts) -> ScoredList:
    made = candidate_files.parse(row, path, line)
    ranked = select.ranked(select.with_ensemble(made, rule), rule, notes)
    if len(ranked) < config.answers:
      raise rows.Drop(f"fewer than {config.answers} answers")
    places = np.linspace(0, len(ranked) - 1, config.answers).round().astype(int)
    return made.id, made.prompt, [(ranked[i].text, ranked[i].scores[rule.by]) for i in places]

  lists = list(common.take(rows.each(file, counts, parse, bad_rows), config.limit))
  length = min(config.max_length, model.config.max_length)
  made = items.tokenize_lists(lists, model.renderer, length) if lists else None
  if made is None or not len(made):
    told = common.counted("lists", counts if made is None else made.counts + counts)
    raise UserError(f"{file}: no list of {config.answers} answers can be made; {told}")
  common.say(common.counted("lists", made.counts + counts))
  return made, counts


def rows_read(config: Reads, kind: str) -> dict[str, Settings]:
  """How a stage reads its data, for a look at it before the run; only pairs are looked at."""
  return reward.rows_read(config) if kind == "pairs" else {}


def answers_of(data: Items) -> int:
  """How many answers each of the items has."""
  return data.fields["scores"].shape[1] if "scores" in data.fields else 2
