"""The bash tools: their help, and what they say when they cannot start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*command, **environment):
  found = subprocess.run(
    [str(word) for word in command],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, **environment},
  )
  return found.returncode, found.stdout, found.stderr


@pytest.mark.parametrize("name", ["setup", "quickstart", "test", "docs"])
def test_help_shows_examples(name):
  status, out, err = call(ROOT / "tools" / name, "--help")
  assert (status, err) == (0, "")
  assert f"\n  tools/{name}" in out
  assert "set -euo" not in out


@pytest.mark.parametrize(
  ("words", "line"),
  [
    (["quickstart", "--seed", "one"], "error: --seed one: expected a whole number\n"),
    (["quickstart", "--workdir"], "error: --workdir needs a value\n"),
    (["docs", "--serve"], "error: tools/docs --serve: takes nothing but --help\n"),
    (["setup", "gpu"], "error: tools/setup gpu: expected report, test, dev or docs\n"),
    (["setup", "dev", "x"], "error: tools/setup dev x: expected report, test, dev or docs\n"),
  ],
)
def test_wrong_words_get_a_line(words, line):
  assert call(ROOT / "tools" / words[0], *words[1:]) == (2, "", line)


def test_old_python_is_named(tmp_path):
  shutil.copytree(ROOT / "tools", tmp_path / "tools")
  shutil.copy(ROOT / "pyproject.toml", tmp_path)
  shutil.copy(ROOT / "requirements.lock", tmp_path)
  old = tmp_path / "oldpython"  # says its version and fails the check
  old.write_text('#!/bin/sh\ncase "$*" in *exit*) exit 1 ;; *) echo 3.9.2 ;; esac\n')
  old.chmod(0o755)
  status, _, err = call(tmp_path / "tools" / "setup", PYTHON=str(old))
  assert status == 2
  assert err == (
    f"error: Python 3.11 or newer is needed; {old} is 3.9.2; install one, or name it: "
    "PYTHON=/path/to/python tools/setup\n"
  )
  assert not (tmp_path / ".venv").exists()


def test_done_setup_does_nothing(tmp_path):
  """Until pyproject.toml or the lock changes, or more is asked for."""
  shutil.copytree(ROOT / "tools", tmp_path / "tools")
  shutil.copy(ROOT / "pyproject.toml", tmp_path)
  shutil.copy(ROOT / "requirements.lock", tmp_path)
  python = tmp_path / ".venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  log = tmp_path / "log"  # of what pip is asked for
  python.write_text(f'#!/bin/sh\ncase "$*" in *pip*) echo "$*" >> {log} ;; esac\n')
  python.chmod(0o755)
  setup = tmp_path / "tools" / "setup"

  def installs(*words):
    log.write_text("")
    assert call(setup, *words)[0] == 0
    return log.read_text().count(" install ")

  assert installs("test") == 2  # what is locked, then the package
  assert "--require-hashes --no-deps -r" in log.read_text().splitlines()[0]
  assert installs("test") == installs() == installs("report") == 0
  assert installs("dev") == 2
  (tmp_path / "pyproject.toml").write_text("[project]\n")
  assert installs("report") == 2
  (tmp_path / "requirements.lock").write_text("# report\n")
  assert installs("report") == 2
  assert installs("report", "--unlocked") == 1
  assert "hashes" not in log.read_text()
  assert installs("report") == 0  # it stays so
  assert installs("test") == 1


def test_tool_stops_quietly_when_its_reader_does(tiny_folder, tmp_path):
  rows = tmp_path / "rows.jsonl"
  rows.write_text('{"tokens": [1, 2, 3]}\n' * 3000)
  tool = subprocess.Popen(
    [sys.executable, ROOT / "tools" / "logprobs", "--json", tiny_folder, rows],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  assert tool.stdout is not None
  assert tool.stderr is not None
  tool.stdout.readline()
  tool.stdout.close()
  assert tool.stderr.read() == b""
  assert tool.wait() == 0
