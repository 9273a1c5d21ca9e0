"""What a run of several stages is given, checked before the first of them starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data.records import Counts
from xwinjax.stages import common
from xwinjax.stages.common import ModelConfig

Reader = Callable[..., Iterable[Any]]  # (path, format, counts) -> rows


def check_filled_in(
  config: Any,
  places: Mapping[str, Collection[str]],
  by: str,
  *,
  instead: Mapping[str, str] | None = None,
  own_model: Collection[str] = (),
) -> None:
  """Refuses what the run fills in but was set in a stage, where it would be ignored.

  Args:
    places: the stages' groups, and the fields that are filled in besides model.path.
    by: what the run calls itself: chain, loop, ….
    instead: field -> what to set in its place; config.data.* for those that are not there.
    own_model: stages whose model.path is theirs to set.
  """
  untouched = type(config)()
  for stage, fields in places.items():
    mine, plain = getattr(config, stage), getattr(untouched, stage)
    for field in fields:
      if getattr(mine, field) != getattr(plain, field):
        said = (instead or {}).get(field, "config.data.*")
        raise UserError(f"config.{stage}.{field} is set by the {by}; set {said} instead")
    model = getattr(mine, "model", None)
    if stage not in own_model and isinstance(model, ModelConfig) and model.path:
      raise UserError(f"config.{stage}.model.path is set by the {by}; set config.model.path")


def check_no_data(data: Any) -> None:
  """Refuses files beside the sandbox, which makes its own."""
  if any(dataclasses.astuple(data)):
    raise UserError(
      "config.sandbox.on makes the data itself; leave config.data empty, or turn it off"
    )


def check_files(
  data: Any, readers: Mapping[str, tuple[Reader, str]], needed: Collection[str]
) -> None:
  """Reads every file once, so that a bad row of the last is found before the first is used.

  Args:
    data: a group of paths.
    readers: field -> (reader, format).
    needed: the fields that must not be empty.
  """
  for name, (reader, format) in readers.items():
    value = getattr(data, name)
    if not value and name not in needed:
      continue
    file = common.input_file(value, f"data.{name}")
    if not sum(1 for _ in reader(file, format, Counts())):
      raise UserError(f"config.data.{name}={value}: no row of it is of use")
