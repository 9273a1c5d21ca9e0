"""Run in a copy of the repository: a model with norms on queries and keys is made and saved."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import PartitionSpec as P
from safetensors.numpy import load_file

from xwinjax.checkpoint import hf_config, huggingface
from xwinjax.model import cache, llama, parameters
from xwinjax.sharding import rules
from xwinjax.testing.tiny import tiny_config
from xwinjax.train.optim import decay_mask

PUBLISHED = {"use_sliding_window": False, "sliding_window": 64, "max_window_layers": 1}


def main(folder: Path) -> None:
  assert Path(llama.__file__).is_relative_to(Path.cwd()), "another copy of the package is imported"
  config = tiny_config(family="qwen3")
  params = llama.init(config, jax.random.key(0))
  attention = params["layers"]["attention"]
  for name in ("q_norm", "k_norm"):
    scale = attention[name]["scale"]
    assert scale.shape == (config.num_layers, config.head_dim)
    assert (scale == 1).all()
  assert parameters.count(config) == sum(x.size for x in jax.tree.leaves(params))

  tokens = np.arange(12)[None]
  logits = lambda params: llama.unembed(params, llama.apply(config, params, tokens))
  plain = llama.init(tiny_config(), jax.random.key(0))
  assert "q_norm" not in plain["layers"]["attention"]
  before = logits(params)
  for i, name in enumerate(("q_norm", "k_norm")):
    start = attention[name]["scale"]
    attention[name]["scale"] = start + jax.random.normal(jax.random.key(i), start.shape)
    after = logits(params)
    assert abs(after - before).max() > 1e-3, f"{name} changes nothing"
    before = after

  made = huggingface.save(folder, config, params)
  fields = json.loads((made / "config.json").read_text())
  assert (fields["model_type"], fields["architectures"]) == ("qwen3", ["Qwen3ForCausalLM"])
  (made / "config.json").write_text(json.dumps(fields | PUBLISHED))
  tensor = load_file(made / "model.safetensors")["model.layers.1.self_attn.k_norm.weight"]
  assert np.array_equal(tensor, attention["k_norm"]["scale"][1])
  again, loaded = huggingface.load(made)
  assert again == config == hf_config.read(made).llama
  assert np.array_equal(logits(loaded), logits(params))
  cache.prefill(config, cache.decode_params(config, loaded), tokens)

  assert rules.RULES["layers", "attention", "q_norm", "scale"] == P(None, None)
  mask = decay_mask(params)["layers"]["attention"]
  assert mask["q"]
  assert not mask["q_norm"]["scale"]


if __name__ == "__main__":
  main(Path(sys.argv[1]))
  print("works")
