"""requirements.lock: all that pyproject.toml asks for, within its bounds, each with its sha256."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LEVELS = ("report", "test", "dev", "docs")
MACHINES = [
  {
    "python_version": minor, "python_full_version": f"{minor}.6", "sys_platform": platform,
    "platform_system": system, "platform_machine": machine, "os_name": "posix",
    "implementation_name": "cpython", "platform_python_implementation": "CPython",
  }
  for minor in ("3.11", "3.12", "3.13")
  for platform, system, machine in (
    ("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"),
  )
]  # fmt: skip


def asked(project, extra):
  """The requirements of an extra, those of extras that it names too, and those of all."""
  found = list(map(Requirement, project["dependencies"]))
  left, seen = [extra], set()
  while left:
    seen.add(name := left.pop())
    for requirement in map(Requirement, project["optional-dependencies"][name]):
      if requirement.name == project["name"]:
        left += requirement.extras - seen
      else:
        found.append(requirement)
  return found


def locked(text, level, machine):
  """name -> version of what is installed there up to a level; each has a hash."""
  found, after = {}, (*LEVELS, "end")[LEVELS.index(level) + 1]
  part = text.partition(f"\n# {after}\n")[0]
  for entry in re.findall(r"^[\w.-]+==.*(?:\n .*)*\n", part, re.MULTILINE):
    assert "--hash=sha256:" in entry, entry
    requirement = Requirement(entry.split("\\")[0])
    if requirement.marker is None or requirement.marker.evaluate(machine):
      name = canonicalize_name(requirement.name)
      assert name not in found, f"{name} is there twice"
      found[name] = str(requirement.specifier).removeprefix("==")
  return found


def wrong(pyproject, text):
  """What a setup would lack or get out of bounds."""
  project, found = tomllib.loads(pyproject), set()
  build = list(map(Requirement, project["build-system"]["requires"]))
  for level in LEVELS:
    for machine in MACHINES:
      have = locked(text, level, machine)
      for requirement in asked(project["project"], level) + build:
        version = have.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version):
          found.add(f"{level}: {requirement}")
  return found


@pytest.fixture
def files():
  return (ROOT / "pyproject.toml").read_text(), (ROOT / "requirements.lock").read_text()


def test_the_lock_holds_what_is_asked_for(files):
  assert wrong(*files) == set()


def test_twin_what_is_missing_or_out_of_bounds_is_told(files):
  pyproject, lock = files
  newer = pyproject.replace("optax>=0.2.8,<0.3", "optax>=99")
  assert wrong(newer, lock) == {f"{level}: optax>=99" for level in LEVELS}
  more = pyproject.replace('"hypothesis>=', '"lzmaffi>=1", "hypothesis>=')
  assert wrong(more, lock) == {f"{level}: lzmaffi>=1" for level in LEVELS[1:]}


def test_it_names_no_host(files):
  assert "://" not in files[1]
  assert "index-url" not in files[1]
