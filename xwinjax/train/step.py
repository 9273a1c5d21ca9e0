"""The one train step, for every objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from xwinjax.core import placed, rng
from xwinjax.core.types import Batch, Mean, Params
from xwinjax.model import lora
from xwinjax.sharding import rules
from xwinjax.sharding.mesh import data_shards
from xwinjax.train.objectives import Objective

Scalars = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that training changes. `skipped` counts updates refused since the last good one."""

  step: jax.Array
  params: Params
  opt_state: Any
  skipped: jax.Array
  skipped_total: jax.Array


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
  # Three arrays, not one thrice: a donated buffer may be given away only once.
  zero = lambda: jnp.zeros((), jnp.int32)
  return TrainState(zero(), params, optimizer.init(params), zero(), zero())


def _as_tuple(loss) -> tuple[Mean, ...]:
  return loss if isinstance(loss, tuple) else (loss,)


def _microbatches(batch: Batch, n: int, shards: int) -> Batch:
  """Every array with a new leading axis n, each device keeping its own share of every part."""

  def split(x):
    if x.shape[0] % (shards * n):
      raise ValueError(
        f"a batch of {x.shape[0]} rows does not split into {n} micro-batches on {shards} shards"
      )
    x = x.reshape(shards, n, x.shape[0] // (shards * n), *x.shape[1:])
    return x.swapaxes(0, 1).reshape(n, -1, *x.shape[3:])

  return jax.tree.map(split, dict(batch))


def make_gradient(objective: Objective, microbatches: int = 1, shards: int = 1) -> Callable:
  """(params, batch, key) -> (loss, metrics, gradient) of the whole batch.

  Micro-batches are added by sum and weight: the result is that of the batch in one piece, to
  rounding, however unevenly their tokens are spread. The weights are summed first (they do not
  depend on the parameters, so XLA drops the model from that pass); each micro-batch's gradient
  is then already divided by the whole weight, and gradients only add.
  """

  def whole(params, batch, key):
    loss, metrics = objective(params, batch, key)
    return sum(mean.value() for mean in _as_tuple(loss)), metrics

  if microbatches == 1:

    def gradient(params, batch, key):
      (loss, metrics), grads = jax.value_and_grad(whole, has_aux=True)(params, batch, key)
      return loss, metrics, grads

    return gradient

  def gradient_in_parts(params, batch, key):
    parts = _microbatches(batch, microbatches, shards)
    xs = (parts, jax.random.split(key, microbatches))

    def part_weights(part, k):
      return [mean.weight for mean in _as_tuple(objective(params, part, k)[0])]

    weights = [w.sum() for w in jax.lax.map(lambda x: part_weights(*x), xs)]

    def part_loss(params, part, k):
      loss, metrics = objective(params, part, k)
      means = zip(_as_tuple(loss), weights, strict=True)
      return sum(Mean(mean.total, weight).value() for mean, weight in means), metrics

    one = jax.value_and_grad(part_loss, has_aux=True)
    first = jax.tree.map(lambda x: x[0], xs)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(one, params, *first))

    def add(total, x):
      return jax.tree.map(jnp.add, total, one(params, *x)), None

    ((loss, metrics), grads), _ = jax.lax.scan(add, zeros, xs)
    return loss, metrics, grads

  return gradient_in_parts


def train_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  *,
  microbatches: int = 1,
  seed: int = 0,
  shards: int = 1,
) -> Callable[..., tuple[TrainState, Scalars]]:
  """One update as a pure function: (state, batch, frozen parameters if there are any) ->
  (state, metrics). See `make_train_step`."""

  def step(state: TrainState, batch: Batch, frozen: Params | None = None):
    of_all = objective
    if frozen is not None:
      of_all = lambda params, *rest: objective(lora.joined(frozen, params), *rest)
    gradient = make_gradient(of_all, microbatches, shards)
    loss, metrics, grads = gradient(state.params, batch, rng.step_key(seed, state.step))
    grad_norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    keep = lambda new, old: jnp.where(finite, new, old)
    new_state = TrainState(
      step=state.step + 1,
      params=jax.tree.map(keep, params, state.params),
      opt_state=jax.tree.map(keep, opt_state, state.opt_state),
      skipped=jnp.where(finite, 0, state.skipped + 1),
      skipped_total=state.skipped_total + jnp.where(finite, 0, 1),
    )
    scalars = {
      "loss": loss,
      **{name: mean.value() for name, mean in metrics.items()},
      "grad_norm": grad_norm,
      "param_norm": optax.tree.norm(state.params),
      "update_norm": optax.tree.norm(updates),
      "skipped": new_state.skipped,
      "skipped_total": new_state.skipped_total,
    }
    return new_state, scalars

  return step


def shardings(mesh: Mesh, state: TrainState, batch: Batch, *frozen: Params) -> dict[str, Any]:
  """`in_shardings` and `out_shardings` of a train step: state by `sharding.rules`, rows shared."""
  state_sharding = rules.tree_shardings(mesh, state)
  batch_sharding = rules.batch_shardings(mesh, dict(batch))
  return {
    "in_shardings": (state_sharding, batch_sharding, *rules.tree_shardings(mesh, frozen)),
    "out_shardings": (state_sharding, rules.replicated(mesh)),
  }


def make_train_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  *,
  microbatches: int = 1,
  seed: int = 0,
  mesh: Mesh | None = None,
  donate: bool = True,
  frozen: Params | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Scalars]]:
  """One jitted update: (state, batch) -> (state, metrics).

  Args:
    objective: see `train.objectives`; any function of that signature.
    optimizer: an optax transformation of the summed, divided gradient.
    microbatches: the batch's rows are processed in this many parts.
    seed: dropout keys are a function of it and the step.
    mesh: shards state by `sharding.rules` and rows over data × fsdp; None runs on one device.
    donate: gives the old state's memory to the new one.
    frozen: parameters that do not train: the objective gets them in one tree with the state's, and
      only the state's have gradients and moments.

  An update whose loss or gradient is not finite changes nothing but the counters `skipped` and
  `skipped_total`. Metrics: loss, grad_norm, param_norm, update_norm and the objective's own.
  """
  shards = 1 if mesh is None else data_shards(mesh)
  step = train_step(objective, optimizer, microbatches=microbatches, seed=seed, shards=shards)
  donated = (0,) if donate else ()
  given = () if frozen is None else (frozen,)
  if mesh is None:
    jitted = jax.jit(step, donate_argnums=donated)
    return (lambda state, batch: jitted(state, batch, *given)) if given else jitted

  compiled: dict[Any, Callable] = {}

  def sharded(state: TrainState, batch: Batch):
    """Jitted once for each structure; shapes are jit's own business."""
    key = jax.tree.structure((state, batch))
    if key not in compiled:
      laid = shardings(mesh, state, batch, *given)
      compiled[key] = jax.jit(step, **laid, donate_argnums=donated)
    with placed.on(mesh):
      return compiled[key](state, batch, *given)

  return sharded
