"""The built-in world as files, and a base model that knows its facts."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import jax

from xwinjax.core import host, system
from xwinjax.data import items, jsonl
from xwinjax.data.records import (
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
from xwinjax.sandbox import gold
from xwinjax.sandbox.world import World
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, Model, ModelConfig
from xwinjax.stages.config import group, identity, plumbing
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.sample import GenerateConfig, read_prompts, sample_shards
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives

TRAINING = ("core", "model", "losses", "data", "train")  # the rooms whose code makes a base model


@dataclasses.dataclass(frozen=True)
class WorldConfig:
  """How much of the world is written down."""

  creatures: int = 32  # each with six attributes
  documents: int = 50_000  # to pretrain on
  examples: int = 8_000  # conversations for SFT, of mixed quality
  pair_prompts: int = 3_000  # whose answers are labelled in pairs for the reward model
  heldout_pair_prompts: int = 250
  prompts: int = 192  # to sample candidates for
  heldout_prompts: int = 48
  vocab_size: int = 1024
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """A base model made on the spot; sizes are ours."""

  dim: int = 144
  layers: int = 4
  heads: int = 4
  kv_heads: int = 4
  ffn: int = 384
  max_length: int = 512
  train: TrainConfig = group(TrainConfig)
  cached: bool = plumbing(True)  # keep the model under $XWINJAX_CACHE for the next run
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


def write_world(config: WorldConfig, folder: Path) -> dict[str, Any]:
  """Writes documents.txt, tokenizer/, sft.jsonl, the prompts and held-out files."""
  world = World(config.seed, config.creatures)
  world.save(folder / "world.json")
  documents = list(world.documents(config.documents))
  jsonl.write_atomic(
    folder / "documents.jsonl", "".join(jsonl.dumps({"text": d}) + "\n" for d in documents)
  )

  rng = random.Random(f"examples-{config.seed}")

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
    rng = random.Random(f"{name}-{config.seed}")
    tasks: dict[Any, Any] = {}
    while len(tasks) < count:
      task = world.task(rng, held_out=held_out)
      tasks.setdefault(task.prompt, task)
    jsonl.write_rows(
      folder / f"{name}.jsonl",
      [
        {"id": f"{name}-{i}", "messages": messages_json(p), "meta": t.meta()}
        for i, (p, t) in enumerate(tasks.items())
      ],
    )

  chats = [" ".join(m.content for m in e.messages) + " USER: ASSISTANT:" for e in sft[:2000]]
  tokenizer = train_tokenizer(
    documents[:4000] + chats, folder / "tokenizer" / "tokenizer.model", config.vocab_size
  )
  tokenizer.save(folder / "tokenizer")
  return {
    "creatures": config.creatures,
    "facts": 6 * config.creatures,
    "documents": len(documents),
    "examples": len(sft),
    "vocab_size": tokenizer.vocab_size,
  }


FILES = (
  "world.json",
  "documents.jsonl",
  "sft.jsonl",
  "heldout_sft.jsonl",
  "pair_prompts.jsonl",
  "heldout_pair_prompts.jsonl",
  "prompts.jsonl",
  "heldout_prompts.jsonl",
  "tokenizer",
)


def run_world(config: WorldConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  return run_stage(
    folder, "world", config, {}, FILES, lambda: write_world(config, folder), redo=redo
  )


def _documents(path: Path, tokenizer: Tokenizer) -> items.Items:
  """Plain texts as sequences, every token supervised."""
  builder = items.Builder()
  for line, row in jsonl.read_rows(path):
    ids = [tokenizer.bos_id, *tokenizer.encode(row["text"]), tokenizer.eos_id]
    builder.sequence(f"document-{line}", ids, [0] + [1] * (len(ids) - 1))
  return builder.build(Counts(kept=len(builder.ids)), branched=False)


def kept_name(config: PretrainConfig, world: Path) -> str:
  """Names a kept base model by all that decides its bits: settings, documents, jax, our code."""
  what = {
    "config": identity(config),
    "documents": hashlib.sha256((world / "documents.jsonl").read_bytes()).hexdigest(),
    "jax": jax.__version__,
    "code": system.code_digest(*TRAINING),
  }
  return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def pretrain(config: PretrainConfig, world: Path, folder: Path) -> dict[str, Any]:
  """A base model from random weights and the world's documents; writes model/."""
  kept = host.cache_folder() / "sandbox" / kept_name(config, world)
  if config.cached and (kept / "figures.json").exists():
    shutil.copytree(kept / "model", folder / "model", dirs_exist_ok=True)
    shutil.copyfile(kept / "metrics.jsonl", folder / "metrics.jsonl")
    common.say(f"pretrain: taken from {kept}")
    return {**json.loads((kept / "figures.json").read_text()), "cached": True}
  tokenizer = Tokenizer.load(world / "tokenizer")
  llama_config = LlamaConfig(
    tokenizer.vocab_size,
    config.dim,
    config.layers,
    config.heads,
    config.kv_heads,
    config.dim // config.heads,
    config.ffn,
    max_length=config.max_length,
    tied=True,
  )
  renderer = Renderer(get_template("vicuna"), tokenizer)
  mesh = common.make_mesh(config.mesh)
  params = llama.init(llama_config, jax.random.key(config.seed))
  model = Model(llama_config, params, tokenizer, renderer, world / "tokenizer")
  params, figures = train(
    folder,
    "pretrain",
    model,
    params,
    _documents(world / "documents.jsonl", tokenizer),
    objectives.sft(llama_config),
    config.train,
    seed=config.seed,
    mesh=mesh,
  )
  figures["parameters"] = parameters.count(llama_config)
  common.save_model(folder / "model", model, params)
  if config.cached:
    making = kept.with_name(f".{kept.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(folder / "model", making / "model")
    shutil.copyfile(folder / "metrics.jsonl", making / "metrics.jsonl")
    jsonl.write_json(making / "figures.json", figures)
    shutil.rmtree(kept, ignore_errors=True)
    making.rename(kept)
  return {**figures, "cached": False}


def run_pretrain(
  config: PretrainConfig, world: Path, folder: Path, *, redo: bool = False
) -> dict[str, Any]:
  inputs = {"documents": world / "documents.jsonl", "tokenizer": world / "tokenizer"}
  return run_stage(
    folder,
    "pretrain",
    config,
    inputs,
    ("model", "metrics.jsonl"),
    lambda: pretrain(config, world, folder),
    redo=redo,
  )


@dataclasses.dataclass(frozen=True)
class LabelConfig:
  """The sandbox's annotators: pairs of a model's answers, labelled as GPT-4 labels Xwin-Pair."""

  model: ModelConfig = group(ModelConfig)
  world: str = plumbing("")  # folder of the world
  generate: GenerateConfig = group(GenerateConfig, samples=4, sampler=SamplerConfig(unique=True))
  noise: float = 0.35  # scale of the logistic noise through which annotators see gold gaps
  tie: float = 1.0  # gaps they see as smaller are ties, which are dropped
  pairs: int = 3  # of a prompt
  mesh: MeshConfig = plumbing(MeshConfig)
  seed: int = 0


def label_pairs(
  rows: list[dict[str, Any]], scorer, config: LabelConfig, *, with_gold: bool
) -> list[Pair]:
  """Random pairs of each prompt's answers under noisy labels.

  Held-out pairs carry the gold scores of both answers: they measure, and nothing trains on them.
  """
  pairs = []
  for row in rows:
    rng = random.Random(f"labels-{config.seed}-{row['id']}")
    prompt = Example(row["id"], tuple(Message(**m) for m in row["prompt"]), row["meta"])
    texts = [c["text"] for c in row["candidates"] if c["text"].strip()]
    [golds] = scorer([prompt], [texts])
    all_pairs = list(itertools.combinations(range(len(texts)), 2))
    for n, (a, b) in enumerate(rng.sample(all_pairs, min(config.pairs, len(all_pairs)))):
      verdict = gold.annotate(rng, golds[a], golds[b], config.noise, config.tie)
      if not verdict or texts[a] == texts[b]:
        continue
      if verdict < 0:
        a, b = b, a
      meta = {"gold": [golds[a], golds[b]]} if with_gold else {}
      pairs.append(Pair(f"{row['id']}/{n}", prompt.messages, texts[a], texts[b], meta=meta))
  return pairs


def run_label(config: LabelConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Samples answers to the world's pair prompts and labels pairs of them; writes pairs.jsonl."""
  world = Path(config.world)
  inputs = {
    "model": common.input_file(config.model.path, "model.path"),
    "world": world / "world.json",
    "prompts": world / "pair_prompts.jsonl",
    "heldout": world / "heldout_pair_prompts.jsonl",
  }

  def body() -> dict[str, Any]:
    model = common.open_model(config.model, common.make_mesh(config.mesh), reward=False)
    scorer, figures = gold.scorer(World.load(inputs["world"])), {}
    for name, role in (("pairs", "prompts"), ("heldout_pairs", "heldout")):
      prompts = read_prompts(str(inputs[role]), role)
      rows, _ = sample_shards(
        folder / name, f"label {name}", prompts, model, config.generate, 256, config.seed
      )
      pairs = label_pairs(rows, scorer, config, with_gold=role == "heldout")
      jsonl.write_rows(folder / f"{name}.jsonl", map(pair_json, pairs))
      figures[name] = len(pairs)
    return figures

  return run_stage(
    folder, "label", config, inputs, ("pairs.jsonl", "heldout_pairs.jsonl"), body, redo=redo
  )
