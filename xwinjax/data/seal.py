"""Records and files that are believed only while they are as they were written.

A manifest carries the sha256 of its own content, so that a figure changed on disk is no figure any
more; a part of a stage's unfinished work has its sha256 in a file beside it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from xwinjax.data import jsonl

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
  """The object as it is written: with its own sha256."""
  return {**record, "sha256": digest(record)}


def broken(record: dict[str, Any]) -> bool:
  """Whether a manifest is not what was written. Those of earlier versions have no seal."""
  if "sha256" not in record:
    return not set(record) <= BEFORE
  return record["sha256"] != digest(record)


def seal_part(path: Path) -> None:
  """Notes a finished part's sha256 beside it."""
  jsonl.write_atomic(_beside(path), hashlib.sha256(path.read_bytes()).hexdigest() + "\n")


def whole_part(path: Path) -> bool:
  """Whether a part is there as it was finished; one that is not is to be made again."""
  if not path.exists() or not _beside(path).exists():
    return False
  found = hashlib.sha256(path.read_bytes()).hexdigest().encode()
  return _beside(path).read_bytes().strip() == found


def _beside(path: Path) -> Path:
  return path.with_suffix(".sha256")
