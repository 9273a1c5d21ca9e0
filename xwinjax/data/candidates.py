"""Candidate sets in files: {"id", "prompt", "candidates": [{"text", …}], "repeats"?, "meta"?}."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import fields, jsonl, turns
from xwinjax.data.fields import Row
from xwinjax.data.records import Candidate, CandidateSet, Counts, Example, messages_json, meta_json


def row(record: CandidateSet) -> Row:
  """A set as a row: log-probs with 4 digits, scores with 5."""
  return {
    "id": record.id,
    "prompt": messages_json(record.prompt),
    "candidates": [_candidate_row(c) for c in record.candidates],
    **({} if record.repeats is None else {"repeats": record.repeats}),
    **meta_json(record),
  }


def _candidate_row(c: Candidate) -> Row:
  return {
    "text": c.text,
    "logp": round(c.logp, 4),
    "tokens": c.tokens,
    "finish": c.finish,
    **({"ids": list(c.ids)} if c.ids else {}),
    **({"scores": {k: round(v, 5) for k, v in c.scores.items()}} if c.scores else {}),
  }


def parse(row: Row, path: Path, line: int) -> CandidateSet:
  """The set of a row. Raises ValueError for one that is none."""
  candidates = tuple(_parse_candidate(c, i) for i, c in enumerate(fields.a_list(row, "candidates")))
  prompt = turns.prompt_of(row.get("prompt"), "prompt", Counts())
  repeats = int(fields.number(row, "repeats")) if row.get("repeats") is not None else None
  return CandidateSet(fields.row_id(row, path, line), prompt, candidates, fields.meta(row), repeats)


def _parse_candidate(value: Any, i: int) -> Candidate:
  if not isinstance(value, dict):
    raise ValueError(f"candidates[{i}]: found {type(value).__name__}, expected an object")
  scores, ids = value.get("scores", {}), value.get("ids", [])
  if not isinstance(scores, dict):
    raise ValueError(f"candidates[{i}]: field 'scores': expected numbers by name")
  if not isinstance(ids, list) or not all(type(token) is int for token in ids):
    raise ValueError(f"candidates[{i}]: field 'ids': expected a list of token numbers")
  return Candidate(
    fields.text(value, "text"),
    fields.number(value, "logp"),
    int(fields.number(value, "tokens")),
    str(value.get("finish", "stop")),
    {name: fields.number(scores, name) for name in scores},
    tuple(ids),
  )


def read(path: str | Path, counts: Counts | None = None) -> Iterator[CandidateSet]:
  """The sets of a file, sampled, scored or made by hand.

  Raises: UserError naming file and line for a malformed row.
  """
  counts, path = Counts() if counts is None else counts, Path(path)
  for line, value in jsonl.read_rows(path):
    counts["read"] += 1
    try:
      made = parse(value, path, line)
    except fields.MISTAKES as e:
      raise UserError(f"{path}:{line}: {e}") from None
    counts["kept"] += 1
    yield made


def write(path: str | Path, sets: Iterable[CandidateSet]) -> Path:
  """Writes the sets, a row each; the file is whole or not there."""
  return jsonl.write_rows(path, map(row, sets))


def prompts(sets: Iterable[CandidateSet]) -> list[Example]:
  return [Example(s.id, s.prompt, s.meta) for s in sets]


def texts(sets: Iterable[CandidateSet]) -> list[list[str]]:
  return [[c.text for c in s.candidates] for s in sets]


def with_scores(record: CandidateSet, scores: dict[str, Sequence[float]]) -> CandidateSet:
  """The set with these scores by name; a missing one (NaN) leaves no trace."""
  candidates = []
  for i, c in enumerate(record.candidates):
    kept = {k: v for k, v in c.scores.items() if k not in scores}
    given = {name: values[i] for name, values in scores.items() if not math.isnan(values[i])}
    candidates.append(dataclasses.replace(c, scores=kept | given))
  return dataclasses.replace(record, candidates=tuple(candidates))
