"""Options that say how to compute, and must not change what is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import close, logits, logps_and_gradient, small_config, small_params

from xwinjax.model import layers, llama, parameters

CONFIG = small_config()
PARAMS = small_params(CONFIG)
IDS = np.random.default_rng(5).integers(1, 64, (2, 12))
MASK = np.ones_like(IDS)


@pytest.mark.parametrize(
  "changes",
  [{"scan_layers": True}, {"remat": "dots"}, {"scan_layers": True, "remat": "full"}],
  ids=str,
)
def test_scan_and_remat_leave_values_and_gradients_as_they_are(changes):
  logps, gradient = logps_and_gradient(CONFIG, PARAMS, IDS, MASK)
  got_logps, got_gradient = logps_and_gradient(CONFIG.replace(**changes), PARAMS, IDS, MASK)
  assert np.allclose(got_logps, logps, atol=1e-5)
  assert close(got_gradient, gradient, rtol=1e-4, atol=1e-4)


def test_scan_runs_the_layers_in_their_order():
  upside_down = PARAMS | {"layers": jax.tree.map(lambda p: p[::-1], PARAMS["layers"])}
  wanted, _ = logps_and_gradient(CONFIG, PARAMS, IDS, MASK)
  got, _ = logps_and_gradient(CONFIG.replace(scan_layers=True), upside_down, IDS, MASK)
  assert not np.allclose(got, wanted, atol=1e-5)


def test_bf16_is_close_to_f32_and_is_not_f32():
  wanted = np.asarray(logits(CONFIG, PARAMS, IDS))
  got = logits(CONFIG.replace(dtype="bfloat16"), PARAMS, IDS)
  assert got.dtype == jnp.float32
  error = np.abs(np.asarray(got) - wanted)
  assert error.mean() < 0.05 * np.abs(wanted).mean()
  assert error.max() > 1e-4


def test_dropout_rates_rise_linearly_from_bottom_to_top():
  three = small_config(num_layers=3, dropout=(0.0, 0.3))
  assert three.dropout_rates() == pytest.approx([0.0, 0.15, 0.3])
  assert small_config(num_layers=1, dropout=(0.1, 0.3)).dropout_rates() == pytest.approx([0.1])


def test_every_layer_drops_at_its_own_rate(monkeypatch):
  seen, real = [], layers.residual_dropout

  def recorded(x, rate, key):
    dropped = real(jnp.ones((64, 64)), rate, key)
    bits = jax.random.bits(key, dtype=jnp.uint16)
    seen.append(jnp.array([rate, (dropped == 0).mean(), dropped.mean(), bits]))
    return real(x, rate, key)

  def run():
    llama.apply(CONFIG.replace(dropout=(0.2, 0.5)), PARAMS, IDS, dropout_key=jax.random.key(0))
    return seen

  monkeypatch.setattr(layers, "residual_dropout", recorded)
  rates, shares, means, bits = np.array(jax.jit(run)()).T
  assert rates == pytest.approx([0.2, 0.2, 0.5, 0.5])  # attention and MLP of each layer
  assert shares == pytest.approx(rates, abs=0.03)
  assert means == pytest.approx(1.0, abs=0.05)  # what is kept is scaled up
  assert len(set(bits)) == 4  # no two share a key


def test_dropout_is_off_without_a_key_and_a_function_of_it_otherwise():
  config = CONFIG.replace(dropout=(0.0, 0.5))
  run = jax.jit(lambda key: llama.apply(config, PARAMS, IDS, dropout_key=key))
  plain = jax.jit(lambda: llama.apply(CONFIG, PARAMS, IDS))()
  assert np.array_equal(jax.jit(lambda: llama.apply(config, PARAMS, IDS))(), plain)
  one, same, other = (run(jax.random.key(k)) for k in (0, 0, 1))
  assert np.array_equal(one, same)
  assert not np.allclose(one, other, atol=1e-3)
  assert not np.allclose(one, plain, atol=1e-3)


def test_scan_draws_the_same_dropout_as_the_loop():
  config = CONFIG.replace(dropout=(0.1, 0.5))
  run = jax.jit(
    lambda c: llama.apply(c, PARAMS, IDS, dropout_key=jax.random.key(3)), static_argnums=0
  )
  assert np.allclose(run(config), run(config.replace(scan_layers=True)), atol=1e-4)
  assert not np.allclose(run(config), run(config.replace(dropout=(0.5, 0.1))), atol=1e-4)


def test_initial_parameters_have_the_stated_scales():
  config = small_config(dim=64, ffn_dim=256, tied=False, vocab_size=512)
  params = llama.init(config, jax.random.key(0))
  small, residual = (2 / 5 / 64) ** 0.5, (2 / 5 / 64) ** 0.5 / 4**0.5
  layer = params["layers"]
  for leaf, std in (
    (params["embed"]["embedding"], small),
    (params["head"]["kernel"], small),
    (layer["mlp"]["up"], small),
    (layer["mlp"]["down"], residual),
  ):
    assert float(leaf.std()) == pytest.approx(std, rel=0.03)
    assert float(leaf.mean()) == pytest.approx(0, abs=0.03 * std)
  assert (layer["attention_norm"]["scale"] == 1).all()
  assert parameters.count(config) == sum(p.size for p in jax.tree.leaves(params))
  assert not np.array_equal(layer["mlp"]["up"][0], layer["mlp"]["up"][1])


def test_a_reward_head_starts_at_zero_and_replaces_the_other():
  untied = small_params(small_config(tied=False))
  assert set(llama.with_reward_head(untied)) == {"embed", "layers", "norm", "reward"}
  assert "head" in llama.with_reward_head(untied, keep=True)
  hidden = jnp.ones((1, 3, 16), jnp.bfloat16)
  rewards = llama.reward(llama.with_reward_head(untied), hidden)
  assert rewards.dtype == jnp.float32
  assert (rewards == 0).all()
  ones = untied | {"reward": {"kernel": np.ones(16, np.float32)}}
  assert (llama.reward(ones, hidden) == 16).all()


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"num_kv_heads": 3}, "num_kv_heads 3"),
    ({"head_dim": 3}, "head_dim 3"),
    ({"dtype": "int8"}, "int8"),
    ({"remat": "some"}, "some"),
    ({"dropout": (0, 1.0)}, "dropout"),
  ],
)
def test_impossible_configs_are_refused_by_name(changes, said):
  with pytest.raises(ValueError, match=said):
    small_config(**changes)


def test_neftune_s_noise_is_uniform_within_alpha_over_root_t_d():
  config = CONFIG.replace(neftune=5.0)
  x = jnp.zeros((64, 12, config.dim))
  noise = np.asarray(llama.embedding_noise(config, x, jax.random.key(0)))
  most = 5.0 / (12 * config.dim) ** 0.5
  assert 0.999 * most < np.abs(noise).max() <= most
  assert noise.std() == pytest.approx(most / 3**0.5, rel=0.02)
  assert noise.std() != pytest.approx(most / 12**0.5, rel=0.02)  # of half the width


def test_neftune_is_off_without_a_key_and_a_function_of_it_otherwise():
  config = CONFIG.replace(neftune=5.0)
  run = jax.jit(lambda key: llama.apply(config, PARAMS, IDS, dropout_key=key))
  first, again, other = (np.asarray(run(jax.random.key(i))) for i in (0, 0, 1))
  assert np.array_equal(first, again)
  assert not np.allclose(first, other, atol=1e-3)
  without = llama.apply(config, PARAMS, IDS)
  assert np.allclose(without, llama.apply(CONFIG, PARAMS, IDS), atol=1e-6)
  assert not np.allclose(without, first, atol=1e-3)
