"""Preference labelling by a judge: answers of several models rated, pairs with margins out.

Sources: Ni et al. 2024 (Xwin-Pair: answers of several models, prompts of several turns, rated by a
language model); Cui et al. 2023 (UltraFeedback), which labels the same way.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Natural
from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import formats, jsonl, rows
from xwinjax.data.records import (
  CandidateSet,
  Counts,
  Messages,
  Pair,
  counted,
  pair_json,
  prompt_text,
)
from xwinjax.data.sources import sources
from xwinjax.eval import votes
from xwinjax.eval.coefficients import discounted, mean
from xwinjax.stages import score, select
from xwinjax.stages.config import group
from xwinjax.stages.score import Judge
from xwinjax.stages.select import SelectConfig
from xwinjax.stages.stage import Context, Stage

SYSTEMS = "systems"  # of a row's meta: whose each candidate is
# (prompt, label of the judge, label of a person), for the first of two answers
Labels = list[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class LabelConfig:
  """Which answers are rated, and which two of a prompt make a pair."""

  each: Natural = 0  # of each model's answers to a prompt the first n; 0 takes all
  names: tuple[str, ...] = ()  # of the models, in the order of their files; empty: by the files
  select: SelectConfig = group(SelectConfig, by="", unscored="leave_out", keep_score=True)


def by_name(files: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
  """Each model's file. Raises UserError where names are given for others than these files."""
  if not names:
    return {s.name: s.path for s in sources([str(file) for file in files])}
  if len(names) != len(files) or len(set(names)) < len(names):
    raise UserError(
      f"config.names names {', '.join(names)}; expected {len(files)} different names, one for each "
      f"of {', '.join(map(str, files))}"
    )
  return dict(zip(names, files, strict=True))


def together(files: Mapping[str, Path], each: int, counts: Counts) -> list[CandidateSet]:
  """The answers of all models to each prompt, in one row; `meta` says whose they are.

  Of equal answers the first counts; prompts with a single answer are left out.
  """
  by_prompt: dict[Messages, CandidateSet] = {}
  for name, path in files.items():
    for s in candidate_files.read(path):
      held = by_prompt.get(s.prompt, CandidateSet(s.id, s.prompt, (), {**s.meta, SYSTEMS: []}))
      known = {c.text for c in held.candidates}
      new = [c for c in s.candidates[: each or None] if c.text not in known]
      counts["left out: an answer that another model gave"] += len(s.candidates[: each or None])
      counts["left out: an answer that another model gave"] -= len(new)
      meta = {**held.meta, SYSTEMS: [*held.meta[SYSTEMS], *[name] * len(new)]}
      more = (*held.candidates, *new)
      by_prompt[s.prompt] = dataclasses.replace(held, candidates=more, meta=meta)
  several = [s for s in by_prompt.values() if len(s.candidates) > 1]
  counts["left out: prompts with a single answer"] += len(by_prompt) - len(several)
  ids = Counter(s.id for s in several)
  return [s if ids[s.id] == 1 else dataclasses.replace(s, id=f"{s.id}/{n}")
          for n, s in enumerate(several)]  # fmt: skip


def owned(pairs: Sequence[Pair], sets: Sequence[CandidateSet]) -> list[Pair]:
  """The pairs, with whose answers they are in their meta."""
  whose = {
    (s.prompt, c.text): system
    for s in sets
    for c, system in zip(s.candidates, s.meta[SYSTEMS], strict=True)
  }
  return [
    dataclasses.replace(
      p,
      meta={
        **p.meta,
        "chosen_system": whose[p.prompt, p.chosen],
        "rejected_system": whose[p.prompt, p.rejected],
      },
    )
    for p in pairs
  ]


def system_figures(sets: Sequence[CandidateSet], pairs: Sequence[Pair], by: str) -> dict[str, Any]:
  """By model: answers rated, their mean score, and how often it is chosen and rejected."""
  scores = defaultdict(list)
  for s in sets:
    for c, system in zip(s.candidates, s.meta[SYSTEMS], strict=True):
      scores[system] += [c.scores[by]] if by in c.scores else []
  chosen, rejected = (Counter(p.meta[f"{x}_system"] for p in pairs) for x in ("chosen", "rejected"))
  return {
    name: {
      "rated": len(values),
      "mean": round(float(np.mean(values)), 5) if values else None,
      "chosen": chosen[name],
      "rejected": rejected[name],
    }
    for name, values in scores.items()
  }


def _labels(path: Path) -> Iterator[tuple[str, str, str, str, str]]:
  """(prompt, "text" or "system", that of two answers, label for the first) of people's labels."""
  try:
    if path.suffix not in (".db", ".txt"):
      votes.detect(next((row for _, row in jsonl.read_rows(path)), {}))
  except ValueError:
    for pair in formats.read_pairs(path):
      yield prompt_text(pair.prompt), "text", pair.chosen, pair.rejected, "A"
    return
  for v in votes.read(path).votes:
    yield v.prompt, "system", v.a, v.b, v.label if v.turn == 1 else ""


def agreement(sets: Sequence[CandidateSet], by: str, people: Path, seed: int) -> dict[str, Any]:
  """How far the judge's scores order answers as people do, by their pairs or votes."""
  worth: dict[tuple[str, str, str], float] = {}
  for s in sets:
    prompt = prompt_text(s.prompt)
    for c, system in zip(s.candidates, s.meta[SYSTEMS], strict=True):
      if by in c.scores:
        worth[prompt, "text", c.text] = c.scores[by]
        worth.setdefault((prompt, "system", system), c.scores[by])  # of a model's answers the first
  exact, points, given = defaultdict(list), defaultdict(list), 0
  for prompt, by_what, a, b, label in _labels(people):
    given += 1
    ours, theirs = (worth.get((prompt, by_what, answer)) for answer in (a, b))
    if ours is None or theirs is None or not label:
      continue
    judged = "A" if ours > theirs else "B" if ours < theirs else "tie"
    exact[prompt].append(float(judged == label))
    points[prompt].append(discounted(judged, label))
  return {
    "labels": given,
    "met": sum(map(len, exact.values())),
    "exact": mean(exact, seed),
    "tie_discounted": mean(points, seed),
  }


def make(
  context: Context,
  config: LabelConfig,
  folder: Path,
  candidates: Path,
  people: Path | None = None,
  *,
  judge: Judge,
) -> dict[str, Any]:
  """Writes the rated candidates, the judge's words, and pairs.jsonl."""
  counts = Counts()
  sets = together(by_name(rows.files(candidates), config.names), config.each, counts)
  if not sets:
    raise UserError(f"{candidates}: no prompt has two answers; " + counted("counts", counts))
  sets, judged, figures = score.judge_sets(context, judge, sets, folder, "label")
  score.write(folder, sets, judged)
  by = config.select.by or judge.config.score
  chosen = dataclasses.replace(config.select, by=by)
  sets = [select.with_ensemble(row, chosen) for row in sets]
  examples, pairs, left = select.select(sets, chosen, context.seed)
  counts.update(left)
  if not pairs:
    raise UserError(f"{candidates}: no pair can be made; " + counted("counts", counts))
  pairs = owned(pairs, sets)
  jsonl.write_rows(folder / "pairs.jsonl", map(pair_json, pairs))
  told = select.statistics(examples, pairs, counts)
  figures |= {k: v for k, v in told.items() if not k.startswith("example")}
  figures["systems"] = system_figures(sets, pairs, by)
  if people is not None:
    figures["agreement"] = agreement(sets, by, people, context.seed)
  return {"prompts": len(sets), "score": by, **figures}


def check(config: LabelConfig, candidates: Path, people: Path | None) -> None:
  """Raises UserError for names that fit no files, and rules of pairs that do not exist."""
  by_name(rows.files(candidates), config.names)
  select.check(dataclasses.replace(config.select, by=config.select.by or "judge"))


STAGE = Stage(
  "label",
  LabelConfig,
  make,
  {
    "candidates": "candidates of several models: files parted by commas, a folder or a pattern",
    "people?": "people's labels of the same answers: pairs, or votes by the models' names",
  },
  ("candidates.jsonl", "pairs.jsonl", "judgements.jsonl?", "replies.jsonl?"),
  check=check,
)
