"""What PEFT computes from the adapters we write; collected where it and transformers are installed.

pip install torch transformers peft && python -m pytest tests/checkpoint/test_in_peft.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import peft as theirs
import pytest
import torch
import transformers

from xwinjax.checkpoint import huggingface, peft
from xwinjax.model import llama, lora
from xwinjax.testing.tiny import tiny_config, tiny_params

IDS = [[1, 5, 9, 33, 77, 12, 40, 8]]
CLASSES = {
  False: transformers.AutoModelForCausalLM,
  True: transformers.AutoModelForSequenceClassification,
}


@pytest.mark.parametrize("reward", [False, True], ids=["language model", "reward model"])
def test_peft_loads_our_adapters_with_equal_outputs(tmp_path, reward):
  config = tiny_config(tied=False, lora_rank=3, lora_alpha=12.0)
  params = tiny_params(config)
  base = huggingface.save(tmp_path / "base", config, params)
  fresh = lora.init(config, jax.random.key(1), ("q_proj", "o_proj", "down_proj"))
  trained = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), fresh)
  if reward:
    trained["reward"] = {"kernel": jnp.linspace(-1, 1, config.dim)}
  peft.save(tmp_path / "adapter", config, trained, base=str(base))
  labels = {"num_labels": 1, "pad_token_id": 0} if reward else {}
  model = CLASSES[reward].from_pretrained(base, dtype=torch.float32, **labels)
  model = theirs.PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
  with torch.no_grad():
    got = model(torch.tensor(IDS)).logits.numpy()
  both = lora.joined(params, trained)
  hidden = llama.apply(config, both, jnp.asarray(IDS))
  wanted = llama.reward(both, hidden)[:, -1:] if reward else llama.unembed(both, hidden)
  np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5)
  plain = llama.apply(config, params, jnp.asarray(IDS))  # the twin: without adapters
  other = llama.reward(both, plain)[:, -1:] if reward else llama.unembed(both, plain)
  assert np.abs(got - other).max() > 1e-2
