"""A trained model is written in the dtype it came in, or as asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from xwinjax.checkpoint import hf_config, huggingface
from xwinjax.core.errors import UserError
from xwinjax.stages import common
from xwinjax.stages.common import ModelConfig


def dtypes(folder):
  return {str(x.dtype) for x in load_file(folder / "model.safetensors").values()}


@pytest.fixture
def saved(tiny_folder, tmp_path):
  """saved(dtype on disk, save_dtype) -> the folder of the model, opened, changed and saved."""
  config, params = huggingface.load(tiny_folder)

  def saved(dtype, **options):
    start = huggingface.save(
      tmp_path / dtype, config, params, tokenizer_from=tiny_folder, dtype=dtype
    )
    model = common.open_model(ModelConfig(str(start), **options), None)
    assert {x.dtype for x in jax.tree.leaves(model.params)} == {jnp.dtype("float32")}
    trained = jax.tree.map(lambda x: x + 1e-4, model.params)  # finer than bfloat16 around 1
    return common.save_model(tmp_path / "saved", model, trained), trained

  return saved


@pytest.mark.parametrize("dtype", hf_config.DTYPES)
def test_what_came_in_goes_out(dtype, saved):
  folder, trained = saved(dtype)
  assert dtypes(folder) == {dtype}
  assert hf_config.read(folder).dtype == dtype
  scale = np.asarray(huggingface.load(folder)[1]["norm"]["scale"])
  exact = scale.tobytes() == np.asarray(trained["norm"]["scale"]).tobytes()
  assert exact == (dtype == "float32")  # masters are f32: only the export rounds


@pytest.mark.parametrize("asked", hf_config.DTYPES)
def test_what_is_asked_for_goes_out(asked, saved):
  folder, _ = saved("bfloat16", save_dtype=asked)
  assert dtypes(folder) == {asked}


def test_a_dtype_that_is_none_is_refused_by_name(saved):
  with pytest.raises(UserError, match="save_dtype 'int8' is not one of auto, float32, bfloat16, f"):
    saved("float32", save_dtype="int8")


@pytest.mark.parametrize("reward", [None, False])
def test_opening_a_model_parses_its_config_once(reward, tiny_folder, monkeypatch):
  reads, read_json = [], hf_config.read_json
  monkeypatch.setattr(hf_config, "read_json", lambda path: reads.append(path) or read_json(path))
  mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"), devices=jax.devices()[:1])
  common.open_model(ModelConfig(str(tiny_folder)), mesh, reward=reward)
  assert reads == [tiny_folder / "config.json"]
  hf_config.read(tiny_folder)
  assert len(reads) == 2  # the count's twin: another reading is seen
