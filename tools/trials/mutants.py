"""Each bug of the list in a copy of the tree, and what its tests say."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trials import runs
from trials.mutant_list import NUMERICS, Mutant
from trials.mutant_list_runs import RUNS

SECONDS = 300  # that the tests of one bug may take; longer counts as noticed
_COPIED = ("xwinjax", "tests", "configs", "experiments", "tools", "docs", "pyproject.toml")
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/(.+?)(?: - .*)?$", re.MULTILINE)
_LIBRARIES = ("jax", "flax", "optax", "orbax.checkpoint", "grain", "pytest", "scipy.stats", "numpy")


def chosen(only: str, some: int) -> list[Mutant]:
  """The bugs whose name or file holds a text; of these `some`, spread evenly."""
  found = [m for m in (*NUMERICS, *RUNS) if only in m.name or only in m.file]
  step = max(len(found) // some, 1) if some else 1
  return found[::step][: some or None]


def fitting(found: Sequence[Mutant]) -> list[dict[str, Any]]:
  """Whether each edit fits the code once, and its tests are there."""
  rows = []
  for m in found:
    count = (runs.ROOT / "xwinjax" / m.file).read_text(encoding="utf-8").count(m.old)
    lost = [t for t in m.tests if not _is_there(t)]
    outcome = "fits" if count == 1 and not lost else "unfit"
    by = f"no {', '.join(lost)}" if lost else "" if count == 1 else f"found {count} times"
    rows.append({"name": m.name, "file": m.file, "outcome": outcome, "by": by, "seconds": 0.0})
  return rows


def _is_there(test: str) -> bool:
  name, _, function = test.partition("::")
  path = runs.ROOT / "tests" / name
  return path.exists() and f"def {function}" in path.read_text(encoding="utf-8")


def failed(said: str) -> list[str]:
  """The tests that a run of pytest names as failed, under tests/."""
  return _FAILED.findall(said)


def _tested(tree: Path, tests: Sequence[str], *more: str) -> runs.Ended:
  """pytest in this process, which has not imported the package; stops at the first failure."""
  import pytest

  os.chdir(tree)
  sys.path[:] = [str(tree), *(p for p in sys.path if p not in ("", str(runs.ROOT)))]
  for name in [
    n for n in sys.modules if n.partition(".")[0] in ("xwinjax", "configs", "experiments")
  ]:
    del sys.modules[name]
  importlib.invalidate_caches()
  sys.dont_write_bytecode = True  # an edit within the same second would meet the old one's
  out = io.StringIO()
  words = [
    "-x",
    "-q",
    "-m",
    "not slow",
    "-p",
    "no:cacheprovider",
    "--no-header",
    "--tb=line",
    f"--rootdir={tree}",
    *more,
  ]
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
    status = pytest.main([*words, *(f"tests/{t}" for t in tests)])
  return runs.Ended(int(status), out.getvalue(), "")


def run(found: Sequence[Mutant], work: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
  """Runs every bug's tests; at the end those that failed, which must pass without the bugs."""
  for name in _LIBRARIES:  # forks share what is imported before them
    importlib.import_module(name)
  tree, told = work / "tree", work / "told"
  for name in _COPIED:
    source = runs.ROOT / name
    if source.is_dir():
      shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
      shutil.copyfile(source, tree / name)
  for name in ("README.md", "LICENSE"):
    shutil.copyfile(runs.ROOT / name, tree / name)
  rows = []
  for number, m in enumerate(found, 1):
    path, began = tree / "xwinjax" / m.file, time.monotonic()
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace(m.old, m.new), encoding="utf-8")
    ended = runs.wait(runs.forked(lambda m=m: _tested(tree, m.tests), told), told, SECONDS)
    path.write_text(good, encoding="utf-8")
    names = failed(ended.out)
    outcome = (
      "survived" if ended.status == 0 else "killed" if names or ended.status == -9 else "unclear"
    )
    by = names[0] if names else "" if ended.status == 0 else (ended.err or ended.out[-200:]).strip()
    seconds = round(time.monotonic() - began, 1)
    rows.append({"name": m.name, "file": m.file, "outcome": outcome, "by": by, "seconds": seconds})
    say(f"{number}/{len(found)} {outcome} {m.name}: {by} ({seconds} s)")
  tests = sorted({r["by"] for r in rows if r["outcome"] == "killed" and r["by"]})
  say(f"the {len(tests)} tests that noticed, on the code as it is")
  ended = runs.wait(runs.forked(lambda: _tested(tree, tests, "--maxfail=99"), told), told, 1800)
  if ended.status:  # what fails without the bug, too, has not noticed it
    wrong = set(failed(ended.out))
    for row in rows:
      if not wrong or row["by"] in wrong:
        row["outcome"] = "unclear"
  return rows
