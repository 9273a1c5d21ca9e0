"""What an extension costs: each kept patch applies, touches few files, and does what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATCHES = ROOT / "docs" / "extending"
TRIES = {  # patch -> what uses it, the most files it may touch, what is missing without it
  "data_format": ("use_format.py", 1, "unknown format (keys: a, q)"),
  "loss": ("use_loss.py", 1, "no attribute 'apo_zero'"),
  "loss_command": ("use_loss_command.py", 3, "config.variant 'exo' is not one of"),
  "recipe_stage": ("use_stage.py", 3, "cannot import name 'lengths'"),
  "judge": ("use_judge.py", 2, "config.by 'brevity' is not one of"),
  "qwen3_norms": ("use_norms.py", 3, "KeyError: 'q_norm'"),
}


def copy_of_the_repository(folder: Path) -> Path:
  listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
  for name in filter(None, listed.stdout.decode().split("\0")):
    if (ROOT / name).is_file():
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(ROOT / name, folder / name)
  return folder


def apply(patch: Path, folder: Path) -> list[str]:
  """Applies it and returns the files it changes."""
  outside = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
  git = ["git", "apply", "-p1", str(patch)]
  subprocess.run(git, cwd=folder, env=outside, check=True)
  lines = patch.read_text(encoding="utf-8").splitlines()
  return [line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")]


def use(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
  env = os.environ | {"PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"}
  path = Path(__file__).parent / script
  command = [sys.executable, str(path), *arguments]
  return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_every_kept_patch_is_tried():
  assert {patch.stem for patch in PATCHES.iterdir()} == set(TRIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIES)
def test_extending(tmp_path, name):
  script, most, missing = TRIES[name]
  copy = copy_of_the_repository(tmp_path / "copy")
  without = use(script, copy, str(tmp_path / "without"))  # the twin
  assert without.returncode != 0
  assert missing in without.stderr
  changed = apply(PATCHES / f"{name}.diff", copy)
  assert 1 <= len(changed) <= most, changed
  done = use(script, copy, str(tmp_path / "with"))
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == "works"


def test_the_page_has_a_row_for_each():
  page = PATCHES.with_suffix(".md").read_text(encoding="utf-8")
  rows = dict(re.findall(r"^\| .*\(extending/(\w+)\.diff\) \| \d+ \| (\d+) \|$", page, re.M))
  files = {
    name: (PATCHES / f"{name}.diff").read_text(encoding="utf-8").count("\n+++ b/") for name in TRIES
  }
  assert {name: int(now) for name, now in rows.items()} == files
