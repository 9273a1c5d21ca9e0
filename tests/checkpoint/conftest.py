from importlib.util import find_spec

import pytest

from xwinjax.testing.tiny import tiny_config, tiny_params

there = {name for name in ("transformers", "torch", "peft") if find_spec(name)}
collect_ignore = []
if not there >= {"transformers", "torch"}:
  collect_ignore += ["test_in_transformers.py", "test_exports_in_transformers.py"]
if len(there) < 3:
  collect_ignore += ["test_in_peft.py"]


@pytest.fixture(scope="session")
def config():
  """Untied, with Llama 3's rope scaling and heads wider than D/H: everything that varies."""
  from xwinjax.model.config import RopeScaling

  return tiny_config(
    vocab_size=48,
    tied=False,
    head_dim=6,
    rope_theta=500_000.0,
    norm_eps=1e-6,
    rope_scaling=RopeScaling(8.0, 1.0, 4.0, 64),
  )


@pytest.fixture(scope="session")
def params(config):
  return tiny_params(config)
