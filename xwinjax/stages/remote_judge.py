"""A model behind an OpenAI-compatible API as a judge in stages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

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


def written(
  config: JudgeConfig,
  seed: int,
  remote: Remote,
  prompts: Sequence[Example],
  texts: Sequence[Sequence[str]],
) -> Scored:
  """Written scores of each answer: `samples` of them, averaged."""
  prompt = get_prompt(config)
  places: list[tuple[int, int]] = []
  requests: list[Request] = []
  for p, (example, row) in enumerate(zip(prompts, texts, strict=True)):
    for c, answer in enumerate(row):
      (message,) = judge_messages(prompt, example.messages, answer)
      for n in range(config.samples):
        places.append((p, c))
        requests.append(request(config, seed + n, message.content))
  with Progress("judge", len(requests), "judgements") as progress:
    replies = remote(requests, progress.advance)
  judged: list[list[Judgements]] = [[() for _ in row] for row in texts]
  for (p, c), reply in zip(places, replies, strict=True):
    answer: str = texts[p][c]
    judged[p][c] += (judgement(reply, prompt.low, prompt.high, answer),)
  every = [js for row in judged for js in row]
  counts = Counts(j.reason or "read" for js in every for j in js)
  figures = {
    "counts": dict(counts),
    "remote": remote.figures(),
    "prompt_sha256": prompt_hash(prompt.text),
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
  verdicts: list[dict[pairwise.Pair, float | None]] = [{} for _ in prompts]
  places, requests = [], []
  for p, (example, row) in enumerate(zip(prompts, texts, strict=True)):
    asked = conversation(example.messages)
    for a, b in pairwise.orders(example.id, len(row), config.both_positions, seed):
      filled = pairwise.fill(text, prompt=asked, first=row[a], second=row[b])
      places.append((p, a, b))
      requests.append(request(config, seed, filled))
  with Progress("judge, two by two", len(requests), "comparisons") as progress:
    replies = remote(requests, progress.advance)
  counts = Counts()
  for (p, a, b), reply in zip(places, replies, strict=True):
    reading = parse.read_better(reply.text, ended=reply.finish != "length")
    verdicts[p][a, b] = reading.score
    counts[REFUSED if reply.refused else reading.reason or "read"] += 1
  figures = {
    "counts": dict(counts),
    "remote": remote.figures(),
    "prompt_sha256": prompt_hash(text),
    "position": pairwise.position_figures(verdicts),
  }
  rows = [pairwise.win_shares(v, len(row)) for v, row in zip(verdicts, texts, strict=True)]
  return Scored({config.score: rows}, [], figures)
