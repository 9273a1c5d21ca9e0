"""Adapters against logits and gradients that PEFT computed; what they leave as it was."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import close, equal
from goldens import families
from goldens import lora as golden

from xwinjax.checkpoint import huggingface, peft
from xwinjax.model import llama, lora, parameters
from xwinjax.testing.tiny import tiny_config, tiny_params
from xwinjax.train import objectives

STORED = json.loads(golden.STORED.read_text())
ALL = tuple(parameters.ADAPTERS)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """(config, parameters) of the model that PEFT's numbers are of."""
  folder = families.folder_of(golden.FAMILY, tmp_path_factory.mktemp("base"))
  config, params = huggingface.load(folder)
  return config.replace(lora_rank=golden.RANK, lora_alpha=golden.ALPHA), params


def adapters_of(config, case):
  """The golden's adapters in our tree."""
  tensors = golden.factors(STORED[case]["shapes"])
  trained = lora.init(config, jax.random.key(0), golden.TARGETS[case])

  def read(path, leaf):
    row = parameters.BY_PATH[tuple(k.key for k in path)]
    names = [peft.PREFIX + row.name(i) for i in range(config.num_layers)]
    return jnp.stack(
      [huggingface.to_ours(row, config, lambda i, n=n: tensors.pop(n)[i]) for n in names]
    )

  trained = jax.tree_util.tree_map_with_path(read, trained)
  assert not tensors  # PEFT has no adapter that we have not
  return trained


def loss_and_logits(config, params, trained):
  """As PEFT's: the mean cross-entropy of all tokens after the first, and logits."""
  tokens = jnp.asarray([golden.IDS])
  batch = {"tokens": tokens, "mask": jnp.ones_like(tokens)}
  both = lora.joined(params, trained)
  mean, _ = objectives.sft(config)(both, batch, None)
  return mean.value(), llama.unembed(both, llama.apply(config, both, tokens))


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("case", golden.TARGETS)
def test_logits_and_gradients_are_peft_s(base, case, scan):
  config, params = base[0].replace(scan_layers=scan), base[1]
  trained, stored = adapters_of(config, case), STORED[case]
  of = jax.jit(jax.value_and_grad(lambda t: loss_and_logits(config, params, t), has_aux=True))
  (loss, logits), gradients = of(trained)
  assert float(loss) == pytest.approx(stored["loss"], abs=2e-6)
  np.testing.assert_allclose(logits[0, [7, -1], :8], stored["logits"], rtol=0, atol=2e-5)
  for path, gradient in jax.tree_util.tree_flatten_with_path(gradients)[0]:
    row = parameters.BY_PATH[tuple(k.key for k in path)]
    for layer in range(config.num_layers):
      theirs = huggingface.to_theirs(row, config, np.asarray(gradient[layer]))
      got = (np.linalg.norm(theirs), golden.along(theirs))
      norm = stored["gradients"][peft.PREFIX + row.name(layer)][0]
      wanted = stored["gradients"][peft.PREFIX + row.name(layer)]
      np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * max(norm, 1))


def twin_scale(config, trained):
  return config.replace(lora_alpha=golden.ALPHA * golden.RANK), trained  # alpha, not alpha / rank


def twin_exchanged(config, trained):
  """A where B belongs, of the projection whose sizes allow it."""
  at = dict(trained["layers"]["attention"])
  a, b, (L, D, Z) = at["q_lora_a"], at["q_lora_b"], at["q_lora_a"].shape
  at["q_lora_a"] = b.reshape(L, Z, D).swapaxes(1, 2)
  at["q_lora_b"] = a.swapaxes(1, 2).reshape(b.shape)
  return config, {"layers": trained["layers"] | {"attention": at}}


@pytest.mark.parametrize("twin", [twin_scale, twin_exchanged])
def test_twin_with_another_scale_or_the_factors_exchanged_they_are_not(base, twin):
  config, trained = twin(base[0], adapters_of(base[0], "two"))
  loss, _ = loss_and_logits(config, base[1], trained)
  assert abs(float(loss) - STORED["two"]["loss"]) > 1e-4


def test_merged_is_the_model_with_its_adapters(base):
  config, params = base
  trained = adapters_of(config, "all")
  whole = lora.merged(config, lora.joined(params, trained))
  assert jax.tree.structure(whole) == jax.tree.structure(params)
  loss, logits = loss_and_logits(config, params, trained)
  assert close(loss_and_logits(config, whole, {}), (loss, logits), atol=2e-5)
  # The twin leaves one adapter out.
  mlp = {k: v for k, v in trained["layers"]["mlp"].items() if not k.startswith("up")}
  less = {"layers": trained["layers"] | {"mlp": mlp}}
  part = lora.merged(config, lora.joined(params, less))
  assert not close(loss_and_logits(config, part, {})[1], logits, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fresh_adapters_leave_every_bit(dtype):
  config = tiny_config(lora_rank=2, dtype=dtype)
  params = tiny_params(tiny_config())
  fresh = lora.init(config, jax.random.key(3), ALL)
  both, tokens = lora.joined(params, fresh), jnp.arange(1, 13).reshape(2, 6)
  run = jax.jit(lambda p: llama.apply(config, p, tokens))
  assert equal(run(both), run(params))
  assert equal(lora.without(both), params)
  assert equal(lora.merged(config, both), params)
  moved = jax.tree.map(lambda x: x + 0.1, fresh)  # the twin
  assert not equal(run(lora.joined(params, moved)), run(params))


def test_a_is_drawn_with_peft_s_variance_and_b_is_zero():
  config = tiny_config(dim=128, num_heads=8, head_dim=16, lora_rank=64)
  made = lora.init(config, jax.random.key(0), ("o_proj", "down_proj"))["layers"]
  a, b = made["attention"]["o_lora_a"], made["attention"]["o_lora_b"]
  assert a.shape == (2, 8, 16, 64)
  assert b.shape == (2, 64, 128)
  assert float(a.var()) == pytest.approx(1 / (3 * 128), rel=0.05)
  assert not b.any()
  alone = lora.init(config, jax.random.key(0), ("o_proj",))["layers"]
  assert alone.keys() == {"attention"}
  assert equal(alone["attention"]["o_lora_a"], a)  # whatever else has adapters
  assert not equal(a, jnp.roll(a, 1, 0))  # and no layer has another's
  both = lora.init(config, jax.random.key(0), ("k_proj", "v_proj"))["layers"]["attention"]
  assert not equal(both["k_lora_a"], both["v_lora_a"])  # nor has a projection
