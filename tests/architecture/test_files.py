"""Files stay short, and name no machine."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = {".py", ".md", ".toml", ".html", ".j2", ".json", ".yml", ".yaml", ".sh", ""}
SKIPPED = {".git", ".venv", ".pytest_cache", ".ruff_cache", "__pycache__", "runs"}
MACHINE = re.compile(r"/(?:work|home|root|Users)/\w")


def files(*folders: str) -> list[Path]:
  found = []
  for folder in folders:
    for path in sorted((ROOT / folder).rglob("*")):
      inside = path.relative_to(ROOT).parts
      if path.is_file() and path.suffix in TEXT and not SKIPPED & set(inside):
        found.append(path)
  return found


def too_long(paths: list[Path], lines: int) -> list[str]:
  sizes = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in paths if p.suffix == ".py"}
  return [f"{p.relative_to(ROOT)} has {n} lines" for p, n in sizes.items() if n > lines]


def long_functions(path: Path, lines: int) -> list[str]:
  tree = ast.parse(path.read_text(encoding="utf-8"))
  functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
  return [
    f"{path.relative_to(ROOT)}: {f.name} has {n} lines"
    for f in functions
    if (n := (f.end_lineno or 0) - f.lineno + 1) > lines
  ]


def machine_paths(text: str) -> list[str]:
  return [line for line in text.splitlines() if MACHINE.search(line)]


def test_files_are_short():
  assert too_long(files("xwinjax", "configs"), 400) == []
  assert too_long(files("experiments"), 75) == []
  assert too_long(files("xwinjax"), 100) != []  # the check's twin


def test_functions_are_short():
  paths = [p for p in files("xwinjax", "configs", "experiments") if p.suffix == ".py"]
  assert [line for p in paths for line in long_functions(p, 75)] == []
  assert [line for p in paths for line in long_functions(p, 40)] != []  # the check's twin


def test_no_file_names_a_machine():
  named = {
    str(p.relative_to(ROOT)): machine_paths(p.read_text(encoding="utf-8", errors="replace"))
    for p in files("xwinjax", "configs", "experiments", "tests", "docs", "tools", ".ci")
  }
  assert {p: lines for p, lines in named.items() if lines} == {}
  tops = [p for p in ROOT.iterdir() if p.is_file() and p.suffix in TEXT]
  assert [p.name for p in tops if machine_paths(p.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("place", ["work", "home", "root", "Users"])
def test_twin_a_machine_path_is_found(place):
  assert machine_paths(f"see /{place}/someone/data\nand ../shared/data") == [
    f"see /{place}/someone/data"
  ]
