"""A kept base model is taken only by what would make the same one."""

import dataclasses

import pytest

from xwinjax.sandbox import stages as sandbox
from xwinjax.sandbox.stages import PretrainConfig
from xwinjax.stages.stage import Context


@pytest.fixture
def world(tmp_path):
  (tmp_path / "documents.jsonl").write_text('{"text": "Salt is white."}\n')
  return tmp_path


@pytest.mark.parametrize("what", ["nothing", "settings", "seed", "documents", "code", "jax"])
def test_what_decides_its_bits_decides_its_name(world, monkeypatch, what):
  config, context = PretrainConfig(), Context()
  documents = world / "documents.jsonl"
  before = sandbox.kept_name(context, config, documents)
  if what == "seed":
    context = Context(seed=1)
  if what == "settings":
    config = dataclasses.replace(config, dim=config.dim * 2)
  if what == "documents":
    (world / "documents.jsonl").write_text('{"text": "Salt is black."}\n')
  if what == "code":
    monkeypatch.setattr(sandbox, "TRAINING", sandbox.TRAINING[1:])
  if what == "jax":
    monkeypatch.setattr(sandbox.jax, "__version__", "0.0.0")
  assert (sandbox.kept_name(context, config, documents) == before) == (what == "nothing")
