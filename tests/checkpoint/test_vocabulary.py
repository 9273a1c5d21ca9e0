"""Rows for new tokens: the mean of the others, and nothing else changed."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from xwinjax.checkpoint import huggingface, vocabulary
from xwinjax.core.errors import UserError
from xwinjax.model import llama
from xwinjax.testing.tiny import tiny_config, tiny_params


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
  """A model in several bf16 files, whose last 4 of 64 rows no token has."""
  config = tiny_config(vocab_size=64, tied=False)
  folder = tmp_path_factory.mktemp("untied")
  huggingface.save(folder, config, tiny_params(config), dtype="bfloat16", max_shard_bytes=9_000)
  return folder


def all_tensors(folder):
  found = {}
  for file in folder.glob("*.safetensors"):
    found |= load_file(file)
  return found


def test_new_rows_are_the_mean_and_the_rest_is_as_it_was(untied, tmp_path):
  vocabulary.add_rows(untied, tmp_path / "new", 60, 66)
  old, new = all_tensors(untied), all_tensors(tmp_path / "new")
  assert old.keys() == new.keys()
  for name, was in old.items():
    now = new[name]
    assert now.dtype == was.dtype
    if name not in vocabulary.GROWN:
      assert np.array_equal(now, was)
      continue
    assert now.shape == (66, 16)
    assert np.array_equal(now[:60], was[:60])
    mean = was[:60].astype(np.float64).mean(0)
    for row in now[60:]:  # the four free ones, too
      np.testing.assert_allclose(row.astype(np.float64), mean, rtol=0.01, atol=1e-6)
      assert np.abs(row.astype(np.float64) - was.astype(np.float64).mean(0)).max() > 1e-6  # twin


def test_it_loads_and_says_the_same_of_old_tokens(untied, tmp_path):
  vocabulary.add_rows(untied, tmp_path / "new", 64, 65)
  logits = []
  for folder in (untied, tmp_path / "new"):
    config, params = huggingface.load(folder)
    hidden = llama.apply(config, params, jnp.array([[1, 5, 9]]))
    logits.append(np.asarray(llama.unembed(params, hidden)))
  assert logits[1].shape[-1] == 65
  assert np.array_equal(logits[0], logits[1][..., :64])
  assert json.loads((tmp_path / "new" / "config.json").read_text())["vocab_size"] == 65
  index = json.loads((tmp_path / "new" / vocabulary.INDEX).read_text())
  sizes = {f.name: f.stat().st_size for f in (tmp_path / "new").glob("*.safetensors")}
  assert set(index["weight_map"].values()) == set(sizes)
  assert index["metadata"]["total_size"] == sum(
    t.nbytes for t in all_tensors(tmp_path / "new").values()
  )


def test_a_vocabulary_does_not_shrink(untied, tmp_path):
  with pytest.raises(UserError, match="has 64 embedding rows, 60 of them used; cannot have 62"):
    vocabulary.add_rows(untied, tmp_path / "new", 60, 62)


def test_ends_are_written_where_transformers_looks(untied, tmp_path):
  vocabulary.add_rows(untied, tmp_path / "new", 64, 65)
  vocabulary.set_ends(tmp_path / "new", 1, (64, 2))
  for name in ("config.json", "generation_config.json"):
    assert json.loads((tmp_path / "new" / name).read_text())["eos_token_id"] == [64, 2]
