"""The one train step: micro-batches, refused updates, metrics, compilation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import close, equal

from xwinjax.core.types import Mean
from xwinjax.losses import logprobs
from xwinjax.train import objectives
from xwinjax.train.step import init_state, make_gradient, make_train_step

KEY = jax.random.key(0)


def gradient_of(objective, params, batch, microbatches):
  return jax.jit(make_gradient(objective, microbatches))(params, batch, KEY)


def test_four_microbatches_give_the_gradient_of_one(config, params, sft_batch):
  whole = gradient_of(objectives.sft(config), params, sft_batch, 1)
  parts = gradient_of(objectives.sft(config), params, sft_batch, 4)
  assert close(parts, whole, atol=1e-5, rtol=1e-4)


def test_a_mean_of_means_does_not(config, params, sft_batch):
  def mean_of_means(params, batch, key):
    loss, metrics = objectives.sft(config)(params, batch, key)
    return Mean(loss.value(), jnp.float32(1.0)), metrics

  whole = gradient_of(mean_of_means, params, sft_batch, 1)
  parts = gradient_of(mean_of_means, params, sft_batch, 4)
  assert float(parts[0]) != pytest.approx(float(whole[0]), rel=1e-2)
  assert not close(parts[2], whole[2], atol=1e-5, rtol=1e-4)


def test_microbatches_take_their_own_group_of_gathered_places(config, params, sft_batch):
  """`gather` counts places within a group of rows; group g must go with its rows."""
  gather = np.full((4, 24), -1, np.int32)
  for g, rows in enumerate(np.split(sft_batch["mask"], 4)):
    b, t = np.nonzero(rows)
    gather[g, : len(b)] = b * 12 + t
  whole = gradient_of(objectives.sft(config), params, sft_batch, 1)
  parts = gradient_of(objectives.sft(config), params, sft_batch | {"gather": gather}, 4)
  assert close(parts, whole, atol=1e-5, rtol=1e-4)
  shifted = sft_batch | {"gather": np.roll(gather, 1, 0)}
  assert not close(gradient_of(objectives.sft(config), params, shifted, 4), whole, rtol=1e-4)


def test_objectives_with_several_means_divide_each_by_its_own_weight(config, params, pair_batch):
  objective = objectives.weighted(
    (1.0, objectives.dpo(config)), (0.3, objectives.nll_on_chosen(config))
  )
  whole = gradient_of(objective, params, pair_batch, 1)
  assert close(gradient_of(objective, params, pair_batch, 2), whole, atol=1e-5, rtol=1e-4)


def test_rows_that_do_not_divide_are_refused(config, params, sft_batch):
  with pytest.raises(ValueError, match="8 rows does not split into 3 micro-batches"):
    gradient_of(objectives.sft(config), params, sft_batch, 3)


def fragile(config):
  """SFT with dropout, its total multiplied by the batch's `poison`."""

  def objective(params, batch, key):
    loss, metrics = objectives.sft(config.replace(dropout=(0.2, 0.2)))(params, batch, key)
    return Mean(loss.total * jnp.mean(batch["poison"]), loss.weight), metrics

  return objective


@pytest.fixture(scope="module")
def fragile_step(config):
  optimizer = optax.adam(0.01)
  step = make_train_step(fragile(config), optimizer, donate=False)
  return optimizer, lambda state, batch, poison: step(
    state, batch | {"poison": np.full(8, poison, np.float32)}
  )


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_an_update_that_is_not_finite_is_skipped_and_counted(
  fragile_step, params, sft_batch, poison
):
  optimizer, step = fragile_step
  state, _ = step(init_state(params, optimizer), sft_batch, 1.0)
  skipped, metrics = step(state, sft_batch, poison)
  assert equal((skipped.params, skipped.opt_state), (state.params, state.opt_state))
  assert (int(skipped.step), int(skipped.skipped), int(skipped.skipped_total)) == (2, 1, 1)
  assert not np.isfinite(metrics["loss"])
  twice, _ = step(skipped, sft_batch, poison)
  assert (int(twice.skipped), int(twice.skipped_total)) == (2, 2)
  good, _ = step(twice, sft_batch, 1.0)
  assert (int(good.skipped), int(good.skipped_total)) == (0, 2)
  assert not equal(good.params, state.params)
  # The same update without the guard is what the guard is for.
  grads = jax.tree.map(lambda p: p * poison, state.params)
  updates, _ = optimizer.update(grads, state.opt_state)
  broken = optax.apply_updates(state.params, updates)
  assert not all(np.isfinite(p).all() for p in jax.tree.leaves(broken))


def test_metrics_hold_the_norms_of_what_happened(config, params, sft_batch):
  objective = objectives.sft(config)
  step = make_train_step(objective, optax.sgd(0.5), donate=False)
  state = init_state(params, optax.sgd(0.5))
  new, metrics = step(state, sft_batch)
  loss, _, grads = gradient_of(objective, params, sft_batch, 1)
  norm = np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(grads)))
  assert float(metrics["loss"]) == pytest.approx(float(loss), abs=1e-5)
  assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-4)
  assert float(metrics["update_norm"]) == pytest.approx(norm / 2, rel=1e-4)
  moved = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
  assert close(new.params, moved, rtol=1e-4)
  assert not close(new.params, jax.tree.map(lambda p, g: p + 0.5 * g, params, grads), rtol=1e-4)


def test_dropout_keys_are_a_function_of_the_step(fragile_step, params, sft_batch):
  optimizer, step = fragile_step
  state = init_state(params, optimizer)
  later = dataclasses.replace(state, step=state.step + 1)
  losses = [float(step(s, sft_batch, 1.0)[1]["loss"]) for s in (state, state, later)]
  assert losses[0] == losses[1]
  assert losses[0] != losses[2]


def test_each_shape_compiles_once(config, params, compiled_names):
  optimizer = optax.sgd(1e-3)
  step = make_train_step(objectives.sft(config), optimizer)
  state = init_state(jax.tree.map(jnp.array, params), optimizer)

  def epoch(state):
    for length in (8, 16, 8, 8, 16):
      batch = {"tokens": np.ones((2, length), np.int32), "mask": np.ones((2, length), np.uint8)}
      state, _ = step(state, jax.device_put(batch))
    return state

  state = epoch(state)
  assert compiled_names.count("jit(step)") == 2
  compiled_names.clear()
  epoch(state)
  assert compiled_names == []


def test_a_user_s_own_objective_goes_into_the_same_step(config, params, sft_batch):
  """Focal loss (Lin et al. 2017), which the package does not have."""

  def focal(params, batch, key):
    logps, _, weights = objectives.token_logps(config, params, batch, key)
    return Mean.of(-((1 - jnp.exp(logps)) ** 2) * logps, weights), {}

  step = make_train_step(focal, optax.adam(0.02))
  state = init_state(jax.tree.map(jnp.array, params), optax.adam(0.02))
  losses = []
  for _ in range(10):
    state, metrics = step(state, sft_batch)
    losses.append(float(metrics["loss"]))
  assert losses[-1] < 0.7 * losses[0]


def test_padding_behind_a_row_changes_nothing(config, params, sft_batch):
  padded = {name: np.pad(x, ((0, 0), (0, 4))) for name, x in sft_batch.items()}
  longer = gradient_of(objectives.sft(config), params, padded, 1)
  whole = gradient_of(objectives.sft(config), params, sft_batch, 1)
  assert close(longer, whole, rtol=1e-4)
  supervised = padded | {"mask": np.where(np.arange(16) > 11, 1, padded["mask"])}
  assert not close(gradient_of(objectives.sft(config), params, supervised, 1), whole, rtol=1e-4)
  assert logprobs.target_weights(jnp.asarray(padded["mask"])).sum() == sft_batch["mask"].sum()
