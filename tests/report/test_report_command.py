"""The report made again by its command, and a chain that ends without the report's packages."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import report as command
from xwinjax import report
from xwinjax.core.errors import UserError

ROOT = Path(__file__).parents[2]


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
    (["--workdir=."], "recipe.json: missing; run the recipe's command again"),
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


@pytest.mark.parametrize(
  ("record", "said"),
  [
    ('{"recipe": ', "recipe.json: damaged; delete it and run the recipe's command again"),
    (
      '{"stage": "sft"}',
      "recipe.json: names no recipe; delete it and run the recipe's command again",
    ),
    ('["xwin"]', "recipe.json: names no recipe"),
    ('{"recipe": "ppo"}', "recipe.json: recipe 'ppo' is not one of xwin, self_rewarding, lima"),
    ('{"recipe": "lima"}', "holds no run of experiments.lima"),
  ],
)
def test_the_record_alone_says_the_recipe(killed, record, said):
  folder = killed("dpo")
  (folder / "recipe.json").write_text(record)
  with pytest.raises(UserError) as error:
    report.write(folder)
  assert said in str(error.value)
  # The twin: the same folder with its own record has a page.
  (folder / "recipe.json").write_text('{"recipe": "xwin"}')
  assert report.write(folder).exists()


@pytest.mark.parametrize("recipe", report.RECIPES)
def test_a_summary_needs_neither_library(recipe):
  code = (
    "import sys; sys.modules.update(matplotlib=None, jinja2=None); from xwinjax import report;"
    f"module = report.module({recipe!r}); module.summary, module.text, module.page, module.Run"
  )
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.fixture
def without(monkeypatch):
  """Makes a package look uninstalled."""

  def remove(package):
    monkeypatch.setitem(sys.modules, package, None)

  return remove


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra_one_line_says_what_gives_the_report(without, chain, package):
  without(package)
  with pytest.raises(UserError, match=rf"{package} is missing; pip install 'xwinjax\[report\]'"):
    report.write(chain)


def test_the_chain_ends_well_without_the_extra(without, chain, tmp_path, capsys):
  from xwinjax.recipes import recipe

  folder = tmp_path / "demo"
  shutil.copytree(chain, folder)
  assert recipe.summary(folder)["stages"][3]["stage"] == "dpo"
  assert (folder / "report.html").exists()
  (folder / "report.html").unlink()
  (folder / "summary.json").unlink()

  without("matplotlib")
  recipe.summary(folder)
  assert (folder / "summary.json").exists()
  assert not (folder / "report.html").exists()
  said = capsys.readouterr().err
  assert "pip install 'xwinjax[report]'" in said
  assert said.count("\n") == 1
