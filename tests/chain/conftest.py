import subprocess
from pathlib import Path

import pytest
from small_chain import run_chain


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
  """A finished chain and what it printed."""
  workdir = tmp_path_factory.mktemp("chain") / "run"
  result = run_chain(workdir)
  assert result.returncode == 0, result.stderr[-2000:]
  return workdir, result
