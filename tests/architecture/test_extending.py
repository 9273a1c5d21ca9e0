"""What an extension costs: a kept patch still applies, touches few files, and does what it says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATCH = ROOT / "docs" / "extending" / "qwen2_biases.diff"


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


def test_qwen2_biases(tmp_path):
  copy = copy_of_the_repository(tmp_path / "copy")
  model = str(tmp_path / "model")
  without = use("use_biases.py", copy, model)  # the twin
  assert without.returncode != 0
  assert "KeyError: 'q_bias'" in without.stderr
  changed = apply(PATCH, copy)
  assert len(changed) <= 3
  done = use("use_biases.py", copy, model)
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == "biases work"
