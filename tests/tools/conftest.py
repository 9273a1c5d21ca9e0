"""The tools as modules, called in this process."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="session")
def tool():
  """tool(name): the module of a tool's file."""
  sys.path.insert(0, str(TOOLS))
  loaded = {}

  def load(name):
    if name not in loaded:
      loader = SourceFileLoader(f"tool_{name}", str(TOOLS / name))
      spec = importlib.util.spec_from_loader(loader.name, loader)
      assert spec is not None
      loaded[name] = importlib.util.module_from_spec(spec)
      loader.exec_module(loaded[name])
    return loaded[name]

  yield load
  sys.path.remove(str(TOOLS))


@pytest.fixture
def run(tool, capsys):
  """run(name, words…): what a tool prints on stdout."""

  def call(name, *words) -> str:
    module = tool(name)
    module.main(module.arguments([str(word) for word in words]))
    return capsys.readouterr().out

  return call
