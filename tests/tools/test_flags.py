"""Every number that a tool or experiments.annotate takes lies within bounds, or is one line."""

from argparse import ArgumentTypeError

import pytest

from experiments import annotate
from xwinjax.core import bounds

TRIED = ("-1", "0", "1", "nan", "inf", "1" + "0" * 400, "9" * 5000, "0.5", "x", "")
TOOLS = ("bench", "chaos", "convert", "generate", "mutants", "plan", "preflight", "tokens")


class Made(Exception):
  """A parser has all its flags."""


@pytest.fixture
def flags(tool, monkeypatch):
  """flags(name): the numeric flags of a tool."""

  def numeric(parser):
    return [a for a in parser._actions if a.type is not None and numbers(a.type)]

  def stop(parser, _=None):
    raise Made(parser)

  def of(name):
    if name == "annotate":
      return numeric(annotate.parser())
    module = tool(name)
    monkeypatch.setattr(module._tool.Parser, "parse_args", stop)
    with pytest.raises(Made) as made:
      module.arguments([])
    return numeric(made.value.args[0])

  return of


def numbers(read):
  """Whether a flag's type makes numbers of words."""
  try:
    return isinstance(read("1"), (int, float))
  except ArgumentTypeError:
    return True


def outcome(flag, word):
  """The value that a flag takes, or the line that refuses."""
  try:
    return flag.type(word)
  except ArgumentTypeError as e:
    return str(e)


@pytest.mark.parametrize("name", [*TOOLS, "annotate"])
def test_numbers_are_within_bounds_or_refused_in_a_line(name, flags):
  assert flags(name)
  for flag in flags(name):
    assert flag.type not in (int, float), flag.dest  # without bounds
    for word in TRIED:
      said = outcome(flag, word)
      if isinstance(said, str):
        assert "; expected " in said, (flag.dest, word, said)
        assert "\n" not in said
    ends = [outcome(flag, word) for word in ("nan", "inf", "9" * 5000, "x", "")]
    assert all(isinstance(said, str) for said in ends), (flag.dest, ends)


def test_tools_take_numbers_in_no_other_way(tool):
  from pathlib import Path

  for path in Path(tool("tokens").__file__).parent.iterdir():
    if path.is_file():
      source = path.read_text()
      assert "type=int" not in source, path
      assert "type=float" not in source, path
      assert ("bounded(" in source) == (path.name in (*TOOLS, "_tool.py")), path


def test_twin_a_number_without_bounds_is_noticed(flags, monkeypatch):
  monkeypatch.setattr(bounds, "argument", lambda _: int)
  with pytest.raises(AssertionError):
    test_numbers_are_within_bounds_or_refused_in_a_line("tokens", flags)
