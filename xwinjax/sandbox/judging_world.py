"""The sandbox of Self-Rewarding LMs: the world's files, and what people judged in it.

Beside what `stages.sandbox` writes: lists of questions among the documents and conversations in
which one more is asked for, so that models can write new ones; judging examples (EFT); and answers
with people's values, to measure judges.
"""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Annotated, Any

from xwinjax.core.bounds import Natural, Share, Within
from xwinjax.data import candidates, jsonl, token_export
from xwinjax.data.records import (
  Candidate,
  CandidateSet,
  Example,
  Message,
  Pair,
  example_json,
  messages_json,
  pair_json,
)
from xwinjax.data.tokenizer import train_tokenizer
from xwinjax.judge.self_judge import judge_messages
from xwinjax.sandbox import gold, judging
from xwinjax.sandbox import stages as sandbox
from xwinjax.sandbox.world import World
from xwinjax.stages.config import group
from xwinjax.stages.stage import Context, Stage

# The annotators' way of writing, and the built-in prompt that it answers.
STYLES = {"additive": judging.judgement, "multiple_choice": judging.choice}
FILES = (
  *sandbox.FILES,
  "ift.jsonl",
  *(f"eft_{style}.jsonl" for style in STYLES),
  "judged.jsonl",
  "heldout_judged.jsonl",
  "pairs.jsonl",
  "heldout_pairs.jsonl",
  "validation_prompts.jsonl",
  *(f"judge_{style}.txt" for style in STYLES),
)


@dataclasses.dataclass(frozen=True)
class JudgingConfig:
  """How much is written about judging."""

  lists: Natural = 2_000  # of questions, among the documents
  writing: Natural = 600  # conversations of IFT that continue a list of questions by a new one
  eft: Natural = 4_000  # judging examples
  noise: Share = 0.05  # the share of points in them that are wrong
  judged: Natural = 400  # questions whose answers people have valued, for make_eft …
  heldout_judged: Natural = 100  # … and to measure judges on
  answers: Annotated[int, Within(2, 64)] = 4  # of each
  pairs: Natural = 2_000  # answers that people compared two by two, for a reward model …
  heldout_pairs: Natural = 200  # … and to measure it on
  validation_prompts: Natural = 32  # on which checkpoints are chosen


@dataclasses.dataclass(frozen=True)
class WorldConfig:
  """The world and its judging."""

  world: sandbox.WorldConfig = group(sandbox.WorldConfig)
  judging: JudgingConfig = group(JudgingConfig)


def eft_examples(world: World, config: JudgingConfig, style: str) -> list[Example]:
  """Judgements by annotators of people's answers to training questions."""
  prompt, write, examples = judging.judge_prompts()[style], STYLES[style], []
  rng = random.Random(f"annotators-{world.seed}")
  asked = judging.judged_answers(world, config.eft, answers=1, held_out=False, name="eft")
  for i, (task, [text]) in enumerate(asked):
    judgement = write(world, task, text, rng, config.noise)
    messages = judge_messages(prompt, task.prompt, text)
    examples.append(Example(f"eft-{i}", (*messages, Message("assistant", judgement))))
  return examples


def judged_sets(world: World, count: int, answers: int, name: str, held_out: bool):
  """Questions with answers of every skill, and what they are worth as people's value."""
  asked = judging.judged_answers(world, count, answers=answers, held_out=held_out, name=name)
  for i, (task, texts) in enumerate(asked):
    scores = [gold.points(world, task, text).total for text in texts]
    valued = tuple(Candidate(t, scores={"human": s}) for t, s in zip(texts, scores, strict=True))
    yield CandidateSet(f"{name}-{i}", task.prompt, valued, task.meta())


def compared(world: World, count: int, name: str, held_out: bool) -> list[Pair]:
  """Pairs of people's answers under the noisy labels of the reward model's annotators."""
  label, made = sandbox.LabelConfig(), []
  rng = random.Random(f"{name}-labels-{world.seed}")
  while len(made) < count:
    start = len(made)
    for i, (task, (a, b)) in enumerate(
      judging.judged_answers(world, count, answers=2, held_out=held_out, name=f"{name}-{start}")
    ):
      one, two = (gold.points(world, task, text).total for text in (a, b))
      verdict = gold.annotate(rng, one, two, label.noise, label.tie)
      if verdict and a != b and len(made) < count:
        best, other = (a, b) if verdict > 0 else (b, a)
        made.append(Pair(f"{name}-{start}-{i}", task.prompt, best, other))
  return made


def write_world(context: Context, config: WorldConfig, folder: Path) -> dict[str, Any]:
  """Everything of `sandbox.write_world`, with the judging in documents, tokenizer and files."""
  figures = sandbox.write_world(context, config.world, folder)
  world, c = World.load(folder / "world.json"), config.judging
  texts = [row["text"] for _, row in jsonl.read_rows(folder / "documents.jsonl")]
  lists = list(judging.question_lists(world, c.lists))
  texts += lists
  random.Random(f"shuffle-{world.seed}").shuffle(texts)
  jsonl.write_rows(folder / "documents.jsonl", [{"text": text} for text in texts])

  ift = [row for _, row in jsonl.read_rows(folder / "sft.jsonl")]
  for i, (asked, new) in enumerate(judging.writing_tasks(world, c.writing)):
    ift.append(
      example_json(Example(f"writing-{i}", (*judging.user(asked), Message("assistant", new))))
    )
  jsonl.write_rows(folder / "ift.jsonl", ift)

  eft: list[Example] = []
  for style, prompt in judging.judge_prompts().items():
    examples = eft_examples(world, c, style)
    jsonl.write_rows(folder / f"eft_{style}.jsonl", map(example_json, examples))
    scale = f"scale: {prompt.low}-{prompt.high}\n"
    jsonl.write_atomic(folder / f"judge_{style}.txt", f"{scale}{prompt.text}\n")
    eft += examples[:2000]
  for name, count, held_out in (
    ("judged", c.judged, False),
    ("heldout_judged", c.heldout_judged, True),
  ):
    sets = judged_sets(world, count, c.answers, name, held_out)
    candidates.write(folder / f"{name}.jsonl", sets)
  for name, count, held_out in (
    ("pairs", c.pairs, False),
    ("heldout_pairs", c.heldout_pairs, True),
  ):
    pairs = compared(world, count, name, held_out)
    jsonl.write_rows(folder / f"{name}.jsonl", map(pair_json, pairs))
  rng = random.Random(f"validation-{world.seed}")
  tasks = [world.task(rng) for _ in range(c.validation_prompts)]
  jsonl.write_rows(
    folder / "validation_prompts.jsonl",
    [
      {"id": f"validation-{i}", "messages": messages_json(t.prompt), "meta": t.meta()}
      for i, t in enumerate(tasks)
    ],
  )

  chats = [" ".join(m["content"] for m in row["messages"]) + " USER: ASSISTANT:" for row in ift]
  judgements = [" ".join(m.content for m in e.messages) for e in eft]
  tokenizer = train_tokenizer(
    texts[:4000] + chats[:2000] + judgements,
    folder / "tokenizer" / "tokenizer.model",
    config.world.vocab_size,
  )
  token_export.save(tokenizer, folder / "tokenizer")
  return figures | {
    "documents": len(texts),
    "eft": c.eft,
    "vocab_size": tokenizer.vocab_size,
    "heldout_judged": c.heldout_judged * c.answers,
  }


def files(world: Path, prompt: str) -> dict[str, str]:
  """The loop's data, and the judge's prompt in the world's words, by their names in its config."""
  same = (
    "ift",
    "pairs",
    "heldout_pairs",
    "heldout_prompts",
    "heldout_judged",
    "validation_prompts",
  )
  names = {
    "seeds": "sft",
    "eft": f"eft_{prompt}",
    "rankings": "judged",
    "heldout_ift": "heldout_sft",
    **{name: name for name in same},
  }
  paths = {field: str(world / f"{name}.jsonl") for field, name in names.items()}
  return paths | {"judge_prompt": str(world / f"judge_{prompt}.txt")}


WORLD = Stage("world", WorldConfig, write_world, {}, FILES, uses=("seed",))
