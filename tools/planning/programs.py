"""The compiled programs of the chain's stages, with shapes in place of arrays."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xwinjax.core import placed
from xwinjax.forward import values
from xwinjax.model import cache as kv
from xwinjax.model import llama, parameters
from xwinjax.model.config import LlamaConfig
from xwinjax.recipes.xwin import XwinConfig
from xwinjax.sample import decode
from xwinjax.sharding import rules
from xwinjax.sharding.mesh import data_shards
from xwinjax.stages.lora import LoRAConfig, split
from xwinjax.train import objectives, optim
from xwinjax.train.step import init_state, shardings, train_step

STAGES = ("sft", "reward", "reference", "dpo", "prefill", "decode")
TRAINED = ("sft", "reward", "dpo")
SAMPLED = ("prefill", "decode")


@dataclasses.dataclass(frozen=True)
class Job:
  """What is to be compiled: a stage on a mesh, with so many rows of so many tokens.

  Of a pair, a row is its prompt and both answers. Prefill takes `batch` prompts of `length` tokens;
  decode writes `samples` answers to each of them, `length` tokens being in the cache besides.
  """

  stage: str
  batch: int
  length: int
  microbatches: int = 1
  samples: int = 64
  block: int = 16  # tokens that decode writes of each answer in one run
  window: int = 512  # tokens an answer may have
  state: float = 0.0  # bytes of parameters and moments that a step is given, on all devices
  gradient: float = 0.0  # bytes of its gradients


@dataclasses.dataclass(frozen=True)
class Program:
  """A function ready to lower: `jax.jit(function, **jit).lower(*arguments)`."""

  function: Callable
  arguments: tuple
  jit: dict[str, Any]


def make(job: Job, config: XwinConfig, model: LlamaConfig, mesh: Mesh) -> Program:
  """The program of a job, as its stage would compile it."""
  if job.stage == "decode":
    return _decode(job, config, model, mesh)
  if job.stage == "prefill":
    return _prefill(job, model, mesh)
  params = _params(model, job.stage == "reward")
  lora = getattr(config, job.stage).lora if job.stage in TRAINED else LoRAConfig()
  model = lora.adapted(model)
  batch = batch_shapes(job, data_shards(mesh))
  if job.stage == "reference":
    function = functools.partial(values.pair_logps, model)
    laid = (rules.tree_shardings(mesh, params), rules.batch_shardings(mesh, batch))
    return Program(function, (params, batch), {"in_shardings": laid})
  objective = {
    "sft": lambda: objectives.sft(model),
    "reward": lambda: objectives.reward(model),
    "dpo": lambda: objectives.dpo(model, beta=config.dpo.beta),
  }[job.stage]()
  optimizer = optim.make_optimizer(getattr(config, job.stage).train.optim, 1000)
  held = jax.tree_util.tree_map_with_path(functools.partial(_held, lora), params)
  trained, frozen = jax.eval_shape(lambda p: split(lora, model, p, 0), held)
  given = () if frozen is None else (frozen,)
  state = jax.eval_shape(lambda p: init_state(p, optimizer), trained)
  step = train_step(objective, optimizer, microbatches=job.microbatches, shards=data_shards(mesh))
  jit = shardings(mesh, state, batch, *given) | {"donate_argnums": (0,)}
  return Program(step, (state, batch, *given), jit)


def _held(lora: LoRAConfig, path: Any, shape: Any) -> jax.ShapeDtypeStruct:
  """A parameter as a stage opens it to train."""
  matrix = len(parameters.BY_PATH[tuple(str(key.key) for key in path)].dims) > 1
  dtype = lora.base_dtype if lora.rank and matrix else "float32"
  return jax.ShapeDtypeStruct(shape.shape, jnp.dtype(dtype))


def _params(model: LlamaConfig, reward: bool) -> Any:
  return jax.eval_shape(lambda: llama.init(model, jax.random.key(0), reward_head=reward))


def batch_shapes(job: Job, shards: int) -> dict[str, Any]:
  """A batch as `data.batching.build_batch` makes it, every place of every row supervised."""
  shape = (job.batch, job.length)
  groups = shards * job.microbatches
  made: dict[str, tuple[tuple[int, ...], Any]] = {
    "tokens": (shape, jnp.int32),
    "mask": (shape, jnp.uint8),
    "gather": ((groups, job.batch * job.length // groups), jnp.int32),
  }
  if job.stage != "sft":
    one = (job.batch, 1)
    made |= {"positions": (shape, jnp.int32), "segments": (shape, jnp.int32)}
    made |= {"example_weight": (one, jnp.float32), "margin": (one, jnp.float32)}
  if job.stage == "dpo":
    made["reference"] = ((job.batch, 1, 2), jnp.float32)
  return {name: jax.ShapeDtypeStruct(*x) for name, x in made.items()}


def _with(mesh: Mesh, shape: Any, axes: tuple) -> jax.ShapeDtypeStruct:
  with jax.set_mesh(mesh):
    sharding = NamedSharding(mesh, placed.spec(shape.shape, axes))
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)


def _for_decoding(model: LlamaConfig, mesh: Mesh) -> Any:
  """Parameters as the sampler keeps them, each with its sharding."""
  made = jax.eval_shape(functools.partial(kv.decode_params, model), _params(model, False))

  def lay(path, shape):
    names = tuple(str(key.key) for key in path if hasattr(key, "key"))  # unscanned layers: a list
    row = parameters.BY_PATH[names]
    axes = row.mesh_axes if len(row.mesh_axes) == len(shape.shape) else row.axes
    return _with(mesh, shape, kv.along_tensor(axes))

  return jax.tree_util.tree_map_with_path(lay, made)


def _cache(job: Job, model: LlamaConfig, samples: int, window: int) -> Any:
  return jax.eval_shape(lambda: kv.init_cache(model, job.batch, samples, job.length, window))


def _on(mesh: Mesh, cache: kv.Cache) -> kv.Cache:
  """A cache's shapes, each with the sharding that the sampler gives it."""
  with jax.set_mesh(mesh):
    axes = kv.axes(cache)
  return jax.tree.map(lambda x, along: _with(mesh, x, along), cache, axes)


def _prefill(job: Job, model: LlamaConfig, mesh: Mesh) -> Program:
  whole = NamedSharding(mesh, P())
  tokens = jax.ShapeDtypeStruct((job.batch, job.length), jnp.int32, sharding=whole)
  slots = jax.ShapeDtypeStruct((job.batch,), jnp.int32, sharding=whole)
  cache = _on(mesh, _cache(job, model, 1, 16))
  function = functools.partial(inspect.unwrap(decode.start_prompts), model)
  arguments = (_for_decoding(model, mesh), cache, tokens, slots)
  return Program(function, arguments, {"donate_argnums": (1,)})


def _decode(job: Job, config: XwinConfig, model: LlamaConfig, mesh: Mesh) -> Program:
  """A block of tokens for every sample, with an answer of full length in the cache."""
  shape, whole = (job.batch, job.samples), NamedSharding(mesh, P())

  def array(shape, dtype) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

  key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), shape))
  ints, flags = array(shape, jnp.int32), array(shape, jnp.bool_)
  slots = decode.Slots(
    token=ints,
    own=ints,
    limit=ints,
    active=flags,
    key=array(shape, key.dtype),
    shared=array((job.batch,), jnp.int32),
    fresh=flags,
  )
  compiled = (model, config.sample.generate.params, (2,), job.block)
  function = functools.partial(inspect.unwrap(decode.decode_block), *compiled)
  cache = _on(mesh, _cache(job, model, job.samples, job.window))
  arguments = (_for_decoding(model, mesh), cache, slots, None)
  return Program(function, arguments, {"donate_argnums": (1,)})
