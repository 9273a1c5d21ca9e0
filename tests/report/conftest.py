"""Folders of chains that cost nothing: finished, without gold, killed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_chain import write_chain  # pyright: ignore[reportMissingImports]

from xwinjax.report.chain_files import ORDER, Chain


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Path:
  """The folder of a finished chain; tests must not change it."""
  return write_chain(tmp_path_factory.mktemp("chain") / "demo")


@pytest.fixture(scope="session")
def chain_without_gold(tmp_path_factory) -> Path:
  folder = write_chain(tmp_path_factory.mktemp("real") / "real", gold=False)
  for name in ("world", "pretrain", "label"):
    shutil.rmtree(folder / name)
  return folder


@pytest.fixture(scope="session")
def work(chain) -> Chain:
  return Chain(chain)


@pytest.fixture
def killed(chain, tmp_path) -> Callable[[str], Path]:
  """A copy of the chain as a kill in the middle of a stage leaves it."""

  def make(stage: str) -> Path:
    folder = tmp_path / stage
    shutil.copytree(chain, folder)
    (folder / stage / "manifest.json").unlink()
    for later in ORDER[ORDER.index(stage) + 1 :]:
      shutil.rmtree(folder / later, ignore_errors=True)  # not all are in it
    return folder

  return make
