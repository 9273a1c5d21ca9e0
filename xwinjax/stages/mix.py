"""Several files of conversations as one; the training's own shuffle mixes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from xwinjax.data import formats, jsonl, read
from xwinjax.data.records import example_json
from xwinjax.stages.stage import Context, Stage


@dataclasses.dataclass(frozen=True)
class MixConfig:
  """Conversations of several files in one."""

  formats: tuple[str, ...] = ()  # of each


def make(context: Context, config: MixConfig, folder: Path, **files: Path) -> dict[str, Any]:
  """Joins the files in their order; writes mixed.jsonl and returns how many rows each gave."""
  rows, counts, names = [], {}, read.Names(())
  for (role, path), form in zip(files.items(), config.formats, strict=True):
    before = len(rows)
    for example in formats.read_examples(path, form, bad_rows=context.bad_rows):
      rows.append(example_json(dataclasses.replace(example, id=names.give(example.id))))
    counts[role] = len(rows) - before
  jsonl.write_rows(folder / "mixed.jsonl", rows)
  return counts


def stage(*roles: str) -> Stage[MixConfig]:
  """The stage that joins a file for each of these roles."""
  reads = dict.fromkeys(roles, "conversations")
  return Stage("mix", MixConfig, make, reads, ("mixed.jsonl",), uses=())
