"""AlpacaEval of one model: its answers, a judge's preferences in both orders, win rates.

Source: Dubois et al. 2024 (arXiv 2404.04475); files as alpaca_eval 0.6.6 reads and writes them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Example, Message
from xwinjax.eval import leaderboard, statistics
from xwinjax.sample.logits import SamplingParams
from xwinjax.stages.config import group
from xwinjax.stages.sample import GenerateConfig, sample_shards
from xwinjax.stages.score import Judge, Scored
from xwinjax.stages.stage import Context, Stage, open_model

NAMES = ("model_outputs.json", "reference_outputs.json", "annotations.json")


@dataclasses.dataclass(frozen=True)
class AlpacaEvalConfig:
  """How a model is compared with a reference's answers."""

  name: str = "model"  # of the model in the files, as `generator`
  limit: Natural = 0  # take so many instructions; 0 takes all
  generate: GenerateConfig = group(
    GenerateConfig, samples=1, max_new=2048, params=SamplingParams(temperature=0.7)
  )
  resamples: Natural = 200  # of prompts, for the length-controlled win rate's interval
  shard: Positive = 64  # prompts sampled together


def read_outputs(path: Path, limit: int = 0) -> list[dict[str, Any]]:
  """Rows {"instruction", "output"?, "generator"?, "dataset"?}. Raises UserError by line."""
  rows, seen = [], set()
  for line, row in jsonl.read_rows(path):
    text = row.get("instruction")
    if not isinstance(text, str) or not text.strip():
      raise UserError(f"{path}:{line}: field 'instruction': found {text!r:.40}, expected a text")
    if not isinstance(row.get("output", ""), str):
      raise UserError(f"{path}:{line}: field 'output': found {row['output']!r:.40}, expected text")
    if text in seen:
      raise UserError(f"{path}:{line}: the instruction stands there twice; leave one out")
    seen.add(text)
    rows.append(row)
  return rows[: limit or None]


def reference_outputs(asked: Sequence[dict[str, Any]], path: Path | None) -> list[dict[str, Any]]:
  """The reference's row for each instruction. Raises UserError where one is missing."""
  rows = asked if path is None else read_outputs(path)
  by_text = {row["instruction"]: row for row in rows if "output" in row}
  lost = [row for row in asked if row["instruction"] not in by_text]
  if lost:
    where = path or "config.prompts"
    raise UserError(
      f"{where}: has no output for {len(lost)} of {len(asked)} instructions, the first "
      f"{lost[0]['instruction']!r:.60}; name the reference's outputs with config.reference"
    )
  return [by_text[row["instruction"]] for row in asked]


def preferences(scored: Scored, name: str) -> list[float | None]:
  """From 1 to 2 for the second of two answers, as a comparer's shares or a scorer's scores say."""
  found: list[float | None] = []
  for ours, theirs in ((row[1], row[0]) for row in scored.scores[name]):
    if math.isnan(ours) or math.isnan(theirs):
      found.append(None)
    elif ours + theirs == 1:  # shares of two comparisons
      found.append(1 + ours)
    else:
      found.append(2.0 if ours > theirs else 1.0 if ours < theirs else 1.5)
  return found


def judged_figures(rows: Sequence[dict[str, Any]], resamples: int, seed: int) -> dict[str, Any]:
  """A leaderboard's row, with intervals, and whether the difference is real."""
  entry = leaderboard.Entry(rows[0]["generator_2"], rows[0]["generator_1"], rows[0]["annotator"])
  entry.rows += [
    leaderboard.Annotation(r["instruction"], r["preference"], (r["output_1"], r["output_2"]))
    for r in rows
  ]
  (figures,) = leaderboard.rows([entry], None, bootstrap=resamples)
  p = entry.preferences()
  p = p[np.isfinite(p)]
  if len(p):
    figures["win_rate_ci"] = [100 * x for x in statistics.bootstrap(p, seed=seed)]
    figures["is_it_real"] = statistics.is_it_real(p - 0.5, "win rate", seed=seed)
  delta = np.array([-(r.delta or 0) for r in entry.rows if r.preference is not None])
  longer = p[delta > 0]
  figures["longer_wins"] = float(np.mean(np.r_[longer, 1 - p[delta < 0]])) if delta.any() else None
  return figures


def make(
  context: Context,
  config: AlpacaEvalConfig,
  folder: Path,
  model: Path,
  prompts: Path,
  reference: Path | None = None,
  *,
  judge: Judge,
) -> dict[str, Any]:
  """Writes the model's outputs, the reference's, and the judge's annotations."""
  leaderboard.check_installed()
  asked = read_outputs(prompts, config.limit)
  theirs = reference_outputs(asked, reference)
  examples = [Example(str(i), (Message("user", r["instruction"]),)) for i, r in enumerate(asked)]
  opened = open_model(context, model, to_sample=True)
  sets, sampling = sample_shards(
    folder, "answer", examples, opened, config.generate, config.shard, context.seed
  )
  texts = {int(s.id): s.candidates[0].text for s in sets}
  about = [{"dataset": r.get("dataset", ""), "instruction": r["instruction"]} for r in asked]
  # What did not fit is an empty answer, which loses, as in the official tool.
  ours = [
    {**row, "output": texts.get(i, ""), "generator": config.name} for i, row in enumerate(about)
  ]
  jsonl.write_json(folder / NAMES[0], ours)
  jsonl.write_json(
    folder / NAMES[1],
    [
      {**row, "output": r["output"], "generator": r.get("generator", "reference")}
      for row, r in zip(about, theirs, strict=True)
    ],
  )
  pairs = [(t["output"], o["output"]) for t, o in zip(theirs, ours, strict=True)]
  scored = judge.open(context, judge)(examples, pairs, folder / "judge", "judge")
  rows = [
    {
      **row,
      "output_1": t["output"],
      "generator_1": t.get("generator", "reference"),
      "output_2": o["output"],
      "generator_2": config.name,
      "annotator": judge.config.by,
      "preference": p,
    }
    for row, t, o, p in zip(
      about, theirs, ours, preferences(scored, judge.config.score), strict=True
    )
  ]
  jsonl.write_json(folder / NAMES[2], rows)
  figures = judged_figures(rows, config.resamples, context.seed)
  figures["unparsed_share"] = sum(r["preference"] is None for r in rows) / len(rows)
  return figures | {"judge": scored.figures, "sampling": sampling}


STAGE = Stage(
  "alpaca_eval",
  AlpacaEvalConfig,
  make,
  {
    "model": "a language model",
    "prompts": "AlpacaEval's instructions, perhaps with a reference's outputs",
    "reference?": "a reference's outputs, where the prompts' file has none",
  },
  NAMES,
)
