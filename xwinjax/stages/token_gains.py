"""What a training did to single tokens: of a few answers, log-probs before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Natural, Tokens
from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import items, jsonl
from xwinjax.data.records import CandidateSet, Counts, messages_json
from xwinjax.forward.of_tokens import logprobs
from xwinjax.stages.common import Model
from xwinjax.stages.stage import Context, Stage, open_model


@dataclasses.dataclass(frozen=True)
class TokenGainsConfig:
  """Which answers are shown token by token."""

  prompts: Natural = 8  # spread evenly over all; the first answer of each; 0: none
  longest: Tokens = 256  # tokens of an answer that are looked at


@dataclasses.dataclass(frozen=True)
class Answer:
  """An answer behind its prompt, as ids."""

  id: str
  by: str  # model or reference
  text: str
  prompt: list[int]
  ids: list[int]


def answers(
  sets: Sequence[CandidateSet], by: str, model: Model, config: TokenGainsConfig
) -> list[Answer]:
  """The first answers of some sets; prompts lose their oldest exchanges where they do not fit."""
  places = np.linspace(0, len(sets) - 1, min(config.prompts, len(sets))).round().astype(int)
  found = []
  for s in (sets[i] for i in places):
    first = s.candidates[0]
    ids = list(first.ids) or model.renderer.encode_answer(first.text)
    room = model.config.max_length - min(config.longest, model.config.max_length // 2)
    prompt = items.fit_prompt(s.prompt, model.renderer, room, Counts())
    if prompt is not None:
      ids = ids[: min(config.longest, model.config.max_length - len(prompt))]
      found.append(Answer(s.id, by, first.text, prompt, ids))
  return found


def _logps(model: Model, found: Sequence[Answer]) -> list[list[float]]:
  """log p of every token of each answer, in nats, behind its prompt."""
  rows = [[*a.prompt, *a.ids] for a in found]
  values = logprobs(model.config, model.params, rows)
  kept = [v[len(a.prompt) - 1 :] for v, a in zip(values, found, strict=True)]
  if not all(np.isfinite(v).all() for v in kept):
    raise UserError("the log-probs of single tokens are not finite; are the weights whole?")
  return [[round(float(x), 4) for x in v] for v in kept]


def make(
  context: Context,
  config: TokenGainsConfig,
  folder: Path,
  model: Path,
  reference: Path,
  answers_of_model: Path,
  answers_of_reference: Path | None = None,
) -> dict[str, Any]:
  """Writes tokens.jsonl: of each answer the tokens, log π and log π_ref of each."""
  opened = open_model(context, model, to_sample=True)
  read = {"model": answers_of_model, "reference": answers_of_reference}
  sets = {by: list(candidate_files.read(path)) for by, path in read.items() if path is not None}
  found = [a for by, s in sets.items() for a in answers(s, by, opened, config)]
  if not found:
    raise UserError(f"{answers_of_model}: no prompt fits into the model")
  after = _logps(opened, found)
  shown = [[opened.tokenizer.shown(i) for i in a.ids] for a in found]
  before = _logps(open_model(context, reference, to_sample=True), found)
  prompts = {s.id: messages_json(s.prompt) for s in sets["model"]}
  rows = zip(found, shown, after, before, strict=True)
  jsonl.write_rows(
    folder / "tokens.jsonl",
    [
      {
        "id": a.id,
        "by": a.by,
        "prompt": prompts.get(a.id, []),
        "text": a.text,
        "tokens": t,
        "logp": x,
        "reference": y,
      }
      for a, t, x, y in rows
    ],
  )
  gaps = [sum(x) - sum(y) for x, y in zip(after, before, strict=True)]
  by = {name: [g for g, a in zip(gaps, found, strict=True) if a.by == name] for name in sets}
  return {
    "answers": len(found),
    "tokens": sum(len(a.ids) for a in found),
    **{f"gain_{name}": round(float(np.mean(g)), 4) for name, g in by.items() if g},
  }


STAGE = Stage(
  "token_gains",
  TokenGainsConfig,
  make,
  {
    "model": "a trained model",
    "reference": "the model that it was trained from",
    "answers_of_model": "its candidates.jsonl",
    "answers_of_reference?": "candidates.jsonl of the reference",
  },
  ("tokens.jsonl",),
)
