"""A step on eight devices is the step on one: same loss, same gradients, less memory each.

The optimizer is plain gradient descent with rate 1, so that the change of the parameters is the
gradient itself.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import close, small_config, small_params

from xwinjax.core.segments import segment
from xwinjax.model import llama, lora
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Request, Sampler, SamplerConfig
from xwinjax.sharding import rules
from xwinjax.sharding.mesh import data_shards, make_mesh
from xwinjax.sharding.place import put_batch
from xwinjax.train import objectives
from xwinjax.train.step import init_state, make_train_step

CONFIG = small_config(num_layers=1, num_heads=8, num_kv_heads=4)
MESHES = {
  "data8": (8, 1, 1),
  "fsdp8": (1, 8, 1),
  "data2_fsdp2_tensor2": (2, 2, 2),
  "fsdp2_tensor4": (1, 2, 4),
}
OBJECTIVES = {"sft": objectives.sft, "reward": objectives.reward, "dpo": objectives.dpo}
SGD = optax.sgd(1.0)
RNG = np.random.default_rng(0)


def batch_for(name):
  """Eight rows of very unequal weight; pairs branch from a prompt of three."""
  tokens = RNG.integers(1, 64, (8, 12)).astype(np.int32)
  if name == "sft":
    mask = (np.arange(12) >= np.array([11, 1, 9, 5, 12, 3, 2, 10])[:, None]).astype(np.uint8)
    gather = np.full((8, 12), -1, np.int32)
    for g, row in enumerate(mask):
      places = np.flatnonzero(row)
      gather[g, : len(places)] = places
    return {"tokens": tokens, "mask": mask, "gather": gather}
  segments = np.repeat([segment(1), segment(1, 1), segment(1, 2)], [2, 6, 4])
  positions = np.array([0, 1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5])
  mask = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1], np.uint8)
  return {
    "tokens": tokens,
    "mask": np.tile(mask, (8, 1)),
    "segments": np.tile(segments, (8, 1)).astype(np.int32),
    "positions": np.tile(positions, (8, 1)).astype(np.int32),
    "example_weight": np.array([1, 1, 1, 0, 1, 1, 0, 1], np.float32)[:, None],
    "reference": RNG.normal(-20, 3, (8, 1, 2)).astype(np.float32),
  }


BATCHES = {name: batch_for(name) for name in OBJECTIVES}


def fresh_state(name):
  params = small_params(CONFIG)
  if name == "reward":
    params = llama.with_reward_head(params) | {"reward": {"kernel": np.linspace(-1, 1, 16)}}
  return init_state(jax.tree.map(lambda p: jnp.array(p, jnp.float32), params), SGD)


def run(name, batch, mesh=None, microbatches=1):
  """(state, metrics) after a step."""
  state = fresh_state(name)
  if mesh is not None:
    state = jax.device_put(state, rules.tree_shardings(mesh, state))
  step = make_train_step(OBJECTIVES[name](CONFIG), SGD, mesh=mesh, microbatches=microbatches)
  return step(state, put_batch(batch, mesh))


# A third of the combinations in the fast lane: each objective and each mesh once.
COMBINATIONS = [
  pytest.param(name, mesh, marks=[] if i == j else pytest.mark.slow)
  for i, name in enumerate(OBJECTIVES)
  for j, mesh in enumerate(MESHES)
]


@functools.cache
def on_one_device(name):
  return run(name, {k: v for k, v in BATCHES[name].items() if k != "gather"})


@pytest.mark.parametrize(("name", "mesh_name"), COMBINATIONS)
def test_eight_devices_take_the_step_of_one(name, mesh_name):
  state, metrics = on_one_device(name)
  mesh = make_mesh(*MESHES[mesh_name])
  sharded, sharded_metrics = run(name, BATCHES[name], mesh)
  assert close(sharded_metrics, metrics, rtol=1e-4)
  assert close(sharded.params, state.params, rtol=1e-4)
  without_a_row = {k: np.array(v) for k, v in BATCHES[name].items()}
  without_a_row["mask" if name == "sft" else "example_weight"][1] = 0
  assert not close(run(name, without_a_row, mesh)[0].params, state.params, rtol=1e-4)


def test_each_device_holds_its_part_alone():
  mesh = make_mesh(2, 2, 2)
  state, _ = run("dpo", BATCHES["dpo"], mesh)
  gate, embedding = state.params["layers"]["mlp"]["gate"], state.params["embed"]["embedding"]
  assert gate.shape == (1, 16, 32)
  assert {s.data.shape for s in gate.addressable_shards} == {(1, 8, 16)}
  assert {s.data.shape for s in embedding.addressable_shards} == {(32, 8)}
  placed = put_batch(BATCHES["sft"], mesh)
  assert {s.data.shape for s in placed["tokens"].addressable_shards} == {(2, 12)}
  assert data_shards(mesh) == 4


@pytest.mark.slow
def test_microbatches_on_a_mesh_give_the_same_step():
  state, metrics = run("sft", {k: BATCHES["sft"][k] for k in ("tokens", "mask")})
  mesh = make_mesh(2, 2, 2)
  parts, parts_metrics = run("sft", BATCHES["sft"], mesh, microbatches=2)
  assert close(parts_metrics, metrics, rtol=1e-4)
  assert close(parts.params, state.params, rtol=1e-4)
  rolled = BATCHES["sft"] | {"gather": np.roll(BATCHES["sft"]["gather"], 1, 0)}
  assert not close(run("sft", rolled, mesh, 2)[0].params, state.params, rtol=1e-4)


@pytest.mark.slow
def test_sharded_parameters_sample_the_same_tokens():
  requests = [Request("a", [1, 5, 9], 2, 6), Request("b", [1, 7], 2, 6)]
  settings = SamplerConfig(slots=4, samples_per_prompt_slot=2, block=4)
  mesh = make_mesh(2, 2, 2)
  params = small_params(CONFIG)
  sharded = jax.device_put(params, rules.tree_shardings(mesh, params))
  one, eight = (
    Sampler(CONFIG, p, SamplingParams(), stop_ids=(2,), settings=settings).sample(requests)
    for p in (params, sharded)
  )
  ids = lambda results: [c.ids for done, _ in results for c in done]
  assert ids(one) == ids(eight)
  assert len(set(map(tuple, ids(one)))) == 4


ADAPTED = CONFIG.replace(lora_rank=3, lora_alpha=12.0)


def adapter_step(mesh=None):
  """(state, metrics) after an SFT step of adapters alone."""
  base = jax.tree.map(jnp.asarray, small_params(CONFIG))
  fresh = lora.init(ADAPTED, jax.random.key(0), ("q_proj", "o_proj", "up_proj", "down_proj"))
  trained = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), fresh)
  state, batch = init_state(trained, SGD), BATCHES["sft"]
  if mesh is None:
    batch = {k: v for k, v in batch.items() if k != "gather"}
  else:
    base = jax.device_put(base, rules.tree_shardings(mesh, base))
  step = make_train_step(objectives.sft(ADAPTED), SGD, mesh=mesh, frozen=base)
  return step(state, put_batch(batch, mesh))


@pytest.mark.parametrize(
  "name", ["data2_fsdp2_tensor2", pytest.param("fsdp8", marks=pytest.mark.slow)]
)
def test_adapters_take_on_eight_devices_the_step_of_one(name):
  state, metrics = adapter_step()
  sharded, sharded_metrics = adapter_step(make_mesh(*MESHES[name]))
  assert close(sharded_metrics, metrics, rtol=1e-4)
  assert close(sharded.params, state.params, rtol=1e-4)
  moved = jax.tree.map(lambda x: 1.01 * x, state.params)  # the twin
  assert not close(sharded.params, moved, rtol=1e-4)
  at = sharded.params["layers"]
  parts = {k: at["mlp"][k].addressable_shards[0].data.shape for k in ("up_lora_a", "down_lora_b")}
  D = 16 // MESHES[name][1]  # shared out as their kernels' inputs and outputs are
  assert parts == {"up_lora_a": (1, D, 3), "down_lora_b": (1, 3, D)}
