"""The sandbox's data for LIMA: questions of a community, answers that it has voted on, dialogues.

People of every skill answer; votes are gold scores seen through noise. Filtered answers are those
with many votes, unfiltered ones are any. Both sets are of the same size, so that quality and
quantity can be told apart, and the kinds of question can be many or one.
"""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Annotated, Any

from xwinjax.core.bounds import Amount, Natural, Positive, Within
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Example, Message, example_json, messages_json
from xwinjax.sandbox import dialogues, gold
from xwinjax.sandbox.world import KINDS, World
from xwinjax.stages.stage import Context, Stage

FILES = ("train.jsonl", "dev.jsonl", "test_prompts.jsonl", "test_dialogues.jsonl")


@dataclasses.dataclass(frozen=True)
class CommunityConfig:
  """What is taken from the community, and what is measured on."""

  examples: Positive = 256
  kinds: tuple[str, ...] = KINDS  # of question; one alone is uniform data
  filtered: bool = True  # only answers with `votes` or more
  votes: Annotated[float, Within(0, 5)] = 4.5  # on the gold scale of 0 to 5
  noise: Amount = 0.35  # scale of the logistic noise in them
  dialogues: Natural = 0  # of several turns, added to the examples
  turns: Annotated[int, Within(1, 7)] = 4  # of a dialogue
  dev: Positive = 50  # prompts on which the checkpoint is chosen
  test: Positive = 96  # prompts the chosen model is judged on
  test_dialogues: Natural = 24


def check(config: CommunityConfig, **_) -> None:
  unknown = [k for k in config.kinds if k not in KINDS]
  if unknown or not config.kinds:
    raise UserError(
      f"config.sandbox.community.kinds {config.kinds!r}: expected some of {', '.join(KINDS)}"
    )


def voted(world: World, config: CommunityConfig, seed: int) -> list[Example]:
  """`examples` answered questions, each with its votes."""
  rng, made = random.Random(f"community-{seed}"), []
  while len(made) < config.examples:
    task = world.task(rng, kind=rng.choice(config.kinds))
    text = world.answer(task, rng, rng.uniform(0.2, 1.0))
    u = rng.uniform(1e-9, 1 - 1e-9)
    votes = gold.points(world, task, text).total + config.noise * math.log(u / (1 - u))
    if not config.filtered or votes >= config.votes:
      meta = {"votes": round(votes, 3), "source": task.kind}
      messages = (*task.prompt, Message("assistant", text))
      made.append(Example(f"community-{len(made)}", messages, meta))
  return made


def write_community(
  context: Context, config: CommunityConfig, folder: Path, world: Path
) -> dict[str, Any]:
  """Writes FILES; returns how much there is and what it is worth."""
  return community(config, World.load(world), folder)


def community(config: CommunityConfig, world: World, folder: Path) -> dict[str, Any]:
  train = voted(world, config, world.seed)
  rng = random.Random(f"dialogues-{world.seed}")
  for i in range(config.dialogues):
    tasks = dialogues.dialogue(world, rng, turns=config.turns)
    train.append(
      Example(f"dialogue-{i}", dialogues.answered(world, tasks, rng), {"source": "dialogue"})
    )
  jsonl.write_rows(folder / "train.jsonl", map(example_json, train))

  rng = random.Random(f"references-{world.seed}")
  asked = random.Random(f"held-out-{world.seed}")
  tasks = world.different_tasks(asked, config.dev + config.test, held_out=True)
  dev, test = tasks[: config.dev], tasks[config.dev :]
  jsonl.write_rows(
    folder / "dev.jsonl",
    [
      example_json(
        Example(f"dev-{i}", (*t.prompt, Message("assistant", world.answer(t, rng, 1.0))), t.meta())
      )
      for i, t in enumerate(dev)
    ],
  )
  jsonl.write_rows(
    folder / "test_prompts.jsonl",
    [
      {"id": f"test-{i}", "messages": messages_json(t.prompt), "meta": t.meta()}
      for i, t in enumerate(test)
    ],
  )
  rng = random.Random(f"test-dialogues-{world.seed}")
  rows = []
  for i in range(config.test_dialogues):
    turns = dialogues.dialogue(world, rng, turns=config.turns, held_out=True)
    rows.append(
      {
        "id": f"dialogue-{i}",
        "turns": [t.prompt[0].content for t in turns],
        "meta": {"tasks": [t.meta() for t in turns]},
      }
    )
  jsonl.write_rows(folder / "test_dialogues.jsonl", rows)
  votes = [e.meta["votes"] for e in train if "votes" in e.meta]
  return {
    "examples": len(train),
    "dialogues": config.dialogues,
    "dev": len(dev),
    "test": len(test),
    "mean_votes": round(sum(votes) / max(len(votes), 1), 3),
  }


COMMUNITY = Stage(
  "community",
  CommunityConfig,
  write_community,
  {"world": "world.json"},
  FILES,
  uses=(),
  check=check,
)
