"""New prompts from a model shown others: Self-Instruct's few-shot writing and filters.

Source: Wang et al. 2023, Self-Instruct, sections 2.2 and 2.3; Yuan et al. 2024, section 2.2.
"""

from __future__ import annotations

import dataclasses
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.bounds import Few, Many, Natural, Positive, Share
from xwinjax.core.errors import UserError
from xwinjax.core.progress import Progress
from xwinjax.data import jsonl, read, rouge
from xwinjax.data.preflight import Settings
from xwinjax.data.records import Counts, Message
from xwinjax.eval import diversity
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Completion, Request, SamplerConfig
from xwinjax.stages import common
from xwinjax.stages.common import Model
from xwinjax.stages.config import group
from xwinjax.stages.sample import GenerateConfig, make_sampler
from xwinjax.stages.stage import Context, Stage, open_model

Rows = list[dict[str, Any]]

KEPT = "kept"
KEYWORDS = (
  "image",
  "images",
  "graph",
  "graphs",
  "picture",
  "pictures",
  "file",
  "files",
  "map",
  "maps",
  "draw",
  "plot",
  "chart",
  "charts",
  "diagram",
  "diagrams",
  "video",
  "videos",
  "audio",
  "music",
  "photo",
  "photos",
  "go to",
)


@dataclasses.dataclass(frozen=True)
class FilterConfig:
  """What makes a prompt be dropped."""

  rouge: Share = 0.7  # ROUGE-L with any seed or kept prompt above this
  shortest: Natural = 4  # fewer words
  longest: Positive = 150  # more words
  keywords: tuple[str, ...] = KEYWORDS  # what a language model cannot see or do
  ascii_start: bool = True  # a first character beyond ASCII


@dataclasses.dataclass(frozen=True)
class InstructConfig:
  """New prompts in the manner of a file of others."""

  format: str = "auto"  # of the seeds: a name from data/formats.py, or auto
  count: Positive = 1000  # prompts wanted
  shots: Few = 6  # seeds shown …
  own_shots: Natural = 2  # … and prompts written earlier, as soon as there are some
  shot_words: Positive = 100  # longer ones are not shown
  most_draws: Positive = 20  # give up after this many times `count`
  header: str = "Here are tasks of many kinds, one after the other."  # opens the few shots
  chat: bool = False  # ask for the next task as a user's turn, rather than as plain text
  filters: FilterConfig = group(FilterConfig)
  generate: GenerateConfig = group(
    GenerateConfig,
    samples=1,
    max_new=200,
    params=SamplingParams(temperature=0.6, top_p=0.9),
    sampler=SamplerConfig(),
  )
  shard: Many = 256  # sets of shots written from together; what is lost when killed


def few_shots(header: str, texts: Sequence[str]) -> str:
  """The text a new prompt is written behind.

  >>> print(few_shots("Tasks.", ["Say hi.", "Count to ten."]))
  Tasks.
  <BLANKLINE>
  Task 1: Say hi.
  <BLANKLINE>
  Task 2: Count to ten.
  <BLANKLINE>
  Task 3:
  """
  shown = [f"Task {n}: {text.strip()}" for n, text in enumerate(texts, 1)]
  return "\n\n".join([header, *shown, f"Task {len(texts) + 1}:"])


def read_new(completion: Completion) -> str:
  """The prompt in a completion: up to an empty line or the next task's number."""
  text = re.split(r"\n\s*\n|\n\s*Task\s+[0-9]+\s*:", completion.text)[0]
  return text.strip()


class Filters:
  """Keeps prompts that are new and of use, and says why not of the others."""

  def __init__(self, config: FilterConfig, seeds: Sequence[str], heldout: Sequence[str]):
    self.config = config
    self.pool = rouge.Pool(seeds)
    self.heldout = rouge.Pool(heldout)
    words = "|".join(re.escape(w) for w in config.keywords)
    self.keywords = re.compile(rf"\b(?:{words})\b", re.IGNORECASE) if words else None

  def reason(self, text: str, finish: str = "stop") -> str:
    """Why a prompt is of no use by itself; "" for one that is."""
    c, n = self.config, len(text.split())
    if not text:
      return "empty"
    if finish == "length":
      return "cut off at max_new"
    if c.ascii_start and not text[0].isascii():
      return "starts with a character beyond ASCII"
    if unicodedata.category(text[0])[0] in "PS":
      return "starts with punctuation"
    if n < c.shortest:
      return f"shorter than {c.shortest} words"
    if n > c.longest:
      return f"longer than {c.longest} words"
    if self.keywords and self.keywords.search(text):
      return "holds a keyword"
    return ""

  def take(self, drawn: Sequence[tuple[str, str]]) -> list[str]:
    """For each (text, finish) why it is dropped, "" for those that are kept.

    What is kept joins the prompts that later ones are compared with, of the same call too.
    """
    c, reasons = self.config, [self.reason(*d) for d in drawn]
    left = [i for i, reason in enumerate(reasons) if not reason]
    texts = [drawn[i][0] for i in left]
    fresh = rouge.Pool()
    for i, text, held, old in zip(
      left,
      texts,
      self.heldout.nearest(texts, c.rouge),
      self.pool.nearest(texts, c.rouge),
      strict=True,
    ):
      if held > c.rouge:
        reasons[i] = f"ROUGE-L with a held-out prompt above {c.rouge}"
      elif max(old, *fresh.nearest([text], c.rouge)) > c.rouge:
        reasons[i] = f"ROUGE-L with another prompt above {c.rouge}"
      else:
        fresh.add(text)
        self.pool.add(text)
    return reasons


def shown_shots(
  config: InstructConfig, seeds: Sequence[str], own: Sequence[str], key: str
) -> list[str]:
  """6 seeds and 2 prompts written earlier (seeds in their place while there are none), shuffled."""
  rng = random.Random(key)
  mine = rng.sample(own, min(config.own_shots, len(own)))
  wanted = config.shots + config.own_shots - len(mine)
  shown = [*rng.sample(seeds, min(wanted, len(seeds))), *mine]
  rng.shuffle(shown)
  return shown


def _requests(
  config: InstructConfig, model: Model, seeds: Sequence[str], own: Sequence[str], key: str
) -> list[Request]:
  """One shard's requests; sets of shots that leave no room lose one after the other."""
  room, made = model.config.max_length - config.generate.max_new, []

  def encode(shown: Sequence[str]) -> list[int]:
    text = few_shots(config.header, shown)
    if config.chat:
      return model.renderer.encode_prompt((Message("user", text),))
    return [*model.tokenizer.opening, *model.tokenizer.encode(text)]

  for i in range(config.shard):
    shown = shown_shots(config, seeds, own, f"instruct-{key}-{i}")
    ids = encode(shown)
    while len(ids) > room and len(shown) > 1:
      shown = shown[1:]
      ids = encode(shown)
    if len(ids) <= room:
      made.append(
        Request(
          f"instruct/{key.partition('-')[2]}/{i}",
          ids,
          config.generate.samples,
          config.generate.max_new,
        )
      )
  if not made:
    raise UserError(
      f"no prompt is short enough to be shown to a model of "
      f"{model.config.max_length} tokens; lower generate.max_new or shot_words"
    )
  return made


def write(
  config: InstructConfig,
  model: Model,
  seeds: Sequence[str],
  heldout: Sequence[str],
  earlier: Sequence[str],
  folder: Path,
  seed: int,
) -> tuple[list[str], Counts]:
  """(the new prompts, what was drawn and why it was dropped), in shards that are whole or absent.

  A shard shows prompts that earlier shards kept, so they run one after the other; a killed run
  reads those that are done and goes on.
  """
  generate = dataclasses.replace(config.generate, stop_strings=("\n\n", "\nTask"))
  sampler = make_sampler(model, generate, seed)
  filters = Filters(config.filters, [*seeds, *earlier], heldout)
  counts, own = Counts(), []
  shown = [s for s in seeds if len(s.split()) <= config.shot_words]
  if not shown:
    raise UserError(f"every prompt is longer than shot_words={config.shot_words}")
  n = 0
  with Progress("instruct", config.count, "prompts") as progress:
    while len(own) < config.count and counts["drawn"] < config.most_draws * config.count:
      part = folder / "parts" / f"{n:05d}.jsonl"

      def make(key=f"{seed}-{n}") -> Rows:
        done = sampler.sample(_requests(config, model, shown, [*earlier, *own], key))
        return [
          {"text": read_new(c), "finish": c.finish} for completions, _ in done for c in completions
        ]

      before, (rows, _) = len(own), common.shard(part, make)
      for row, reason in zip(
        rows, filters.take([(r["text"], r["finish"]) for r in rows]), strict=True
      ):
        if len(own) == config.count:
          break
        counts["drawn"] += 1
        counts[f"dropped: {reason}" if reason else KEPT] += 1
        if not reason:
          own.append(row["text"])
      progress.advance(len(own) - before)
      n += 1
  return own, counts


def make(
  context: Context,
  config: InstructConfig,
  folder: Path,
  model: Path,
  seeds: Path,
  heldout: Path | None = None,
  earlier: Path | None = None,
  world: Path | None = None,
  add_tasks: Callable[[Rows, Path], int] | None = None,
) -> dict[str, Any]:
  """Writes prompts.jsonl. `add_tasks(rows, world)` marks the questions of a sandbox's world."""
  shown = _texts(seeds, config.format, context.bad_rows)
  if not shown:
    raise UserError(f"{seeds}: holds no prompt of a single turn to show")
  barred, before = (
    _texts(path, "auto", context.bad_rows) if path else [] for path in (heldout, earlier)
  )
  writer = open_model(context, model, to_sample=True)
  own, counts = write(config, writer, shown, barred, before, folder, context.seed)
  if not own:
    raise UserError(common.counted("no new prompt was kept", counts))
  figures: dict[str, Any] = {"prompts": len(own), "counts": dict(counts)}
  rows: Rows = [
    {"id": f"{folder.parent.name}-{i}", "messages": [{"role": "user", "content": text}]}
    for i, text in enumerate(own)
  ]
  if world is not None and add_tasks is not None:
    figures["of_the_world"] = add_tasks(rows, world)
  jsonl.write_rows(folder / "prompts.jsonl", rows)
  return figures | {
    "diversity": diversity.summary(own, seed=context.seed),
    "seeds_diversity": diversity.summary(shown, seed=context.seed),
  }


def _texts(path: Path, format: str, bad_rows: str) -> list[str]:
  """The questions of a data set's prompts of a single turn."""
  prompts = read.prompts(path, format, bad_rows=bad_rows, say=common.say)
  return [p.messages[-1].content for p in prompts if len(p.messages) == 1]


STAGE = Stage(
  "instruct",
  InstructConfig,
  make,
  {
    "model": "who writes them",
    "seeds": "prompts to show: any format of data/formats.py; answers are left out",
    "heldout?": "prompts that must not be written again",
    "earlier?": "prompts written in earlier rounds: shown, and not written again",
    "world?": "world.json of a sandbox: tells which prompts are the world's",
  },
  ("prompts.jsonl",),
  rows=lambda config: {"seeds": Settings("prompt", config.format)},
)
