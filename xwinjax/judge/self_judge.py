"""A language model as a judge: of its own answers (Self-Rewarding LMs) or of another's.

Two ways to a score. `Sampled` lets the model write k judgements and reads the score of each; the
mean of what could be read is the score. `Expected` asks for nothing in writing: behind a fixed
opening, "Score: ", it reads the probability of each score from the logits, in one forward pass.

Both have the signature of every scorer, `score(prompts, candidates) -> scores`; a score that is
missing is NaN.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.segments import BRANCHES
from xwinjax.core.types import Params
from xwinjax.data import items
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Counts, Example, Message, Messages
from xwinjax.data.templates import Renderer
from xwinjax.forward.over_items import OnRows, jitted, over_items
from xwinjax.forward.values import level_probabilities
from xwinjax.judge import parse
from xwinjax.judge.prompts import JudgePrompt
from xwinjax.judge.score import Scores
from xwinjax.model.config import LlamaConfig
from xwinjax.sample import Request, Sampler, SamplerConfig, SamplingParams

_ROLES = {"user": "User", "assistant": "Assistant", "system": "System"}


@dataclasses.dataclass(frozen=True)
class Judgement:
  """One written judgement: its text, and its score or why there is none."""

  text: str
  score: float | None
  reason: str = ""


Judgements = tuple[Judgement, ...]  # of one answer


def conversation(messages: Messages) -> str:
  """What stands for the question: its text, or all turns by speaker where there are several."""
  if len(messages) == 1:
    return messages[0].content
  return "\n".join(f"{_ROLES[m.role]}: {m.content}" for m in messages)


def judge_messages(prompt: JudgePrompt, messages: Messages, answer: str) -> Messages:
  """The judge's own conversation: one question that holds the other conversation."""
  return (Message("user", prompt.fill(conversation(messages), answer)),)


def mean_score(judgements: Judgements) -> float:
  """The mean of the scores that could be read; NaN where there is none."""
  scores = [j.score for j in judgements if j.score is not None]
  return math.fsum(scores) / len(scores) if scores else math.nan


class Sampled:
  """Scores as the mean of `samples` written judgements.

  The judge's prompt is computed once for all judgements of an answer. `counts` says how many
  judgements were read and why others were not; `prompt_tokens` how many prompt tokens the
  judgements read, and how many of them were computed.
  """

  def __init__(
    self,
    config: LlamaConfig,
    params: Params,
    renderer: Renderer,
    prompt: JudgePrompt,
    *,
    samples: int = 3,
    sampling: SamplingParams | None = None,
    max_new: int = 256,
    settings: SamplerConfig | None = None,
    seed: int = 0,
    on_rows: OnRows | None = None,
  ):
    if not 0 < max_new < config.max_length:
      raise UserError(
        f"judgements of {max_new} tokens do not fit a model of {config.max_length}; lower max_new"
      )
    self.config, self.renderer, self.prompt = config, renderer, prompt
    self.samples, self.max_new, self.on_rows = samples, max_new, on_rows
    self.sampler = Sampler(
      config,
      params,
      sampling or SamplingParams(),
      stop_ids=renderer.stop_ids(),
      decode_text=renderer.answer_text,
      settings=settings,
      seed=seed,
    )
    self.counts = Counts()
    self.prompt_tokens = Counts(read=0, computed=0)

  def judge(
    self, prompts: Sequence[Example], candidates: Sequence[Sequence[str]]
  ) -> list[list[Judgements]]:
    """The judgements of every candidate of every prompt."""
    judgements: list[list[Judgements]] = [[() for _ in texts] for texts in candidates]
    places: list[tuple[int, int]] = []
    requests = []
    for p, (example, texts) in enumerate(zip(prompts, candidates, strict=True)):
      for c, text in enumerate(texts):
        ids = self.renderer.encode_prompt(judge_messages(self.prompt, example.messages, text))
        if len(ids) + self.max_new > self.config.max_length:
          judgements[p][c] = (Judgement("", None, parse.TOO_LONG),) * self.samples
          continue
        places.append((p, c))
        requests.append(Request(f"judge/{example.id}/{c}", ids, self.samples, self.max_new))
        self.prompt_tokens["computed"] += len(ids)
        self.prompt_tokens["read"] += len(ids) * self.samples
    done = self.sampler.sample(requests, self.on_rows)
    for (p, c), (completions, _) in zip(places, done, strict=True):
      answer = candidates[p][c]
      judgements[p][c] = tuple(self._read(x.text, x.finish, answer) for x in completions)
    self.counts.update(j.reason or "read" for row in judgements for js in row for j in js)
    return judgements

  def _read(self, text: str, finish: str, answer: str) -> Judgement:
    low, high = self.prompt.low, self.prompt.high
    reading = parse.read_score(text, low, high, answer=answer, ended=finish != "length")
    return Judgement(text, reading.score, reading.reason)

  def __call__(self, prompts: Sequence[Example], candidates: Sequence[Sequence[str]]) -> Scores:
    return [[mean_score(js) for js in row] for row in self.judge(prompts, candidates)]


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
  """How many ids all rows begin with."""
  shortest = min(map(len, rows))
  same = (i for i in range(shortest) if any(row[i] != rows[0][i] for row in rows))
  return next(same, shortest)


def score_tokens(renderer: Renderer, prompt: JudgePrompt, opening: str) -> tuple[list[int], list]:
  """(ids of the opening, the token of each level behind it).

  Raises: UserError where the tokenizer does not write each level as one token of its own.
  """
  written = [renderer.begin_answer(f"{opening}{level}") for level in prompt.levels]
  shared = common_prefix(written)
  last = [ids[shared:] for ids in written]
  if any(len(ids) != 1 for ids in last) or len({ids[0] for ids in last}) != len(last):
    raise UserError(
      f"{prompt.name}: behind {opening!r} this tokenizer writes the scores {prompt.low} to "
      f"{prompt.high} with several tokens; expected scores need one token each"
    )
  return written[0][:shared], [ids[0] for ids in last]


class Expected:
  """Scores as the expectation under p(level | prompt, opening), renormalised over the levels.

  What the candidates' judge prompts have in common is computed once for `branches` of them.
  `mass` is the mean probability of all levels together: near 1 where the model means to give a
  score there.
  """

  def __init__(
    self,
    config: LlamaConfig,
    params: Params,
    renderer: Renderer,
    prompt: JudgePrompt,
    *,
    opening: str = "Score: ",
    batch: BatchConfig | None = None,
    branches: int = 8,
    mesh=None,
    on_rows: OnRows | None = None,
  ):
    if not 0 < branches < BRANCHES:
      raise UserError(f"branches {branches} must lie between 1 and {BRANCHES - 1}")
    self.config, self.params, self.renderer, self.prompt = config, params, renderer, prompt
    self.opening, self.levels = score_tokens(renderer, prompt, opening)
    self.batch = dataclasses.replace(batch or BatchConfig(), packing=0)
    self.branches, self.mesh, self.on_rows = branches, mesh, on_rows
    self.prompt_tokens = Counts(read=0, computed=0)
    self.mass = math.nan

  def _items(self, prompts, candidates) -> items.Items:
    """Judge prompts with a shared beginning, a branch for each candidate."""
    builder, where, counts = items.Builder(), [], Counts()
    for p, (example, texts) in enumerate(zip(prompts, candidates, strict=True)):
      asked = []
      for c, text in enumerate(texts):
        ids = self.renderer.encode_prompt(judge_messages(self.prompt, example.messages, text))
        if len(ids) + len(self.opening) < self.config.max_length:
          asked.append((c, ids + self.opening))
      for first in range(0, len(asked), self.branches):
        group = asked[first : first + self.branches]
        shared = min(common_prefix([ids for _, ids in group]), *(len(ids) - 1 for _, ids in group))
        builder.tree(example.id, group[0][1][:shared], [ids[shared:] for _, ids in group])
        numbers = [c for c, _ in group]
        where.append([p, *numbers, *[-1] * (self.branches - len(numbers))])
        self.prompt_tokens["read"] += sum(len(ids) for _, ids in group)
        self.prompt_tokens["computed"] += builder.lengths[-1]
    places = np.asarray(where, np.int32).reshape(-1, 1 + self.branches)
    return builder.build(counts, branched=True, place=places)

  def distributions(
    self, prompts: Sequence[Example], candidates: Sequence[Sequence[str]]
  ) -> list[np.ndarray]:
    """For each prompt p(level) of its candidates, [n, levels + 1]: the rest of the mass is last.

    Rows of candidates whose judge prompt does not fit the model are NaN.
    """
    shares = [np.full((len(c), len(self.levels) + 1), np.nan) for c in candidates]
    made = self._items(prompts, candidates)
    if not len(made):
      return shares
    forward = jitted(
      level_probabilities, self.config, branches=self.branches, levels=tuple(self.levels)
    )
    for arrays, values in over_items(
      forward, self.params, made, self.batch, self.mesh, self.on_rows
    ):
      for b in np.flatnonzero(arrays["example_weight"][:, 0]):
        p, *numbers = arrays["place"][b, 0]
        for branch, c in enumerate(n for n in numbers if n >= 0):
          shares[p][c, :-1] = values[b, branch]
          shares[p][c, -1] = 1 - values[b, branch].sum()
    rows = np.concatenate(shares)
    self.mass = float(np.nanmean(1 - rows[:, -1])) if np.isfinite(rows).any() else math.nan
    return shares

  def __call__(self, prompts: Sequence[Example], candidates: Sequence[Sequence[str]]) -> Scores:
    levels = np.asarray(self.prompt.levels, np.float64)
    return [
      (p[:, :-1] @ levels / p[:, :-1].sum(1)).tolist()
      for p in self.distributions(prompts, candidates)
    ]
