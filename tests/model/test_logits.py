"""Logits, losses and gradients against independent implementations."""

import json

import jax
import numpy as np
import pytest
from compiled import close, logits, logps_and_gradient, small_config, small_params
from goldens import reference

from xwinjax.checkpoint import huggingface
from xwinjax.model.config import RopeScaling

GOLDENS = ("mha_tied", "gqa_untied", "llama3_rope", "wide_head")
OURS = {
  "gqa_tied": small_config(),
  "mqa_wide_head_untied": small_config(tied=False, num_kv_heads=1, head_dim=8, norm_eps=1e-3),
  "llama3_rope": small_config(rope_scaling=RopeScaling(8.0, 1.0, 4.0, 16), rope_theta=1e3),
}


def folder_with(golden, config_file, tmp_path):
  """The golden's folder as it would be with another of its config files."""
  (tmp_path / "config.json").write_text((golden / config_file).read_text())
  (tmp_path / "model.safetensors").symlink_to(golden / "model.safetensors")
  return tmp_path


def golden_folder(shared, name):
  folder = shared / "goldens" / f"llama_{name}"
  return folder, dict(np.load(folder / f"llama_logits_{name}.npz"))


def agrees(config, params, golden):
  real = golden["attention_mask"] == 1
  got = np.asarray(logits(config, params, golden["input_ids"]))
  return np.allclose(got[real], golden["logits"][real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("config_file", ["config.json", "config_v5.json"])
@pytest.mark.parametrize("name", GOLDENS)
def test_logits_equal_those_of_transformers(shared, tmp_path, name, config_file):
  folder, golden = golden_folder(shared, name)
  config, params = huggingface.load(folder_with(folder, config_file, tmp_path))
  assert agrees(config, params, golden)


@pytest.mark.parametrize(
  ("name", "wrong"),
  [
    ("mha_tied", {"rope_theta": 9000.0}),
    ("gqa_untied", {"norm_eps": 1e-3}),
    ("llama3_rope", {"rope_scaling": None}),
    ("wide_head", {"norm_eps": 1e-4}),
  ],
)
def test_a_wrong_config_does_not_give_those_logits(shared, name, wrong):
  folder, golden = golden_folder(shared, name)
  config, params = huggingface.load(folder)
  assert not agrees(config.replace(**wrong), params, golden)


def test_query_heads_of_another_group_do_not_give_those_logits(shared):
  folder, golden = golden_folder(shared, "gqa_untied")
  config, params = huggingface.load(folder)
  attention = params["layers"]["attention"]
  attention["q"] = attention["q"].reshape(3, 96, 2, 3, 16).swapaxes(2, 3).reshape(3, 96, 6, 16)
  assert not agrees(config, params, golden)


def test_left_padding_changes_nothing(shared):
  folder, golden = golden_folder(shared, "gqa_untied")
  config, params = huggingface.load(folder)
  real = golden["left_attention_mask"]
  positions = np.maximum(np.cumsum(real, 1) - 1, 0).astype(np.int32)
  segments = (real * 256).astype(np.int32)
  got = np.asarray(logits(config, params, golden["left_input_ids"], positions, segments))
  wanted = golden["left_logits"]
  assert np.allclose(got[real == 1], wanted[real == 1], rtol=0, atol=1e-5)
  leaky = np.asarray(logits(config, params, golden["left_input_ids"], positions, segments * 0))
  assert not np.allclose(leaky[real == 1], wanted[real == 1], rtol=0, atol=1e-5)


def test_gradients_equal_those_of_transformers(shared, tmp_path):
  folder, golden = golden_folder(shared, "gqa_untied")
  config, params = huggingface.load(folder)
  (tmp_path / "config.json").write_text((folder / "config.json").read_text())
  (tmp_path / "model.safetensors").symlink_to(folder / "grads.safetensors")
  _, wanted = huggingface.load(tmp_path)

  def loss_and_gradient(mask):
    logps, total = logps_and_gradient(config, params, golden["input_ids"], mask)
    n = mask[:, 1:].sum()
    return -float(logps.sum()) / n, jax.tree.map(lambda g: -g / n, total)

  mask = (golden["labels"] != -100).astype(np.int32)
  loss, gradient = loss_and_gradient(mask)
  assert loss == pytest.approx(float(golden["loss"]), abs=1e-5)
  assert close(gradient, wanted, rtol=1e-4, atol=1e-6)
  loss, gradient = loss_and_gradient(np.roll(mask, 1, axis=1))
  assert loss != pytest.approx(float(golden["loss"]), abs=1e-5)
  assert not close(gradient, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", GOLDENS)
def test_the_numpy_reference_equals_transformers(shared, name):
  folder, golden = golden_folder(shared, name)
  fields, tensors = reference.read(folder)
  n = int(golden["attention_mask"][1].sum())
  got = reference.logits(fields, tensors, golden["input_ids"][1, :n])
  assert np.allclose(got, golden["logits"][1, :n], rtol=0, atol=1e-5)


@pytest.fixture(scope="module", params=OURS)
def model(request, tmp_path_factory):
  """(config, parameters, ids, and the same model as the numpy reference reads it)."""
  config = OURS[request.param]
  params = small_params(config)
  folder = huggingface.save(tmp_path_factory.mktemp(request.param), config, params)
  ids = np.random.default_rng(1).integers(0, 64, 24)
  return request.param, config, params, ids, reference.read(folder)


def test_logits_equal_the_numpy_reference(model):
  _, config, params, ids, (fields, tensors) = model
  got = np.asarray(logits(config, params, ids[None]))[0]
  wanted = reference.logits(fields, tensors, ids)
  assert np.allclose(got, wanted, rtol=0, atol=5e-5)
  late = reference.logits(fields, tensors, ids, positions=np.arange(24) * 2)
  assert not np.allclose(got, late, rtol=0, atol=5e-5)


def test_gradients_equal_the_slope_of_the_numpy_reference(model, tmp_path):
  """Along a random direction of each parameter, by central differences in float64."""
  _, config, params, ids, (fields, tensors) = model
  directions = small_params(config, seed=7)
  _, steps = reference.read(huggingface.save(tmp_path, config, directions))
  mask = np.ones((1, 24), np.int32)
  _, gradient = logps_and_gradient(config, params, ids[None], mask)

  def slope(kind):
    sides = []
    for h in (1e-5, -1e-5):
      moved = {n: t + h * steps[n] if kind in n else t for n, t in tensors.items()}
      sides.append(-23 * reference.nll(fields, moved, ids))
    return (sides[0] - sides[1]) / 2e-5

  kinds = {
    "embed_tokens": ("embed", "embedding"),
    "q_proj": ("layers", "attention", "q"),
    "v_proj": ("layers", "attention", "v"),
    "o_proj": ("layers", "attention", "o"),
    "gate_proj": ("layers", "mlp", "gate"),
    "down_proj": ("layers", "mlp", "down"),
    "input_layernorm": ("layers", "attention_norm", "scale"),
  }
  for kind, path in kinds.items():
    ours = theirs = None
    for part in path:
      ours, theirs = (ours or gradient)[part], (theirs or directions)[part]
    assert float((ours * theirs).sum()) == pytest.approx(slope(kind), rel=2e-3, abs=1e-3), kind
    assert float((ours * theirs).sum()) != pytest.approx(-slope(kind), rel=2e-3, abs=1e-3), kind


def test_numbers_stored_in_the_repository(model):
  """Four logits and the loss of each model, from float64; they guard the reference too."""
  name, config, params, ids, (fields, tensors) = model
  stored = json.loads((reference.Path(reference.__file__).parent / "logits.json").read_text())[name]
  theirs = reference.logits(fields, tensors, ids)
  ours = np.asarray(logits(config, params, ids[None]))[0]
  assert np.allclose(theirs[-1, :4], stored["last_logits"], rtol=0, atol=1e-9)
  assert np.allclose(ours[-1, :4], stored["last_logits"], rtol=0, atol=5e-5)
  assert reference.nll(fields, tensors, ids) == pytest.approx(stored["nll"], abs=1e-9)
  assert not np.allclose(ours[-2, :4], stored["last_logits"], rtol=0, atol=5e-5)
