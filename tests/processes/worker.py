"""One process of a run of the stages below: worker.py JSON, what `main` is given."""

import json
import sys
from pathlib import Path

from xwinjax.core import host, processes
from xwinjax.recipes import cli, judges
from xwinjax.stages import dpo, reference, reward, sample, score, sft
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import from_config_dict, to_config_dict
from xwinjax.stages.stage import Context

TRAIN = {
  "train.batch.batch_size": 8,
  "train.batch.buckets": 1,
  "train.batch.multiple": 32,
  "train.optim.lr": 1e-2,
  "train.loop.checkpoint_every": 2,
}
# (stage, mesh, what it reads, settings): every axis of the mesh lies across processes once.
STAGES = {
  "sft": (
    sft.STAGE,
    MeshConfig(data=1, fsdp=2),
    {"model": "tiny", "data": "sft.jsonl", "heldout": "dev.jsonl"},
    TRAIN,
  ),
  "long": (
    sft.STAGE,
    MeshConfig(data=1, fsdp=2),
    {"model": "tiny", "data": "sft.jsonl"},
    TRAIN | {"train.epochs": 8.0, "train.optim.lr": 1e-3},
  ),
  "reward": (
    reward.STAGE,
    MeshConfig(data=2),
    {"model": "sft/model", "data": "pairs.jsonl", "heldout": "pairs.jsonl"},
    TRAIN | {"train.batch.microbatches": 2},
  ),
  "reference": (
    reference.STAGE,
    MeshConfig(data=2),
    {"model": "sft/model", "data": "pairs.jsonl"},
    {"batch.batch_size": 8, "batch.buckets": 1, "batch.multiple": 32},
  ),
  "dpo": (
    dpo.STAGE,
    MeshConfig(data=1, tensor=2),
    {"model": "sft/model", "data": "pairs.jsonl", "reference": "reference/logps.jsonl"},
    TRAIN,
  ),
  "sample": (
    sample.STAGE,
    MeshConfig(data=2),
    {"model": "sft/model", "prompts": "prompts.jsonl"},
    {"generate.samples": 2, "generate.max_new": 6, "shard": 3},
  ),
  "sample_together": (
    sample.STAGE,
    MeshConfig(data=1, tensor=2),
    {"model": "sft/model", "prompts": "prompts.jsonl"},
    {"generate.samples": 2, "generate.max_new": 6},
  ),
  "score": (score.STAGE, MeshConfig(data=2), {"candidates": "sample/candidates.jsonl"}, {}),
}
# The meshes of four devices.
FOUR = {
  "sft": MeshConfig(data=2, fsdp=2),
  "reward": MeshConfig(data=1, fsdp=4),
  "reference": MeshConfig(data=4),
  "dpo": MeshConfig(data=1, fsdp=2, tensor=2),
  "sample": MeshConfig(data=4),
  "sample_together": MeshConfig(data=1, fsdp=2, tensor=2),
  "score": MeshConfig(data=2, tensor=2),
}


def config_of(stage, settings):
  values = to_config_dict(stage.config())
  with values.unlocked():
    values.update_from_flattened_dict(settings)
  return from_config_dict(stage.config, values)


def run(name: str, folder: Path, inputs: Path, *, four: bool = False) -> None:
  """The stage, with its inputs in the run's folder or else in the folder of inputs."""
  stage, mesh, reads, settings = STAGES[name]
  mesh = FOUR[name] if four else mesh
  place = lambda path: folder / path if (folder / path).exists() else inputs / path
  options = {}
  if stage is score.STAGE:
    options["judge"] = judges.make(judges.RewardConfig().judge(), reward=folder / "reward/model")
  stage.run(
    # What `auto` measures may differ between two runs that measure at once.
    Context(ModelConfig(dtype="float32"), mesh, seed=1),
    folder / name,
    config_of(stage, settings),
    {role: place(path) for role, path in reads.items()},
    **options,
  )


def feed_the_first_rows() -> None:
  """The twin: each process feeds the rows of the first shard, whatever its own are."""
  from xwinjax.stages import training

  training.own_shards = lambda mesh: [0]


def main(given: dict) -> None:
  processes.start(processes.Start(**given["start"]))
  host.prepare()
  if given.get("twin"):
    feed_the_first_rows()
  for name in given["stages"]:
    run(name, Path(given["folder"]), Path(given["inputs"]), four=given.get("four", False))


if __name__ == "__main__":
  sys.exit(cli.guarded(lambda: main(json.loads(sys.argv[1]))))
