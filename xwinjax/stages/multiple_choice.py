"""Multiple choice by log-likelihood: whether a model finds the right continuation the likeliest.

Layouts, told by a row's keys; `answer` is a place from 0, a letter, or the text itself:

  plain        {"prompt", "choices": [text, …], "answer", "subset"?}
  MMLU         {"question", "choices": [text, …], "answer", "subject"}
  ARC          {"question", "choices": {"text": […], "label": […]}, "answerKey"}
  HellaSwag    {"ctx", "endings": [text, …], "label", "activity_label"?}
  PIQA         {"goal", "sol1", "sol2", "label"}

A question is asked in the words of config.layout; contexts are taken as they are. Each choice is
scored as the text behind it, log p(choice | context) in nats, without a template:

  accuracy        the highest sum of the choice's tokens
  accuracy_norm   the highest sum divided by the choice's length in bytes

Source: Gao et al., lm-evaluation-harness, whose `acc` and `acc_norm` these are.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.bounds import Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import fields, jsonl
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.eval.reward_metrics import accuracy
from xwinjax.forward.of_tokens import logprobs
from xwinjax.stages.reward_bench import point
from xwinjax.stages.stage import Context, Stage, open_model

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SUBSETS = ("subset", "subject", "category", "activity_label")


@dataclasses.dataclass(frozen=True)
class MultipleChoiceConfig:
  """How questions are asked."""

  layout: str = "Question: {question}\nAnswer:"  # of rows with a question; {question} stands once
  limit: Natural = 0  # read at most so many rows; 0 reads all
  window: Positive = 256  # questions scored together


@dataclasses.dataclass(frozen=True)
class Item:
  """A context, what may follow it, and which of it is right."""

  context: str
  choices: tuple[str, ...]
  answer: int
  subset: str


def _place(value: Any, choices: list[str], labels: list[str]) -> int:
  """The place of the right choice. Raises ValueError for a value that names none."""
  names = [str(value).strip(), str(value).strip().upper()]
  if isinstance(value, str) and value in choices:
    return choices.index(value)
  for known in (labels, [str(i) for i in range(len(choices))], list(LETTERS[: len(choices)])):
    found = next((known.index(name) for name in names if name in known), None)
    if found is not None:
      return found
  raise ValueError(f"the answer {value!r:.40} is none of the {len(choices)} choices")


def item(row: Row, layout: str) -> Item:
  """A row's item. Raises ValueError and its kin for a row that is none."""
  labels: list[str] = []
  if "sol1" in row:
    choices = [fields.text(row, "sol1"), fields.text(row, "sol2")]
  else:
    given = row.get("endings", row.get("choices"))
    if isinstance(given, dict):
      labels = [str(x) for x in fields.a_list(given, "label")]
      given = fields.a_list(given, "text")
      if len(labels) != len(given):
        raise ValueError(f"{len(labels)} labels for {len(given)} choices")
    choices = given
  if not isinstance(choices, list) or len(choices) < 2 or not all(map(_is_text, choices)):
    raise ValueError("expected 'choices' or 'endings': two texts or more, none of them empty")
  key = next((k for k in ("answer", "answerKey", "label", "gold") if k in row), None)
  if key is None:
    raise ValueError("no 'answer', 'answerKey' or 'label' says which choice is right")
  asked = next((k for k in ("question", "goal") if k in row), None)
  if asked:
    context = layout.replace("{question}", fields.text(row, asked))
  else:
    context = fields.text(row, "ctx" if "ctx" in row else "prompt")
  if not context.strip():
    raise ValueError("the question is empty; expected the text that the choices continue")
  subset = next((str(row[k]) for k in SUBSETS if row.get(k)), "all")
  return Item(context, tuple(choices), _place(row[key], choices, labels), subset)


def _is_text(value: Any) -> bool:
  return isinstance(value, str) and bool(value.strip())


def read(path: Path, config: MultipleChoiceConfig) -> list[Item]:
  """All items of a file. Raises UserError by line, and for a file without any."""
  found = []
  for line, row in jsonl.read_rows(path):
    if config.limit and len(found) == config.limit:
      break
    try:
      found.append(item(row, config.layout))
    except fields.MISTAKES as e:
      raise UserError(f"{path}:{line}: {e}") from None
  if not found:
    raise UserError(f"{path}: holds no rows")
  return found


def encoded(tokenizer: Tokenizer, context: str, choice: str) -> tuple[list[int], int]:
  """(the tokens of both as one text, how many of them are the context's).

  The space that parts them belongs to the choice, whose first token is scored with it.
  """
  said = context.rstrip()
  space = context[len(said) :] or ("" if choice[:1].isspace() or not said else " ")
  context = said
  before = [*tokenizer.opening, *tokenizer.encode(context)]
  whole = [*tokenizer.opening, *tokenizer.encode(context + space + choice)]
  same = next((i for i, (x, y) in enumerate(zip(before, whole, strict=False)) if x != y), None)
  # Of a context whose last token grows with what follows, that token counts as the choice's.
  at = min(len(before), len(whole) - 1) if same is None else same
  return whole, max(at, 1)


def make(
  context: Context, config: MultipleChoiceConfig, folder: Path, model: Path, questions: Path
) -> dict[str, Any]:
  """Writes every choice's log-likelihood to judged.jsonl."""
  asked = read(questions, config)
  opened = open_model(context, model)
  tokenizer, longest = opened.renderer.tokenizer, opened.config.max_length
  by_subset: dict[str, list[tuple[float, float]]] = defaultdict(list)
  rows, too_long = [], 0
  with Progress("choices", len(asked), "questions") as progress:
    for start in range(0, len(asked), config.window):
      here = asked[start : start + config.window]
      texts = [encoded(tokenizer, i.context, choice) for i in here for choice in i.choices]
      # What is too long loses its beginning, as in the harness.
      cut = [(ids[-longest:], at - max(len(ids) - longest, 0)) for ids, at in texts]
      too_long += sum(len(ids) > longest for ids, _ in texts)
      given = iter(logprobs(opened.config, opened.params, [ids for ids, _ in cut]))
      sums = iter(
        [math.fsum(v[max(at, 1) - 1 :].tolist()) for v, (_, at) in zip(given, cut, strict=True)]
      )
      for i in here:
        scores = [next(sums) for _ in i.choices]
        if not all(map(math.isfinite, scores)):
          raise UserError(f"{model}: the log-probs are not finite; are its weights whole?")
        norm = [s / len(c.encode()) for s, c in zip(scores, i.choices, strict=True)]
        right = [point([x[i.answer], *x[: i.answer], *x[i.answer + 1 :]]) for x in (scores, norm)]
        by_subset[i.subset].append((right[0], right[1]))
        rows.append({"subset": i.subset, "answer": i.answer, "logps": scores})
      progress.advance(len(here))
  jsonl.write_rows(folder / "judged.jsonl", rows)
  every = [p for points in by_subset.values() for p in points]
  told = lambda points: {
    **accuracy([raw for raw, _ in points]),
    "accuracy_norm": float(np.mean([norm for _, norm in points])),
  }
  return {
    **told(every),
    "chance": float(np.mean([1 / len(i.choices) for i in asked])),
    "subsets": {name: told(points) for name, points in sorted(by_subset.items())},
    "cut_at_the_beginning": too_long,
  }


def check(config: MultipleChoiceConfig, **inputs: Path | None) -> None:
  """Raises UserError for a layout without its place."""
  if config.layout.count("{question}") != 1:
    raise UserError(f"config.layout {config.layout!r} must hold {{question}} once")


STAGE = Stage(
  "multiple_choice",
  MultipleChoiceConfig,
  make,
  {
    "model": "a language model",
    "questions": "questions with choices: MMLU, ARC, HellaSwag, PIQA, or plain ones",
  },
  ("judged.jsonl",),
  check=check,
)
