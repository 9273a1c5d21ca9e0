"""The built-in world as files, and a base model that knows its facts."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax

from xwinjax.core import host, processes, system
from xwinjax.core.bounds import Amount, Few, Many, Natural, Positive, Tokens, Within
from xwinjax.data import items, jsonl, read, seal, token_export
from xwinjax.data.records import (
  CandidateSet,
  Counts,
  Example,
  Message,
  Pair,
  example_json,
  messages_json,
  pair_json,
)
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer, train_tokenizer
from xwinjax.model import llama, parameters
from xwinjax.model.config import LlamaConfig
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.sandbox import contrasts, gold, knowledge
from xwinjax.sandbox.world import Task, World
from xwinjax.stages import common
from xwinjax.stages.common import Model
from xwinjax.stages.config import group, identity, later, plumbing
from xwinjax.stages.sample import GenerateConfig, sample_shards
from xwinjax.stages.stage import Context, Stage, open_model
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives

TRAINING = (
  "core",
  "model",
  "losses",
  "data",
  "forward",
  "train",
)  # the rooms whose code makes a base model


@dataclasses.dataclass(frozen=True)
class WorldConfig:
  """How much of the world is written down."""

  creatures: Few = 32  # each with six attributes
  documents: Positive = 50_000  # to pretrain on
  examples: Positive = 8_000  # conversations for SFT, of mixed quality
  pair_prompts: Natural = 2_000  # whose answers are labelled in pairs for the reward model
  heldout_pair_prompts: Natural = 250
  prompts: Natural = 192  # to sample candidates for
  heldout_prompts: Natural = 48
  validation_prompts: Natural = later(0)  # held-out, on which DPO's step is chosen; 0: the last is
  card: Natural = 100  # held-out pairs a skill, which differ in that skill alone
  vocab_size: Annotated[int, Within(300, 2**16)] = 1024


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """A base model made on the spot; sizes are ours."""

  dim: Annotated[int, Within(2, 2**14)] = 144
  layers: Few = 4
  heads: Few = 4
  kv_heads: Few = 4
  ffn: Many = 384
  max_length: Tokens = 512
  train: TrainConfig = group(TrainConfig)
  cached: bool = plumbing(True)  # keep the model under $XWINJAX_CACHE for the next run

  def __post_init__(self):
    if self.heads % self.kv_heads or self.dim % (2 * self.heads):
      raise ValueError(
        f"dim {self.dim}, heads {self.heads}, kv_heads {self.kv_heads}; expected a dim that is a "
        "multiple of 2 * heads, and heads that are a multiple of kv_heads"
      )


def write_world(context: Context, config: WorldConfig, folder: Path) -> dict[str, Any]:
  """Writes documents.txt, tokenizer/, sft.jsonl, the prompts and held-out files."""
  world = World(context.seed, config.creatures)
  world.save(folder / "world.json")
  documents = list(world.documents(config.documents))
  jsonl.write_atomic(
    folder / "documents.jsonl", "".join(jsonl.dumps({"text": d}) + "\n" for d in documents)
  )

  rng = random.Random(f"examples-{context.seed}")

  def example(id: str, held_out: bool) -> Example:
    task = world.task(rng, held_out=held_out)
    answer = world.answer(task, rng, rng.uniform(0.2, 0.9))
    return Example(id, (*task.prompt, Message("assistant", answer)))

  sft = [example(f"sft-{i}", False) for i in range(config.examples)]
  jsonl.write_rows(folder / "sft.jsonl", map(example_json, sft))
  jsonl.write_rows(
    folder / "heldout_sft.jsonl", [example_json(example(f"h{i}", True)) for i in range(200)]
  )
  for name, count, held_out in (
    ("pair_prompts", config.pair_prompts, False),
    ("heldout_pair_prompts", config.heldout_pair_prompts, True),
    ("prompts", config.prompts, False),
    ("heldout_prompts", config.heldout_prompts, True),
  ):
    rng = random.Random(f"{name}-{context.seed}")
    compared = "pair" in name
    tasks = world.different_tasks(rng, count, held_out=held_out, compared=compared)
    write_tasks(folder, name, tasks)
  if config.validation_prompts:
    evaluated = {t.prompt for t in tasks}
    rng, count = random.Random(f"validation-{context.seed}"), config.validation_prompts
    tasks = world.different_tasks(rng, count + len(evaluated), held_out=True)
    others = [t for t in tasks if t.prompt not in evaluated]
    write_tasks(folder, "validation_prompts", others[:count])

  card = contrasts.card(world, config.card)
  jsonl.write_rows(folder / "card.jsonl", map(pair_json, card))

  chats = [" ".join(m.content for m in e.messages) + " USER: ASSISTANT:" for e in sft[:2000]]
  tokenizer = train_tokenizer(
    documents[:4000] + chats, folder / "tokenizer" / "tokenizer.model", config.vocab_size
  )
  token_export.save(tokenizer, folder / "tokenizer")
  return {
    "creatures": config.creatures,
    "facts": 6 * config.creatures,
    "documents": len(documents),
    "examples": len(sft),
    "vocab_size": tokenizer.vocab_size,
  }


def write_tasks(folder: Path, name: str, tasks: Sequence[Task]) -> None:
  """Questions as prompts, with what gold needs to know of them."""
  rows = [
    {"id": f"{name}-{i}", "messages": messages_json(t.prompt), "meta": t.meta()}
    for i, t in enumerate(tasks)
  ]
  jsonl.write_rows(folder / f"{name}.jsonl", rows)


FILES = (
  "world.json",
  "documents.jsonl",
  "sft.jsonl",
  "heldout_sft.jsonl",
  "pair_prompts.jsonl",
  "heldout_pair_prompts.jsonl",
  "prompts.jsonl",
  "heldout_prompts.jsonl",
  "validation_prompts.jsonl?",
  "card.jsonl",
  "tokenizer",
)


WORLD = Stage("world", WorldConfig, write_world, {}, FILES, uses=("seed",))


def _documents(path: Path, tokenizer: Tokenizer) -> items.Items:
  """Plain texts as sequences, every token supervised."""
  builder = items.Builder()
  for line, row in jsonl.read_rows(path):
    ids = [*tokenizer.opening, *tokenizer.encode(row["text"]), tokenizer.eos_id]
    builder.sequence(f"document-{line}", ids, [0] + [1] * (len(ids) - 1))
  return builder.build(Counts(kept=len(builder.ids)), branched=False)


def kept_name(context: Context, config: PretrainConfig, documents: Path) -> str:
  """Names a kept base model by all that decides its bits: settings, documents, jax, our code."""
  what = {
    "config": identity(config),
    "seed": context.seed,
    "dtype": common.compute_dtype(context.model.dtype),
    "documents": hashlib.sha256(documents.read_bytes()).hexdigest(),
    "jax": jax.__version__,
    "code": system.code_digest(*TRAINING),
  }
  return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def pretrain(
  context: Context,
  config: PretrainConfig,
  folder: Path,
  documents: Path,
  tokenizer: Path,
  world: Path,
) -> dict[str, Any]:
  """A base model from random weights and the world's documents; writes model/."""
  kept = host.cache_folder() / "sandbox" / kept_name(context, config, documents)
  figures = processes.on_lead(lambda: take(kept, folder)) if config.cached else None
  if figures is not None:
    return {**figures, "cached": True}
  words = Tokenizer.load(tokenizer)
  llama_config = LlamaConfig(
    words.vocab_size,
    config.dim,
    config.layers,
    config.heads,
    config.kv_heads,
    config.dim // config.heads,
    config.ffn,
    max_length=config.max_length,
    tied=True,
  ).replace(**common.compute_dtype(context.model.dtype))
  renderer = Renderer(get_template("vicuna"), words)
  params = llama.init(llama_config, jax.random.key(context.seed))
  model = Model(llama_config, params, words, renderer, tokenizer)
  params, figures = train(
    folder,
    "pretrain",
    model,
    params,
    _documents(documents, words),
    objectives.sft(llama_config),
    config.train,
    seed=context.seed,
    mesh=common.make_mesh(context.mesh),
  )
  figures["parameters"] = parameters.count(llama_config)
  figures |= knowledge.measured(llama_config, params, words, World.load(world))
  common.save_model(folder / "model", model, params)
  if config.cached and system.leads():
    keep(folder, kept, figures)
  return {**figures, "cached": False}


def take(kept: Path, folder: Path) -> dict[str, Any] | None:
  """Copies a kept base model into the stage's folder; its figures, or None where none is whole."""
  if not seal.whole_part(kept):
    return None
  shutil.copytree(kept / "model", folder / "model", dirs_exist_ok=True)
  shutil.copyfile(kept / "metrics.jsonl", folder / "metrics.jsonl")
  common.say(f"pretrain: taken from {kept}")
  return json.loads((kept / "figures.json").read_text())


def keep(folder: Path, kept: Path, figures: dict[str, Any]) -> None:
  """Keeps the base model of a finished stage for the next run."""
  making = kept.with_name(f".{kept.name}.making")
  shutil.rmtree(making, ignore_errors=True)
  shutil.copytree(folder / "model", making / "model")
  shutil.copyfile(folder / "metrics.jsonl", making / "metrics.jsonl")
  jsonl.write_json(making / "figures.json", figures)
  shutil.rmtree(kept, ignore_errors=True)
  making.rename(kept)
  seal.seal_part(kept)


PRETRAIN = Stage(
  "pretrain",
  PretrainConfig,
  pretrain,
  {
    "documents": "texts",
    "tokenizer": "folder of the tokenizer",
    "world": "world.json: what it should know of",
  },
  ("model", "metrics.jsonl"),
  uses=("dtype", "mesh", "seed"),
)


@dataclasses.dataclass(frozen=True)
class LabelConfig:
  """The sandbox's annotators: pairs of a model's answers, labelled as GPT-4 labels Xwin-Pair."""

  generate: GenerateConfig = group(GenerateConfig, samples=4, sampler=SamplerConfig(unique=True))
  noise: Amount = 0.35  # scale of the logistic noise through which annotators see gold gaps
  tie: Amount = 1.0  # gaps they see as smaller are ties, which are dropped
  pairs: Positive = 3  # of a prompt
  contrasts: Natural = 4_000  # pairs of people's answers, added, that differ in one fact alone


def label_pairs(
  sets: Sequence[CandidateSet], scorer, config: LabelConfig, seed: int, *, with_gold: bool
) -> list[Pair]:
  """Random pairs of each prompt's answers under noisy labels.

  Held-out pairs carry the gold scores of both answers: they measure, and nothing trains on them.
  """
  pairs = []
  for row in sets:
    rng = random.Random(f"labels-{seed}-{row.id}")
    prompt = Example(row.id, row.prompt, row.meta)
    texts = [c.text for c in row.candidates if c.text.strip()]
    [golds] = scorer([prompt], [texts])
    all_pairs = list(itertools.combinations(range(len(texts)), 2))
    for n, (a, b) in enumerate(rng.sample(all_pairs, min(config.pairs, len(all_pairs)))):
      verdict = gold.annotate(rng, golds[a], golds[b], config.noise, config.tie)
      if not verdict or texts[a] == texts[b]:
        continue
      if verdict < 0:
        a, b = b, a
      meta = {"gold": [golds[a], golds[b]]} if with_gold else {}
      pairs.append(Pair(f"{row.id}/{n}", prompt.messages, texts[a], texts[b], meta=meta))
  return pairs


def label(
  context: Context,
  config: LabelConfig,
  folder: Path,
  model: Path,
  world: Path,
  prompts: Path,
  heldout: Path,
) -> dict[str, Any]:
  """Samples answers to the world's pair prompts and labels pairs of them; writes pairs.jsonl.

  The pairs to train on come with contrasts of truth under the same annotators' labels.
  """
  writer = open_model(context, model, to_sample=True)
  truth, figures = World.load(world), {}
  scorer = gold.scorer(truth)
  for name, path in (("pairs", prompts), ("heldout_pairs", heldout)):
    asked = read.prompts(path, say=common.say)
    sets, _ = sample_shards(
      folder / name, f"label {name}", asked, writer, config.generate, 256, context.seed
    )
    pairs = label_pairs(sets, scorer, config, context.seed, with_gold=path == heldout)
    if path == prompts:
      pairs += contrasts.of_truth(truth, config.contrasts, context.seed, config.noise, config.tie)
    jsonl.write_rows(folder / f"{name}.jsonl", map(pair_json, pairs))
    figures[name] = len(pairs)
  return figures


LABEL = Stage(
  "label",
  LabelConfig,
  label,
  {
    "model": "whose answers are labelled",
    "world": "world.json",
    "prompts": "pair_prompts.jsonl",
    "heldout": "heldout_pair_prompts.jsonl",
  },
  ("pairs.jsonl", "heldout_pairs.jsonl"),
)
