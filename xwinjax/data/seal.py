"""Records and files that are believed only while they are as they were written.

A manifest carries the sha256 of its own content, so that a figure changed on disk is no figure any
more; a part of a stage's unfinished work, a file or a folder, has its sha256 in a file beside it.

`FORMAT` counts the layouts of what is written. A new one reads all before it; one that a version
does not know is refused, never guessed at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl

FORMAT = 1
RECIPE = "recipe.json"  # the record that every run of a recipe begins with
# What manifests held before they were sealed; one without a seal holds nothing else.
BEFORE = {
  *("stage", "config", "inputs", "outputs", "figures", "input_paths"),
  *("seconds", "versions", "device", "finished"),
}


def digest(record: dict[str, Any]) -> str:
  """sha256 of a JSON object without its seal, however it is laid out."""
  content = {name: value for name, value in record.items() if name != "sha256"}
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sealed(record: dict[str, Any]) -> dict[str, Any]:
  """The object as it is written: with its format and its own sha256."""
  record = {**record, "format": FORMAT}
  return {**record, "sha256": digest(record)}


def broken(record: dict[str, Any], before: Set[str] = BEFORE) -> bool:
  """Whether a manifest is not what was written. Those of earlier versions have no seal.

  Args:
    before: all that one without a seal may hold.
  """
  if "sha256" not in record:
    return not set(record) <= before
  return record["sha256"] != digest(record)


def check_format(record: dict[str, Any], path: Path) -> None:
  """Raises UserError for a whole record that a later version wrote."""
  found = record.get("format", 0)
  if found not in range(FORMAT + 1):
    raise UserError(
      f"{path}: is of format {found}; this version reads formats up to {FORMAT}: use the version "
      f"of xwinjax that wrote it{_versions(record)}, or a new workdir"
    )


def _versions(record: dict[str, Any]) -> str:
  versions = record.get("versions")
  found = versions.get("xwinjax") if isinstance(versions, dict) else None
  return f" ({found})" if found else ""


def sha256_file(path: Path) -> str:
  with path.open("rb") as f:
    return hashlib.file_digest(f, "sha256").hexdigest()


def contents(folder: Path, leave_out: str = "") -> list[str]:
  """The files in a folder, by their paths in it."""
  found = (p for p in folder.rglob("*") if p.is_file() and p.name != leave_out)
  return [str(p.relative_to(folder)) for p in sorted(found)]


def sha256_folder(
  folder: Path, of_file: Callable[[Path], str] = sha256_file, leave_out: str = ""
) -> str:
  """sha256 of a folder's files, by name and content."""
  made = hashlib.sha256()
  for name in contents(folder, leave_out):
    made.update(f"{name} {of_file(folder / name)}\n".encode())
  return made.hexdigest()


def _content(path: Path) -> str:
  return sha256_folder(path) if path.is_dir() else sha256_file(path)


def seal_part(path: Path) -> None:
  """Notes a finished part's sha256 beside it."""
  jsonl.write_atomic(beside(path), _content(path) + "\n")


def whole_part(path: Path) -> bool:
  """Whether a part is there as it was finished; one that is not is to be made again."""
  if not path.exists() or not beside(path).exists():
    return False
  return beside(path).read_bytes().strip() == _content(path).encode()


def beside(path: Path) -> Path:
  """Where a part's sha256 stands."""
  return path.with_suffix(".sha256")
