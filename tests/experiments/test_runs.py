"""What ran is kept and runs again; runs are listed, shown and compared."""

import json

import pytest
from ml_collections import ConfigDict

from experiments import runs as command
from experiments import select
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.recipes import cli, runs, stored
from xwinjax.recipes.xwin import XwinConfig
from xwinjax.stages.config import to_config_dict


def scored(path, best: float):
  """A file of one prompt's scored candidates."""
  row = {
    "id": "p",
    "prompt": [{"role": "user", "content": "Hi?"}],
    "candidates": [
      {"text": t, "scores": {"rm": s}, "finish": "eos"} for t, s in (("a", best), ("b", 0.5))
    ],
  }
  jsonl.write_rows(path, [row])
  return path


def stored_in(folder):
  stored.write(folder, "xwin", XwinConfig())
  return folder / stored.NAME


@pytest.fixture
def one(tmp_path):
  """A run of a single stage."""
  file = scored(tmp_path / "scored.jsonl", 1.0)
  flags = [f"--config.candidates={file}", "--config.rejected=rank:2", "--config.tie=0.25"]
  assert select.command([*flags, f"--workdir={tmp_path / 'one'}"]) == 0
  return tmp_path / "one"


def test_what_ran_runs_again_from_its_config(one, tmp_path):
  again = tmp_path / "again"
  assert select.command([f"--config={one / 'config.json'}", f"--workdir={again}"]) == 0
  for name in ("examples.jsonl", "pairs.jsonl"):
    assert (one / name).read_bytes() == (again / name).read_bytes()
  assert runs.difference(runs.one(one), runs.one(again)) == {
    part: [] for part in ("config", "data", "versions", "device", "figures")
  }


def test_flags_change_it_as_they_change_a_config_file(one, tmp_path):
  other = tmp_path / "other"
  flags = [f"--config={one / 'config.json'}", "--config.tie=0.3", f"--workdir={other}"]
  assert select.command(flags) == 0
  made = runs.difference(runs.one(one), runs.one(other))
  assert made["config"] == ["tie was 0.25 and is 0.3"]


def test_data_that_changed_is_named_though_its_path_is_the_same(one, tmp_path):
  scored(tmp_path / "scored.jsonl", 2.0)
  other = tmp_path / "other"
  assert select.command([f"--config={one / 'config.json'}", f"--workdir={other}"]) == 0
  made = runs.difference(runs.one(one), runs.one(other))
  assert made["config"] == []
  assert made["data"][0].startswith("candidates was ")
  assert "example_score: 1 → 2 (+1)" in made["figures"]


def test_a_recipes_config_comes_back_equal(tmp_path):
  config = XwinConfig(dpo_from="sft", seed=7)
  stored.write(tmp_path, "xwin", config)
  assert (
    cli.configs.from_config_dict(
      XwinConfig, cli.load(str(tmp_path / "config.json"), XwinConfig, "xwin")
    )
    == config
  )


@pytest.mark.parametrize(
  ("text", "line"),
  [
    ("{", "is not JSON"),
    ('{"model_type": "llama"}', "is not the config.json of a run: it names no command"),
    ('{"command": "sft", "config": {}}', "is of a run of experiments.sft, not of select"),
    ('{"command": "select", "config": {"tiee": 1}}', "unknown field config.tiee; did you mean"),
    ('{"command": "select", "config": {"tie": "much"}}', "config.tie is 'much' (str)"),
  ],
)
def test_another_file_is_one_line(tmp_path, capsys, text, line):
  (tmp_path / "config.json").write_text(text)
  flags = [f"--config={tmp_path / 'config.json'}", f"--workdir={tmp_path / 'new'}"]
  assert select.command(flags) == 2
  said = capsys.readouterr().err
  assert line in said
  assert len(said.strip().split("\n")) == 1


def test_a_list_of_runs_and_one_of_them(one, tmp_path, capsys):
  assert command.command([str(tmp_path)]) == 0
  head, row = capsys.readouterr().out.strip().split("\n")
  assert head.split()[:2] == ["run", "of"]
  assert row.split()[:2] == [str(one), "select"]
  assert command.command(["--show", str(one)]) == 0
  assert "--config.tie=0.25" in capsys.readouterr().out.split("\n")
  assert command.command(["--json", str(tmp_path)]) == 0
  [found] = json.loads(capsys.readouterr().out)
  assert (found["of"], found["done"], found["figures"]["pairs"]) == ("select", True, 1.0)


def test_a_folder_without_runs(tmp_path, capsys):
  assert command.command([str(tmp_path)]) == 0
  assert capsys.readouterr().out == "no runs\n"
  with pytest.raises(UserError, match="no run lies here"):
    runs.one(tmp_path)
  with pytest.raises(UserError, match="has no variants"):
    cli.load(f"{stored_in(tmp_path)}:sandbox", XwinConfig)
  assert command.command([str(tmp_path), "--show", "x"]) == 2


def test_a_models_config_json_is_none_of_a_run(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
  assert not stored.is_one(tmp_path / "config.json")
  stored.write(tmp_path, "xwin", XwinConfig())
  assert stored.is_one(tmp_path / "config.json")


def test_a_config_file_stays_what_it_was():
  assert isinstance(cli.load("configs/select.py"), ConfigDict)
  assert to_config_dict(XwinConfig()).seed == 0
