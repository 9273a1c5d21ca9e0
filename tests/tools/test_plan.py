"""tools/plan: rows of GPUs by the cost model, and the programs that are compiled for TPUs."""

import dataclasses
import importlib.util
import json

import jax
import numpy as np
import pytest
from planning import chips, compile, estimate, programs, sizes
from planning.programs import Job

from xwinjax.core.errors import UserError
from xwinjax.data import batching
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.data.records import Counts
from xwinjax.model import parameters
from xwinjax.recipes.xwin import XwinConfig
from xwinjax.sharding.mesh import make_mesh
from xwinjax.stages import memory
from xwinjax.stages.lora import LoRAConfig
from xwinjax.stages.reward import RewardConfig
from xwinjax.testing.tiny import tiny_config

KEYS = {"stage", "topology", "mesh", "batch", "seq", "peak_gib", "hbm_gib", "flops", "mfu"}
CONFIG = "--config=configs/xwin.py:llama2_7b"


@pytest.fixture
def plan(tool, capsys):
  """plan(words…): the rows that --json prints."""

  def call(*words):
    module = tool("plan")
    module.main(module.arguments([*words, "--json"]))
    return json.loads(capsys.readouterr().out)

  return call


def test_every_stage_on_a_node_of_gpus(plan):
  rows = plan(CONFIG, "--topology=h100:8")
  assert [row["stage"] for row in rows] == list(programs.STAGES)
  for row in rows:
    assert row.keys() >= KEYS
    assert 0 < row["mfu_at_least"] <= row["mfu"] <= 1
  sft = rows[0]
  # Parameters and two moments of 6.74e9 in f32, over 8.
  assert sft["peak_gib"] > 6.74e9 * 12 / 8 / 2**30
  assert sft["flops_needed"] == pytest.approx(6 * 6.6e9 * 64 * 4096 / 8, rel=0.1)


def test_a_search_takes_what_fits(plan):
  whole, found = (
    plan("--model=llama2_70b", "--topology=h100:8x8", "--stages=sft", "--seq=8192", *words)[0]
    for words in (("--remat=none",), ("--search",))
  )
  assert not whole["fits"]
  assert found["fits"]
  assert found["step_seconds"] > 0
  assert "remat=" in found["recommended"]


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (["--topology=v9:2x2"], "expected a chip of v4, v5e"),
    (["--topology=v5p:4x4"], "a slice of v5p has 3 axes"),
    (["--topology=h100:16"], "at most 8 GPUs a node"),
    (["--topology=h100:8", "--model=huge"], "no such file, nor one of llama2_7b"),
    (["--topology=h100:8", "--stages=sft,rm"], "--stages rm: there are sft"),
    (["--topology=h100:8", "--mesh=fsdp=3"], "does not multiply to the 8 chips"),
    (["--topology=h100:8", "--batch=12"], "does not split over 8 groups"),
    (["--topology=h100:8", "--decode_tensor=3"], "expected one of 1, 2, 4, 8"),
  ],
)
def test_what_is_wrong_is_one_line(plan, words, said):
  with pytest.raises(UserError, match=said):
    plan(CONFIG, *words)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_planned_batches_are_those_that_training_builds(stage):
  """The same arrays with the same shapes and dtypes; else another program were compiled."""
  n = 16 if stage == "sft" else 24
  branches = np.repeat([0, 1, 2], 8) if stage == "dpo" else np.zeros(n)
  fields = {"margin": np.zeros(2, np.float32), "reference": np.zeros((2, 2), np.float32)}
  items = Items(
    ids=("a", "b"),
    tokens=np.ones(2 * n, np.int32),
    mask=np.ones(2 * n, np.uint8),
    positions=np.tile(np.arange(n, dtype=np.int32), 2),
    branches=np.tile(branches.astype(np.uint8), 2),
    offsets=np.array([0, n, 2 * n]),
    fields=fields if stage == "dpo" else {},
    counts=Counts(),
    branched=stage == "dpo",
  )
  made = batching.make_plan(items, BatchConfig(2, buckets=1, multiple=8), seed=0)
  built = batching.build_batch(items, made, 0)
  planned = programs.batch_shapes(Job(stage, 2, n), shards=1)
  shapes = lambda batch: {k: (x.shape, np.dtype(x.dtype)) for k, x in batch.items()}
  built, planned = shapes(built), shapes(planned)
  assert built.pop("gather")[1] == planned.pop("gather")[1]
  assert built == planned


@pytest.mark.parametrize(
  "stage",
  [pytest.param("sft"), *[pytest.param(s, marks=pytest.mark.slow) for s in programs.STAGES[1:]]],
)
def test_every_program_compiles_on_a_mesh(stage):
  mesh = make_mesh(2, 2, 2)
  model = tiny_config(scan_layers=True)
  job = Job(stage, 8, 16, samples=4, block=2, window=4)
  with jax.set_mesh(mesh):
    made = programs.make(job, XwinConfig(), model, mesh)
    compiled = jax.jit(made.function, **made.jit).lower(*made.arguments).compile()
  given = compiled.memory_analysis().argument_size_in_bytes
  whole = 4 * parameters.count(model)
  assert given < whole * (3 if stage in programs.TRAINED else 1)


def test_adapters_are_compiled_and_counted(plan):
  mesh, model = make_mesh(2, 2, 2), tiny_config(scan_layers=True)
  adapters = LoRAConfig(rank=2, base_dtype="bfloat16")
  config = XwinConfig(reward=RewardConfig(lora=adapters))
  with jax.set_mesh(mesh):
    made = programs.make(Job("reward", 8, 16), config, model, mesh)
    compiled = jax.jit(made.function, **made.jit).lower(*made.arguments).compile()
  given = compiled.memory_analysis().argument_size_in_bytes
  state, gradient = memory.state_bytes(model, lora=adapters)
  assert gradient == 4 * adapters.numbers(adapters.adapted(model))
  assert 0.25 < given / state < 0.5  # a quarter of it, and the batch
  words = ("--topology=h100:8", "--stages=sft", "--microbatches=8")
  less, whole = (plan(f"--config=configs/xwin.py:llama3_8b{v}", *words)[0] for v in ("_lora", ""))
  assert whole["peak_gib"] - less["peak_gib"] > (12 - 2) * 8.03e9 / 8 / 2**30
  assert less["flops_needed"] == pytest.approx(whole["flops_needed"] * 2 / 3)


def test_published_sizes():
  count = {name: round(parameters.count(size) / 1e9, 2) for name, size in sizes.SIZES.items()}
  assert count == {
    "llama2_7b": 6.74,
    "llama2_13b": 13.02,
    "llama2_70b": 68.98,
    "llama3_8b": 8.03,
    "llama3_70b": 70.55,
  }


def test_links_of_a_slice():
  assert chips.parse("v5p:4x4x4").bandwidth() == 6 * 9e10  # three rings, both ways
  assert chips.parse("v5e:4x8").bandwidth() == 2 * 4.5e10  # lines
  assert chips.parse("h100:8").bandwidth() == 450e9
  assert chips.parse("h100:8x2").bandwidth() == 50e9


def test_what_training_needs_is_six_a_parameter_and_token():
  model = dataclasses.replace(sizes.SIZES["llama2_7b"])
  short = estimate.needed_flops(Job("sft", 1, 1), model, 1)
  assert short == pytest.approx(6 * (6.74e9 - 32_000 * 4096), rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="jax[tpu] is not installed")
def test_a_program_for_chips_that_are_not_there():
  model = tiny_config(scan_layers=True, head_dim=128, dtype="bfloat16", attention="splash")
  request = {
    "model": dataclasses.asdict(model),
    "topology": "v5e:2x2",
    "mesh": {"data": 1, "fsdp": 4, "tensor": 1},
    "config": dataclasses.asdict(XwinConfig()),
    "job": dataclasses.asdict(Job("sft", 8, 128)),
  }
  made = compile.run(request, 600)
  assert made["peak"] > 0
  assert made["cost"]["kernels"]
