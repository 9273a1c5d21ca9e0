"""The built-in world as files, and a base model that knows its facts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import jax

from xwinjax.core import host
from xwinjax.data import items, jsonl
from xwinjax.data.records import (
    Counts, Example, Message, Pair, example_json, messages_json, pair_json,
)  # fmt: skip
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer, train_tokenizer
from xwinjax.model import llama
from xwinjax.model.config import LlamaConfig
from xwinjax.stages import common
from xwinjax.stages.common import MeshConfig, Model
from xwinjax.stages.config import group, identity, plumbing
from xwinjax.stages.manifest import run_stage
from xwinjax.stages.training import TrainConfig, train
from xwinjax.testing import gold
from xwinjax.testing.world import World
from xwinjax.train import objectives


@dataclasses.dataclass(frozen=True)
class WorldConfig:
  """How much of the world is written down."""

  creatures: int = 48  # each with six attributes
  documents: int = 40_000  # to pretrain on
  examples: int = 6_000  # conversations for SFT, of mixed quality
  pairs: int = 4_000  # labelled pairs for the reward model
  heldout_pairs: int = 600
  prompts: int = 192  # to sample candidates for
  heldout_prompts: int = 48
  label_noise: float = 0.35  # an annotator prefers a over b with σ((gold_a - gold_b) / this)
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


def _pair(id: str, world: World, rng: random.Random, noise: float, held_out: bool) -> Pair:
  """Two answers of random skill and the noisy label an annotator gives them."""
  task = world.task(rng, held_out=held_out)
  while True:
    texts = [world.answer(task, rng, rng.random()) for _ in range(2)]
    if texts[0] != texts[1]:
      break
  golds = [gold.points(world, task, text).total for text in texts]
  first = gold.noisy_preference(rng, *golds, noise)
  order = (0, 1) if first else (1, 0)
  # Only held-out pairs carry their gold scores: they measure, and nothing trains on them.
  meta = {"gold": [round(golds[i], 4) for i in order]} if held_out else {}
  return Pair(id, task.prompt, texts[order[0]], texts[order[1]], meta=meta)


def write_world(config: WorldConfig, folder: Path) -> dict[str, Any]:
  """Writes documents.txt, tokenizer/, sft.jsonl, pairs.jsonl, prompts.jsonl and held-out files."""
  world = World(config.seed, config.creatures)
  documents = list(world.documents(config.documents))
  jsonl.write_atomic(folder / "documents.jsonl", "".join(
      jsonl.dumps({"text": d}) + "\n" for d in documents))  # fmt: skip

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
      ("pairs", config.pairs, False), ("heldout_pairs", config.heldout_pairs, True),
  ):  # fmt: skip
    rng = random.Random(f"{name}-{config.seed}")
    pairs = [_pair(f"{name}-{i}", world, rng, config.label_noise, held_out) for i in range(count)]
    jsonl.write_rows(folder / f"{name}.jsonl", map(pair_json, pairs))
  for name, count, held_out in (
      ("prompts", config.prompts, False), ("heldout_prompts", config.heldout_prompts, True),
  ):  # fmt: skip
    rng = random.Random(f"{name}-{config.seed}")
    tasks: dict[Any, Any] = {}
    while len(tasks) < count:
      task = world.task(rng, held_out=held_out)
      tasks.setdefault(task.prompt, task)
    jsonl.write_rows(
        folder / f"{name}.jsonl",
        [{"id": f"{name}-{i}", "messages": messages_json(p), "meta": t.meta()}
         for i, (p, t) in enumerate(tasks.items())],
    )  # fmt: skip

  chats = [" ".join(m.content for m in e.messages) + " USER: ASSISTANT:" for e in sft[:2000]]
  tokenizer = train_tokenizer(
      documents[:4000] + chats, folder / "tokenizer" / "tokenizer.model", config.vocab_size
  )
  tokenizer.save(folder / "tokenizer")
  return {
      "creatures": config.creatures, "facts": 6 * config.creatures, "documents": len(documents),
      "examples": len(sft), "pairs": config.pairs, "vocab_size": tokenizer.vocab_size,
  }  # fmt: skip


FILES = ("documents.jsonl", "sft.jsonl", "heldout_sft.jsonl", "pairs.jsonl", "heldout_pairs.jsonl",
         "prompts.jsonl", "heldout_prompts.jsonl", "tokenizer")  # fmt: skip


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


def pretrain(config: PretrainConfig, world: Path, folder: Path) -> dict[str, Any]:
  """A base model from random weights and the world's documents; writes model/."""
  what = {
      "config": identity(config),
      "documents": hashlib.sha256((world / "documents.jsonl").read_bytes()).hexdigest(),
      "jax": jax.__version__,
  }
  key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
  kept = host.cache_folder() / "sandbox" / key
  if config.cached and (kept / "figures.json").exists():
    shutil.copytree(kept / "model", folder / "model", dirs_exist_ok=True)
    shutil.copyfile(kept / "metrics.jsonl", folder / "metrics.jsonl")
    common.say(f"pretrain: taken from {kept}")
    return {**json.loads((kept / "figures.json").read_text()), "cached": True}
  tokenizer = Tokenizer.load(world / "tokenizer")
  llama_config = LlamaConfig(
      tokenizer.vocab_size, config.dim, config.layers, config.heads, config.kv_heads,
      config.dim // config.heads, config.ffn, max_length=config.max_length, tied=True,
  )  # fmt: skip
  renderer = Renderer(get_template("vicuna"), tokenizer)
  mesh = common.make_mesh(config.mesh)
  params = llama.init(llama_config, jax.random.key(config.seed))
  model = Model(llama_config, params, tokenizer, renderer, world / "tokenizer")
  params, figures = train(
      folder, "pretrain", model, params, _documents(world / "documents.jsonl", tokenizer),
      objectives.sft(llama_config), config.train, seed=config.seed, mesh=mesh,
  )  # fmt: skip
  figures["parameters"] = llama_config.num_params()
  common.save_model(folder / "model", model, params)
  if config.cached:
    making = kept.with_name(f".{key}.making")
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
      folder, "pretrain", config, inputs, ("model", "metrics.jsonl"),
      lambda: pretrain(config, world, folder), redo=redo,
  )  # fmt: skip
