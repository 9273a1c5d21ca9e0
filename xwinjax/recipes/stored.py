"""The settings of a run as they were given, kept beside what it made: they run again.

`--config=RUN/config.json` takes the place of a config file. Unlike the identity in manifests, paths
and devices are in it. It may be edited: a run believes what it was given, not this file, which it
writes anew each time.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.stages import config as configs

NAME = "config.json"


@dataclasses.dataclass(frozen=True)
class Stored:
  """What config.json says."""

  command: str  # experiments.COMMAND, or the stage where a command has several
  values: dict[str, Any]


def write(folder: Path, command: str, config: Any) -> None:
  """Writes config.json into a run's folder."""
  values = configs.to_config_dict(config).to_dict()
  jsonl.write_json(folder / NAME, {"command": command, "config": values})


def read(path: str | Path) -> Stored:
  """Raises: UserError for a file that is not JSON, or not a run's."""
  try:
    record = jsonl.read_json(Path(path))
  except ValueError:
    raise UserError(f"{path}: is not JSON") from None
  if not isinstance(record, dict) or not isinstance(record.get("command"), str):
    raise UserError(f"{path}: is not the {NAME} of a run: it names no command")
  if not isinstance(record.get("config"), dict):
    raise UserError(f"{path}: has no fields under 'config'")
  return Stored(record["command"], record["config"])


def load(path: str | Path, kind: type, command: str = "") -> ConfigDict:
  """The fields of a stored config, over the defaults of those it lacks.

  Raises: UserError for a run of another command, and for fields that do not exist or fit.
  """
  stored = read(path)
  if command and stored.command != command:
    raise UserError(f"{path}: is of a run of experiments.{stored.command}, not of {command}")
  try:
    return configs.to_config_dict(configs.from_config_dict(kind, stored.values))
  except UserError as e:
    raise UserError(f"{path}: {e}") from None


def is_one(path: Path) -> bool:
  """Whether a file is a run's, and not a model's of the same name."""
  try:
    return path.is_file() and bool(read(path))
  except UserError:
    return False
