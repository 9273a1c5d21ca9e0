"""Mistral, Qwen2 and Llama 3 against logits that transformers computed; what is not computed."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from goldens import families

from xwinjax.checkpoint import hf_config, huggingface
from xwinjax.core.errors import UserError
from xwinjax.model import cache, llama

STORED = json.loads(families.STORED.read_text())


def logits(config, params):
  hidden = llama.apply(config, params, jnp.asarray([families.IDS]))
  return np.asarray(llama.unembed(params, hidden))[0][[7, -1], :8]


@pytest.mark.parametrize("name", families.CONFIGS)
def test_logits_are_those_of_transformers(name, tmp_path):
  config, params = huggingface.load(families.folder_of(name, tmp_path / name))
  np.testing.assert_allclose(logits(config, params), STORED[name]["logits"], rtol=0, atol=2e-5)
  again, same = huggingface.load(huggingface.save(tmp_path / "again", config, params))
  assert again == config
  np.testing.assert_allclose(logits(again, same), STORED[name]["logits"], rtol=0, atol=2e-5)
  cache.prefill(config, cache.decode_params(config, params), jnp.asarray([families.IDS]))


@pytest.mark.parametrize("name", ["qwen2", "qwen2_tied"])
@pytest.mark.parametrize("which", ["q_bias", "k_bias", "v_bias"])
def test_twin_without_a_bias_they_are_not(name, which, tmp_path):
  config, params = huggingface.load(families.folder_of(name, tmp_path / name))
  attention = params["layers"]["attention"]
  attention[which] = attention[which] * 0
  assert np.abs(logits(config, params) - STORED[name]["logits"]).max() > 1e-3


def test_a_window_bounds_the_texts(tmp_path):
  folder = families.folder_of("mistral_window", tmp_path / "m")
  described = hf_config.read(folder)
  assert described.llama.max_length == 24
  [said] = described.said
  assert "window of 24 tokens" in said
  wide = families.folder_of("mistral", tmp_path / "wide")
  assert hf_config.read(wide).llama.max_length == 64  # the twin
  assert hf_config.read(wide).said == ()


@pytest.mark.parametrize(
  ("name", "changes", "length"),
  [
    ("mistral", {"sliding_window": 4096}, 64),
    ("mistral", {"sliding_window": 16}, 16),
    ("qwen2", {"sliding_window": 16}, 64),  # not used
    ("qwen2", {"sliding_window": 16, "use_sliding_window": True}, 16),
    ("qwen2", {"layer_types": ["full_attention"] * 2, "sliding_window": None}, 64),
  ],
)
def test_which_window_counts(name, changes, length, tmp_path):
  folder = families.folder_of(name, tmp_path)
  fields = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps(fields | changes))
  assert hf_config.read(folder).llama.max_length == length


def test_a_layer_of_another_kind_is_refused(tmp_path):
  folder = families.folder_of("qwen2", tmp_path)
  fields = json.loads((folder / "config.json").read_text())
  kinds = ["full_attention", "linear_attention"]
  (folder / "config.json").write_text(json.dumps(fields | {"layer_types": kinds}))
  with pytest.raises(UserError, match=r"layer_types is .* only full_attention and sliding"):
    hf_config.read(folder)
