"""The commands of self-rewarding as a person calls them: what they say, and what they refuse."""

import json

import pytest

from experiments import instruct, judge, judge_metrics, make_eft, self_rewarding
from xwinjax.data import jsonl

COMMANDS = {
  "instruct": instruct,
  "judge": judge,
  "judge_metrics": judge_metrics,
  "make_eft": make_eft,
  "self_rewarding": self_rewarding,
}


@pytest.fixture
def ranked(tmp_path):
  """A file of candidates with people's values and a judge's scores."""
  row = lambda i: {
    "id": f"q{i}",
    "prompt": "Hi?",
    "candidates": [
      {"text": "Hello.", "scores": {"human": 2, "self": 4.0}},
      {"text": "No.", "scores": {"human": 1, "self": 4.5 if i else 1.0}},
    ],
  }
  return jsonl.write_rows(tmp_path / "ranked.jsonl", [row(i) for i in range(4)])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_is_read_and_written(name, capsys):
  assert COMMANDS[name].command(["--help"]) == 0
  said = capsys.readouterr().out
  assert "--workdir=FOLDER" in said
  assert f"python -m experiments.{name}" in said


def test_judge_metrics_prints_and_writes_its_figures(ranked, tmp_path, capsys):
  flags = [f"--config.candidates={ranked}", f"--workdir={tmp_path}/m"]
  assert judge_metrics.command(flags) == 0
  said = capsys.readouterr().out
  assert "pairwise accuracy   0.25 [" in said
  figures = json.loads((tmp_path / "m" / "metrics.json").read_text())
  assert figures["pairwise_accuracy"] == 0.25


def test_judging_by_a_model_end_to_end(ranked, tiny_folder, tmp_path, capsys):
  prompt = tmp_path / "judge.txt"
  prompt.write_text("Ask: {prompt} Say: {answer} Rate.")
  flags = [
    "--config=configs/judge.py:sandbox",
    f"--workdir={tmp_path}/j",
    f"--config.candidates={ranked}",
    f"--config.model.path={tiny_folder}",
    f"--config.prompt_file={prompt}",
    "--config.max_new=4",
    "--config.mode=expected",
    "--config.name=mine",
  ]
  assert judge.command(flags) == 0
  assert "mine" in capsys.readouterr().out
  rows = [json.loads(x) for x in (tmp_path / "j" / "candidates.jsonl").read_text().splitlines()]
  assert all(set(c["scores"]) == {"human", "self", "mine"} for r in rows for c in r["candidates"])


def test_a_score_that_nobody_gave(mistake, ranked, tmp_path):
  said = mistake(
    judge_metrics.command,
    f"--workdir={tmp_path}/m",
    f"--config.candidates={ranked}",
    "--config.score=rm",
  )
  assert said == f"{ranked}: no answer has a score 'rm'; run the judge stage first"


def test_candidates_that_are_not_there(mistake, tiny_folder, tmp_path):
  said = mistake(
    judge.command,
    f"--workdir={tmp_path}/j",
    f"--config.model.path={tiny_folder}",
    "--config.candidates=none.jsonl",
  )
  assert said == "config.candidates=none.jsonl: no such file or folder"


def test_a_judge_prompt_without_an_answer(mistake, ranked, tiny_folder, tmp_path):
  prompt = tmp_path / "judge.txt"
  prompt.write_text("Rate {prompt}.")
  said = mistake(
    judge.command,
    f"--workdir={tmp_path}/j",
    f"--config.model.path={tiny_folder}",
    f"--config.candidates={ranked}",
    f"--config.prompt_file={prompt}",
  )
  assert said == f"{prompt}: holds {{answer}} 0 times; expected once"
  assert not (tmp_path / "j").exists()


def test_seeds_that_are_conversations_of_many_turns(mistake, tiny_folder, tmp_path):
  turns = [{"role": r, "content": "Hi."} for r in ("user", "assistant", "user")]
  seeds = jsonl.write_rows(tmp_path / "seeds.jsonl", [{"messages": turns}])
  said = mistake(
    instruct.command,
    f"--workdir={tmp_path}/i",
    f"--config.seeds={seeds}",
    f"--config.model.path={tiny_folder}",
  )
  assert said == f"{seeds}: holds no prompt of a single turn to show"


def test_rankings_without_peoples_values(mistake, ranked, tiny_folder, tmp_path):
  said = mistake(
    make_eft.command,
    f"--workdir={tmp_path}/e",
    f"--config.rankings={ranked}",
    f"--config.judge.model={tiny_folder}",
    "--config.people=stars",
    "--config.judge.max_new=4",
  )
  assert said == f"{ranked}: no question has two answers with a score 'stars'"


def test_rounds_without_data(mistake, tiny_folder, tmp_path):
  said = mistake(
    self_rewarding.command,
    "--config=configs/self_rewarding.py:llama",
    f"--workdir={tmp_path}/s",
    f"--config.model.path={tiny_folder}",
  )
  assert said == "config.data.ift is empty; it names what is to be read"
  assert not (tmp_path / "s").exists()


def test_what_the_rounds_fill_in_cannot_be_set(mistake, tmp_path):
  said = mistake(self_rewarding.command, f"--workdir={tmp_path}/s", "--config.dpo.data=x")
  assert said.startswith(
    "--config.dpo.data=x: unknown field config.dpo.data; there are answers, beta"
  )


def test_a_bad_row_of_a_later_file_is_found_before_training(mistake, tiny_folder, tmp_path):
  ift = jsonl.write_rows(tmp_path / "ift.jsonl", [{"instruction": "Hi?", "output": "Hello."}])
  bad = jsonl.write_rows(tmp_path / "bad.jsonl", [{"prompt": "Hi?"}, {"prompt": 7}])
  said = mistake(
    self_rewarding.command,
    "--config=configs/self_rewarding.py:laptop",
    f"--workdir={tmp_path}/run",
    f"--config.model.path={tiny_folder}",
    "--config.eft=none",
    f"--config.data.ift={ift}",
    f"--config.data.heldout_prompts={bad}",
  )
  assert said.startswith(f"{bad}:2: field 'prompt': found int")
  assert not (tmp_path / "run" / "baseline").exists()
