"""Sweeps: which runs there are, what is skipped, and what the runs come to."""

import dataclasses
import json
import sys
import time

import pytest

from experiments import sweep as command
from xwinjax.core.errors import UserError
from xwinjax.recipes import cli, commands, published, stored, sweep, sweep_summary
from xwinjax.report import sweep as sweep_page
from xwinjax.stages import config as configs
from xwinjax.stages import manifest

FILE = '''"""Better data."""
from ml_collections import ConfigDict

def get_config(row="good"):
  if row.rpartition("/")[2] not in ROWS:
    raise ValueError(f"no row {row}")
  return ConfigDict({"seed": 0, "n": ROWS[row.rpartition("/")[2]], "reuse": ""})

ROWS = {"good": 1, "bad": 2}
EXPERIMENT = "lima"
FIGURES = {"quality": ("score",), "last": ("models", -1, "gold")}
PAPER = {"good": 3.83}
EXPECTS = (("good", ">", "bad"),)
'''
# In the place of an experiment: quality from the row and the seed, written where a run would.
FAKE = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
row, seed = folder.parent.name, int(folder.name[4:])
if (row, seed) == ("bad", 13): sys.exit("error: no luck")
folder.mkdir(parents=True, exist_ok=True)
score = {"good": 4, "bad": 3}[row] + 0.1 * seed * (row == "good")
models = [{"gold": 0}, {"gold": score + 1}]
(folder / "summary.json").write_text(json.dumps({"score": score, "models": models, "seconds": 1}))
with (folder / "runs").open("a") as f: f.write("x")
"""


@pytest.fixture
def ablation(tmp_path, monkeypatch):
  path = tmp_path / "better.py"
  path.write_text(FILE)
  monkeypatch.setattr(
    sweep.Ablation,
    "command",
    lambda self, row, seed, folder, flags: [sys.executable, "-c", FAKE, str(folder), *flags],
  )
  return path


def sweep_of(path, tmp_path, *more):
  return command.command(["--config", str(path), "--workdir", str(tmp_path / "w"), *more])


def test_rows_and_seeds_and_what_they_come_to(ablation, tmp_path, capsys):
  assert sweep_of(ablation, tmp_path, "--seeds", "0", "1", "2") == 0
  said = capsys.readouterr().out
  assert "Better data" in said
  assert "The paper: good is better than bad. Here: as in the paper (+1.10 [+0.85, +1.35])." in said
  found = json.loads((tmp_path / "w" / "sweep.json").read_text())
  [a] = found["ablations"]
  good = a["rows"][0]["figures"]
  assert good["quality"]["seeds"] == {"0": 4, "1": 4.1, "2": 4.2}
  assert good["quality"]["mean"] == pytest.approx(4.1)
  assert good["last"]["mean"] == pytest.approx(5.1)  # a path with places in lists
  assert a["rows"][0]["paper"] == 3.83
  page = (tmp_path / "w" / "sweep.html").read_text()
  assert "Better data: quality" in page
  assert "http" not in page.replace("http://www.w3.org", "")


def runs(tmp_path):
  return sum(len(p.read_text()) for p in (tmp_path / "w").rglob("runs"))


def test_what_is_done_is_skipped_and_other_flags_are_not_the_same(ablation, tmp_path, capsys):
  sweep_of(ablation, tmp_path)
  assert runs(tmp_path) == 2
  first = capsys.readouterr().out
  sweep_of(ablation, tmp_path)
  again = capsys.readouterr()
  assert runs(tmp_path) == 2
  assert again.out == first
  assert "better good seed 0: done before" in again.err
  sweep_of(ablation, tmp_path, "--seeds", "0", "1")
  assert runs(tmp_path) == 4
  sweep_of(ablation, tmp_path, "--config.x=1")
  assert runs(tmp_path) == 6


def test_a_run_that_fails_is_told_and_the_others_go_on(ablation, tmp_path, capsys):
  assert sweep_of(ablation, tmp_path, "--seeds", "13", "1") == 1
  said = capsys.readouterr()
  assert "better bad seed 13: failed" in said.err
  assert "error: no luck" in said.err
  found = json.loads((tmp_path / "w" / "sweep.json").read_text())
  assert len(found["failed"]) == 1
  assert list(found["ablations"][0]["rows"][1]["figures"]["quality"]["seeds"]) == ["1"]
  assert "no luck" in (tmp_path / "w" / "sweep.html").read_text()


def test_commands_of_real_ablations():
  a = sweep.read("configs/ablations/lima_quality.py:sandbox", ["unfiltered"])
  assert a.rows == ("unfiltered",)
  words = a.command("unfiltered", 2, "F", ["--config.data.train=d/{row}-{seed}.jsonl"])
  assert words[1:] == [
    "-m",
    "experiments.lima",
    "--config=configs/ablations/lima_quality.py:sandbox/unfiltered",
    "--workdir=F",
    "--config.seed=2",
    "--config.data.train=d/unfiltered-2.jsonl",
  ]
  b = sweep.read("configs/ablations/self_rewarding.py", ["base", "no_eft"])
  assert b.experiment == "self_rewarding"
  assert "--config=configs/ablations/self_rewarding.py:no_eft" in b.command("no_eft", 0, "F", [])


def test_numbers_in_summaries():
  summary = {"models": [{"x": 1}, {"x": 2.5, "on": True}], "none": None}
  assert sweep.find(summary, ("models", -1, "x")) == 2.5
  for path in (("models", 5, "x"), ("models", "x"), ("none", "y"), ("none",), ("models", -1, "on")):
    assert sweep.find(summary, path) is None


def test_mistakes(ablation, tmp_path, capsys):
  for more, said in (
    (["--rows", "god"], "has no such row; did you mean 'good'?"),
    (["--config.x"], "fields are written --config.FIELD=VALUE"),
    (["--experiment", "dance"], "no command experiments.dance"),
    (["--config", "none.py"], "--config=none.py: no such file"),
    (["--config", "configs/curate.py"], "says no FIGURES"),
  ):
    assert sweep_of(ablation, tmp_path, *more) == 2
    assert said in capsys.readouterr().err
  assert not (tmp_path / "w").exists()


def test_a_wrong_row_is_told_before_any_runs(ablation):
  ablation.write_text(FILE.replace('"bad": 2}', '"bad": 2}\nrow = ROWS.pop') + "\nROWS['x'] = 1\n")
  broken = ablation.read_text().replace('if row.rpartition("/")[2] not in ROWS', 'if row == "x"')
  ablation.write_text(broken)
  with pytest.raises(UserError, match="no row x"):
    sweep.read(str(ablation))


def test_what_is_published_stands_between_its_marks(ablation, tmp_path, capsys, monkeypatch):
  root = tmp_path / "checkout"
  (root / "docs").mkdir(parents=True)
  (root / "README.md").write_text("a\n<!-- results: better -->old<!-- end of results -->\nb\n")
  (root / "docs" / "other.md").write_text("<!-- results: else -->kept<!-- end of results -->")
  with monkeypatch.context() as m:
    m.setattr(published.publish, "__defaults__", (root,))
    assert sweep_of(ablation, tmp_path, "--seeds", "0", "1", "--publish", "better") == 0
  said = (root / "README.md").read_text()
  assert said.startswith("a\n<!-- results: better -->\nMeans over runs of seeds 0, 1")
  assert "| good | 4.050 [3.415, 4.685] |" in said
  assert said.endswith("<!-- end of results -->\nb\n")
  assert "old" not in said
  assert (root / "docs" / "other.md").read_text().count("kept") == 1
  assert "Better data" in (root / "docs" / "results" / "better.txt").read_text()
  assert str(root / "docs" / "results" / "better.json") in capsys.readouterr().out


def test_failed_runs_are_not_published(ablation, tmp_path, capsys):
  assert sweep_of(ablation, tmp_path, "--seeds", "13", "--publish", "better") == 2
  assert "--publish better: 1 runs failed; run them again first" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["alpaca_eval", "multiple_choice"])
def test_a_benchmarks_run_is_experiments_evaluates(tmp_path, name):
  """By its config.json or its config file; the figures are those of its manifest."""
  run = tmp_path / "run"
  run.mkdir()
  values = cli.load(f"configs/evaluate/{name}.py")
  stored.write(run, name, configs.from_config_dict(commands.ALONE[name].config, values))
  for spec in (str(run / "config.json"), f"configs/evaluate/{name}.py:sandbox"):
    one = sweep.read(spec)
    assert "experiments.evaluate" in one.command(sweep.ALONE, 0, tmp_path, [])
    assert one.figures == sweep.FIGURES[name]
  (run / "manifest.json").write_text('{"figures": {"accuracy": 0.5}}')
  assert sweep.summary_of(run) == {"accuracy": 0.5}


def test_a_config_without_rows_is_one(tmp_path):
  alone = sweep.read("configs/xwin.py:sandbox")
  assert alone.rows == (sweep.ALONE,)
  command = alone.command(sweep.ALONE, 3, tmp_path, [])
  assert "--config=configs/xwin.py:sandbox" in command
  assert "--config.seed=3" in command


def test_later_rows_take_what_is_the_same_from_the_first(ablation, tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(sweep, "run_row", lambda command, folder, label: asked.append(command) or "")
  monkeypatch.setattr(
    sweep, "done_with", lambda folder: ["done"] if folder.parent.name == "good" else None
  )
  sweep.run([sweep.read(str(ablation))], [0, 1], tmp_path)
  reuse = [[w for w in command if w.startswith(sweep.REUSE)] for command in asked]
  first = [f"{sweep.REUSE}{tmp_path.absolute() / 'better' / 'good' / f'seed{n}'}" for n in (0, 1)]
  assert reuse == [[], [first[0]], [], [first[1]]]


def test_a_row_takes_everything_from_one_of_the_same_settings(ablation, tmp_path, monkeypatch):
  other = tmp_path / "other.py"
  other.write_text(FILE.replace('{"good": 1, "bad": 2}', '{"worse": 3, "fine": 1, "bad": 2}'))
  asked = {}
  note = lambda command, folder, label: asked.update({str(folder): command}) or ""
  monkeypatch.setattr(sweep, "run_row", note)
  monkeypatch.setattr(sweep, "done_with", lambda folder: ["done"])
  sweep.run([sweep.read(str(ablation)), sweep.read(str(other))], [0], tmp_path)
  at = lambda *place: str(tmp_path.absolute().joinpath(*place, "seed0"))
  taken = lambda *place: [w for w in asked[at(*place)] if w.startswith(sweep.REUSE)]
  assert taken("other", "fine") == [f"{sweep.REUSE}{at('better', 'good')}"]  # the same settings
  assert taken("other", "bad") == [f"{sweep.REUSE}{at('better', 'bad')}"]
  assert taken("better", "bad") == [f"{sweep.REUSE}{at('better', 'good')}"]  # the first row
  assert taken("other", "worse") == []


def test_what_has_no_stages_takes_none(ablation, tmp_path, monkeypatch):
  ablation.write_text(FILE.replace(', "reuse": ""', ""))
  asked = []
  monkeypatch.setattr(sweep, "run_row", lambda command, folder, label: asked.append(command) or "")
  monkeypatch.setattr(sweep, "done_with", lambda folder: ["done"])
  sweep.run([sweep.read(str(ablation))], [0], tmp_path)
  assert not [w for command in asked for w in command if w.startswith(sweep.REUSE)]


@dataclasses.dataclass(frozen=True)
class Rates:
  rate: float = 0.1
  beta: float = 0.5
  seed: int = 0
  price: float = configs.later(0.0)


def test_a_run_is_shown_beside_what_is_published_of_its_settings(tmp_path):
  figures = {"gold, DPO": sweep_page.over_seeds({"0": 4.0, "1": 4.5})}
  made = {"row": sweep.ALONE, "figures": figures, "against_first": None, "paper": None, "at": None}
  ablation = {"config": {"rate": 0.1}, "main": "gold, DPO", "first": sweep.ALONE, "rows": [made]}
  summary = {"seeds": [0, 1], "device": "a laptop", "ablations": [ablation]}
  (tmp_path / "docs" / "results").mkdir(parents=True)
  (tmp_path / "docs" / "results" / "a.json").write_text(json.dumps(summary))
  said = published.beside(Rates(seed=7), tmp_path)  # beta did not exist then
  assert "seeds 0, 1" in said
  assert "a laptop" in said
  assert "gold, DPO  4.250 [1.073, 7.427]" in said
  assert published.beside(Rates(rate=0.2), tmp_path) == ""
  assert published.beside(Rates(beta=0.1), tmp_path) == ""
  assert published.beside(Rates(price=0.1), tmp_path) == ""

  here = {**summary, "device": manifest.device(), "seeds": [2, 3]}
  (tmp_path / "docs" / "results" / "b.json").write_text(json.dumps(here))
  assert "seeds 2, 3" in published.beside(Rates(), tmp_path)  # those of this machine's kind first


def test_what_a_run_took_from_another_costs_no_time_again(tmp_path):
  runs = [tmp_path / name for name in ("made", "taken", "own")]

  def stage(run, config, like=None):
    def body():
      time.sleep(0.02)
      (run / "stage" / "out.txt").write_text("x")
      return {}

    manifest.run_stage(run / "stage", "stage", config, {}, ("out.txt",), body, like=like)

  stage(runs[0], {"a": 1})
  stage(runs[1], {"a": 1}, like=runs[0] / "stage")
  stage(runs[2], {"a": 2}, like=runs[0] / "stage")
  once = sweep_summary.spent(runs[:1])
  assert once >= 0.02
  assert sweep_summary.spent(runs[:2]) == once
  assert sweep_summary.spent(runs) >= once + 0.02
