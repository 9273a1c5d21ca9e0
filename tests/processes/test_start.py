"""What a command line says of its processes, before any of them meets another."""

import pytest

from xwinjax.core.errors import UserError
from xwinjax.core.processes import Start, environment_has_several
from xwinjax.recipes import cli

LAUNCHERS = (
  "SLURM_STEP_NUM_TASKS",
  "OMPI_COMM_WORLD_SIZE",
  "TPU_WORKER_HOSTNAMES",
  "MEGASCALE_NUM_SLICES",
)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
  for name in LAUNCHERS:
    monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (Start("10.0.0.1:1234"), "--num_processes=N and --process_id=I missing"),
    (Start(num_processes=2, process_id=0), "--coordinator=HOST:PORT missing"),
    (Start("10.0.0.1", 2, 0), "expected HOST:PORT"),
    (Start("10.0.0.1:1234", 2, 2), "--process_id=2: expected 0 to 1"),
    (Start("10.0.0.1:1234", 0, 0), "--num_processes=0: expected at least 1"),
    (Start(lost_after=0), "--lost_after=0: expected seconds"),
  ],
)
def test_flags_that_do_not_go_together_are_refused(given, said):
  with pytest.raises(UserError, match=said):
    given.check()


def test_whole_flags_are_taken():
  Start().check()
  Start("10.0.0.1:1234", 2, 0).check()  # process 0 may be given


@pytest.mark.parametrize(
  ("name", "one", "several"),
  [
    ("SLURM_STEP_NUM_TASKS", "1", "4"),
    ("OMPI_COMM_WORLD_SIZE", "1", "2"),
    ("TPU_WORKER_HOSTNAMES", "host-0", "host-0,host-1"),
    ("MEGASCALE_NUM_SLICES", "1", "2"),
  ],
)
def test_a_launcher_of_several_is_seen(monkeypatch, name, one, several):
  assert not environment_has_several()
  monkeypatch.setenv(name, one)
  assert not Start().wanted()
  monkeypatch.setenv(name, several)
  assert Start().wanted()
  assert not Start(distributed=False).wanted()


def test_a_bucket_is_no_folder(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = cli.Path(cli.__file__).parents[2] / "configs" / "sft.py"
  run = cli.stage("", str(config), "sft")
  assert run(["--workdir=gs://bucket/run"]) == 2
  assert "--workdir=gs://bucket/run: only folders" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


def test_half_given_flags_are_told_by_the_command(capsys, tmp_path):
  config = cli.Path(cli.__file__).parents[2] / "configs" / "sft.py"
  run = cli.stage("", str(config), "sft")
  assert run([f"--workdir={tmp_path / 'run'}", "--num_processes=2"]) == 2
  assert capsys.readouterr().err == (
    "error: --coordinator=HOST:PORT and --process_id=I missing: --coordinator=HOST:PORT, "
    "--num_processes=N, --process_id=I go together\n"
  )
  assert not (tmp_path / "run").exists()
