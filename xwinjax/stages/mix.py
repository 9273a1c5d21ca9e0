"""Several files of conversations as one; the training's own shuffle mixes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from xwinjax.data import formats, jsonl
from xwinjax.data.records import Counts, example_json
from xwinjax.stages import common
from xwinjax.stages.manifest import run_stage


@dataclasses.dataclass(frozen=True)
class MixConfig:
  """Conversations of several files in one."""

  formats: tuple[str, ...] = ()  # of each


def run(sources: dict[str, tuple[str, str]], folder: Path, *, redo: bool = False) -> Path:
  """Joins files, role -> (path, format), in this order; returns the mixed file."""
  inputs = {role: common.input_file(path, f"data.{role}") for role, (path, _) in sources.items()}

  def body() -> dict[str, Any]:
    rows, counts, seen = [], {}, Counts()
    for role, (path, form) in sources.items():
      before = len(rows)
      for example in formats.read_examples(path, form):
        seen[example.id] += 1
        id = example.id if seen[example.id] == 1 else f"{example.id}#{seen[example.id]}"
        rows.append(example_json(dataclasses.replace(example, id=id)))
      counts[role] = len(rows) - before
    jsonl.write_rows(folder / "mixed.jsonl", rows)
    return counts

  config = MixConfig(tuple(form for _, form in sources.values()))
  run_stage(folder, "mix", config, inputs, ("mixed.jsonl",), body, redo=redo)
  return folder / "mixed.jsonl"
