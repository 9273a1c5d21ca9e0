import subprocess
from pathlib import Path

import pytest
from small_loop import run_loop


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
  """A finished run of two rounds and what it printed."""
  workdir = tmp_path_factory.mktemp("loop") / "run"
  result = run_loop(workdir)
  assert result.returncode == 0, result.stderr[-2000:]
  return workdir, result
