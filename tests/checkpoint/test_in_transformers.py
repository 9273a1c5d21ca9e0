"""What transformers computes from the folders we write; collected where it and torch are installed.

pip install torch transformers && python -m pytest tests/checkpoint/test_in_transformers.py
"""

import numpy as np
import pytest
import torch
import transformers

from xwinjax.checkpoint import huggingface
from xwinjax.stages import add_tokens
from xwinjax.stages.add_tokens import AddTokensConfig
from xwinjax.stages.stage import Context

GOLDENS = ("mha_tied", "gqa_untied", "llama3_rope", "wide_head")


def logits_in_transformers(folder, golden):
  model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
  ids, mask = (torch.tensor(golden[name]) for name in ("input_ids", "attention_mask"))
  with torch.no_grad():
    return model(ids, attention_mask=mask).logits.numpy()[golden["attention_mask"] == 1]


@pytest.mark.parametrize("name", GOLDENS)
def test_transformers_computes_the_same_from_what_we_write(name, shared, tmp_path):
  theirs = shared / "goldens" / f"llama_{name}"
  golden = np.load(next(theirs.glob("*.npz")))
  config, params = huggingface.load(theirs)
  wanted = golden["logits"][golden["attention_mask"] == 1]
  ours = huggingface.save(tmp_path / "out", config, params)
  np.testing.assert_allclose(logits_in_transformers(ours, golden), wanted, atol=1e-5)
  # The twin: another rotary base is another model.
  broken = huggingface.save(tmp_path / "broken", config.replace(rope_theta=5_000.0), params)
  assert np.abs(logits_in_transformers(broken, golden) - wanted).max() > 1e-3


def test_transformers_reads_a_token_that_was_added(tiny_folder, tmp_path):
  add_tokens.STAGE.run(Context(), tmp_path / "tokens", AddTokensConfig(), {"model": tiny_folder})
  folder = tmp_path / "tokens" / "model"
  config, params = huggingface.load(folder)
  eot = config.vocab_size - 1
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  ids = tokenizer("It is red.<|eot|>").input_ids
  assert ids[-1] == eot
  assert ids.count(eot) == 1
  assert "eot" not in tokenizer.decode(ids, skip_special_tokens=True)
  model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
  assert model.generation_config.eos_token_id[0] == eot
  row = model.get_input_embeddings().weight[eot].detach().numpy()
  np.testing.assert_allclose(row, np.mean(params["embed"]["embedding"][:eot], 0), atol=1e-6)
  plain = transformers.AutoTokenizer.from_pretrained(tiny_folder)
  assert len(plain("It is red.<|eot|>").input_ids) > len(ids)  # the twin: there it is text
