"""A model behind an OpenAI-compatible API as a judge in stages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core import processes
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data.records import Counts, Example
from xwinjax.eval import judge_metrics
from xwinjax.judge import pairwise, parse
from xwinjax.judge.remote import Remote, Reply, Request
from xwinjax.judge.self_judge import Judgement, Judgements, conversation, judge_messages, mean_score
from xwinjax.stages.score import Judge, JudgeConfig, Opened, Scored, get_prompt
from xwinjax.stages.stage import Context

REPLIES = "replies.jsonl"  # raw, a line each, in the stage's folder
REFUSED = "refused by the judge's server"


def request(config: JudgeConfig, seed: int, text: str) -> Request:
  """The question as the API takes it. A seed is asked for; not every server holds to it."""
  return {
    "messages": [{"role": "user", "content": text}],
    "temperature": config.params.temperature,
    "top_p": config.params.top_p,
    "max_tokens": config.max_new,
    "seed": seed,
  }


def prompt_hash(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def judgement(reply: Reply, low: float, high: float, answer: str) -> Judgement:
  if reply.refused:
    return Judgement(reply.refused, None, REFUSED)
  ended = reply.finish != "length"
  reading = parse.read_score(reply.text, low, high, answer=answer, ended=ended)
  return Judgement(reply.text, reading.score, reading.reason)


def check(config: JudgeConfig) -> None:
  """Raises UserError for what an API cannot do."""
  if config.mode not in ("sampled", "pairwise"):
    raise UserError(f"config.mode {config.mode!r} reads logits; by=openai:… has sampled, pairwise")


def open_judge(context: Context, judge: Judge) -> Opened:
  """The judge `openai:MODEL`, by written scores or two by two."""
  config, seed = judge.config, context.seed
  model = config.by.partition(":")[2]

  def scored(
    prompts: Sequence[Example], texts: Sequence[Sequence[str]], folder: Path, title: str
  ) -> Scored:
    make = compared if config.mode == "pairwise" else written
    return processes.on_lead(
      lambda: make(config, seed, Remote(model, config.remote, folder / REPLIES), prompts, texts)
    )

  return scored


def asked(
  config: JudgeConfig, remote: Remote, questions: Sequence[tuple[int, str]], what: str
) -> list[Reply]:
  """The reply to each (seed, text)."""
  with Progress("judge", len(questions), what) as progress:
    return remote([request(config, *question) for question in questions], progress.advance)


def _figures(remote: Remote, prompt: str, reasons: Iterable[str]) -> dict[str, Any]:
  return {
    "counts": dict(Counts(reason or "read" for reason in reasons)),
    "remote": remote.figures(),
    "prompt_sha256": prompt_hash(prompt),
  }


def written(
  config: JudgeConfig,
  seed: int,
  remote: Remote,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
) -> Scored:
  """Written scores of each answer: `samples` of them, averaged."""
  prompt = get_prompt(config)
  filled = [
    [judge_messages(prompt, example.messages, answer)[0].content for answer in row]
    for example, row in zip(prompts, texts, strict=True)
  ]
  seeds = range(seed, seed + config.samples)
  questions = [(s, text) for row in filled for text in row for s in seeds]
  replies = iter(asked(config, remote, questions, "judgements"))
  judged: list[list[Judgements]] = [
    [tuple(judgement(next(replies), prompt.low, prompt.high, a) for _ in seeds) for a in row]
    for row in texts
  ]
  every = [js for row in judged for js in row]
  figures = {
    **_figures(remote, prompt.text, (j.reason for js in every for j in js)),
    **judge_metrics.consistency([[j.score for j in js] for js in every]),
  }
  scores = {config.score: [[mean_score(js) for js in row] for row in judged]}
  return Scored(scores, judged, figures)


def compared(
  config: JudgeConfig,
  seed: int,
  remote: Remote,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
) -> Scored:
  """Win shares from comparisons two by two."""
  text = pairwise.prompt_text(config.prompt_file)
  places = [
    (p, pair)
    for p, (example, row) in enumerate(zip(prompts, texts, strict=True))
    for pair in pairwise.orders(example.id, len(row), config.both_positions, seed)
  ]

  def fill(p: int, a: int, b: int) -> str:
    asked = conversation(prompts[p].messages)
    return pairwise.fill(text, prompt=asked, first=texts[p][a], second=texts[p][b])

  questions = [(seed, fill(p, *pair)) for p, pair in places]
  verdicts: list[dict[pairwise.Pair, float | None]] = [{} for _ in prompts]
  reasons = []
  for (p, pair), reply in zip(places, asked(config, remote, questions, "comparisons"), strict=True):
    reading = parse.read_better(reply.text, ended=reply.finish != "length")
    verdicts[p][pair] = reading.score
    reasons.append(REFUSED if reply.refused else reading.reason)
  position = {"position": pairwise.position_figures(verdicts)}
  rows = [pairwise.win_shares(v, len(row)) for v, row in zip(verdicts, texts, strict=True)]
  return Scored({config.score: rows}, [], _figures(remote, text, reasons) | position)
