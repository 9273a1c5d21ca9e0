"""The report made again by its command, and a chain that ends without the report's packages."""

import shutil
import sys

import pytest

from experiments import report as command
from xwinjax import report
from xwinjax.core.errors import UserError


def test_command_writes_the_report_and_prints_its_path(killed, capsys):
  folder = killed("dpo")
  before = (folder / "sft" / "manifest.json").read_bytes()
  assert command.command([f"--workdir={folder}"]) == 0
  assert capsys.readouterr().out == f"{folder}/report.html\n"
  assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
  assert (folder / "sft" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--workdir=/no/such"], "/no/such: no such folder"),
    (["--workdir=."], ".: holds no stage of a chain; name the workdir of experiments.xwin"),
    ([], "expected --workdir=FOLDER"),
    (["--workdir=.", "more"], "expected --workdir=FOLDER"),
    (["--folder=x"], "Unknown command line flag 'folder'"),
  ],
)
def test_a_mistake_is_one_line(arguments, said, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert command.command(arguments) == 2
  error = capsys.readouterr().err
  assert error.startswith(f"error: {said}")
  assert error.count("\n") == 1


@pytest.fixture
def without(monkeypatch):
  """Makes a package look uninstalled."""

  def remove(package):
    for name in ("page", "charts"):
      monkeypatch.delitem(sys.modules, f"xwinjax.report.{name}", raising=False)
      monkeypatch.delattr(report, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)

  return remove


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra_one_line_says_what_gives_the_report(without, chain, package):
  without(package)
  with pytest.raises(UserError, match=rf"{package} is missing; pip install 'xwinjax\[report\]'"):
    report.write(chain)


def test_the_chain_ends_well_without_the_extra(without, chain, tmp_path, capsys):
  from xwinjax.recipes.xwin import Chain

  folder = tmp_path / "demo"
  shutil.copytree(chain, folder)
  run = Chain.__new__(Chain)  # the end of a run whose stages are done
  run.workdir = folder
  assert run.summary()["stages"][3]["stage"] == "dpo"
  assert (folder / "report.html").exists()
  (folder / "report.html").unlink()
  (folder / "summary.json").unlink()

  without("matplotlib")
  run.summary()
  assert (folder / "summary.json").exists()
  assert not (folder / "report.html").exists()
  said = capsys.readouterr().err
  assert "pip install 'xwinjax[report]'" in said
  assert said.count("\n") == 1
