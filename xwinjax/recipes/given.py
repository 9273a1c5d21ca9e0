"""What a recipe is given, checked before the first of its stages starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data.records import Counts
from xwinjax.recipes.recipe import Step
from xwinjax.sandbox import stages as sandbox
from xwinjax.stages import common
from xwinjax.stages.stage import Stage

Reader = Callable[..., Iterable[Any]]  # (path, format, counts, bad_rows) -> rows


def check_no_data(data: Any) -> None:
  """Refuses files beside the sandbox, which makes its own."""
  if any(dataclasses.astuple(data)):
    raise UserError(
      "config.sandbox.on makes the data itself; leave config.data empty, or turn it off"
    )


def check_files(
  data: Any, readers: Mapping[str, tuple[Reader, str]], needed: Collection[str], bad_rows: str
) -> None:
  """Reads every file once, so that a bad row of the last is found before the first is used.

  Args:
    data: a group of paths.
    readers: field -> (reader, format).
    needed: the fields that must not be empty.
    bad_rows: stop, or skip.
  """
  for name, (reader, format) in readers.items():
    value = getattr(data, name)
    if not value and name not in needed:
      continue
    file = common.input_file(value, f"data.{name}")
    if not sum(1 for _ in reader(file, format, Counts(), bad_rows)):
      raise UserError(f"config.data.{name}={value}: no row of it is of use")


def sandbox_steps(world: Stage, config: Any, model: str, folder: Path) -> Iterator[Step]:
  """The world's files and, where no model was given, a base model that knows its facts."""
  yield Step("world", world, config.world, {})
  if not model:
    texts = {
      "documents": folder / "world" / "documents.jsonl",
      "tokenizer": folder / "world" / "tokenizer",
      "world": folder / "world" / "world.json",
    }
    yield Step("pretrain", sandbox.PRETRAIN, config.pretrain, texts)
