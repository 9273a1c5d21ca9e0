"""Answers of several models rated by a judge that is known, and the pairs that come of it."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.recipes import cli
from xwinjax.stages import config as configs
from xwinjax.stages import label
from xwinjax.stages.label import LabelConfig
from xwinjax.stages.score import Judge, JudgeConfig, Scored
from xwinjax.stages.stage import Context

TWO_TURNS = [
  {"role": "user", "content": "one"},
  {"role": "assistant", "content": "first"},
  {"role": "user", "content": "two"},
]
ANSWERS = {  # the judge below counts letters
  "a": {"q": ["aaaa", "a"], "both": ["aa"], "same": ["equal"], "alone": ["x"]},
  "b": {"q": ["bb"], "both": ["bbbbb"], "same": ["equal"]},
}


def write(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


@pytest.fixture
def files(tmp_path):
  """Candidates of two models; "both" is a prompt of two turns."""
  made = []
  for name, by_prompt in ANSWERS.items():
    rows = [
      {"id": p, "prompt": TWO_TURNS if p == "both" else p, "candidates": [{"text": t} for t in ts]}
      for p, ts in by_prompt.items()
    ]
    made.append(write(tmp_path / name / "candidates.jsonl", rows))
  return ",".join(map(str, made))


JUDGE = Judge(
  JudgeConfig(),
  {},
  lambda *_: (
    lambda prompts, texts, folder, title: Scored(
      {"self": [[float(len(t)) for t in ts] for ts in texts]}
    )
  ),
)


def rows_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_best_of_all_models_answers_against_the_worst(files, tmp_path):
  figures = label.make(Context(), LabelConfig(), tmp_path, files, judge=JUDGE)
  pairs = {p["id"]: p for p in rows_of(tmp_path / "pairs.jsonl")}
  answer = lambda p, which: (p[which][0]["content"], p["meta"][f"{which}_system"])
  assert {
    id: (answer(p, "chosen"), answer(p, "rejected"), p["margin"]) for id, p in pairs.items()
  } == {"q": (("aaaa", "a"), ("a", "a"), 3.0), "both": (("bbbbb", "b"), ("aa", "a"), 3.0)}
  assert pairs["both"]["prompt"] == TWO_TURNS
  assert figures["systems"]["b"] == {"rated": 2, "mean": 3.5, "chosen": 1, "rejected": 0}
  assert figures["counts"]["left out: prompts with a single answer"] == 2
  scored = rows_of(tmp_path / "candidates.jsonl")
  assert [c["scores"]["self"] for c in scored[0]["candidates"]] == [4, 1, 2]
  assert scored[0]["meta"]["systems"] == ["a", "a", "b"]


def test_models_may_be_given_names(files, tmp_path):
  figures = label.make(
    Context(), LabelConfig(names=("mine", "theirs")), tmp_path, files, judge=JUDGE
  )
  assert set(figures["systems"]) == {"mine", "theirs"}
  for names in (("mine",), ("mine", "mine")):
    with pytest.raises(UserError, match=r"expected 2 different names, one for each of .*a/cand"):
      label.check(LabelConfig(names=names), files, None)


def test_agreement_with_peoples_pairs_and_votes(files, tmp_path):
  pairs = [
    {"prompt": "q", "chosen": "bb", "rejected": "aaaa"},  # against the judge
    {"prompt": TWO_TURNS, "chosen": [{"role": "assistant", "content": "bbbbb"}],
     "rejected": [{"role": "assistant", "content": "aa"}]},
    {"prompt": "q", "chosen": "never written", "rejected": "a"},
  ]  # fmt: skip
  people = write(tmp_path / "people.jsonl", pairs)
  agreed = label.make(Context(), LabelConfig(), tmp_path, files, people, judge=JUDGE)["agreement"]
  assert (agreed["labels"], agreed["met"], agreed["exact"]["value"]) == (3, 2, 0.5)
  vote = {"prompt": "q", "model_a": "b", "model_b": "a", "judge": "anna"}
  votes = [{**vote, "label": "B"}, {**vote, "judge": "ben", "label": "tie"}]
  people = write(tmp_path / "votes.jsonl", votes)
  agreed = label.make(Context(), LabelConfig(), tmp_path, files, people, judge=JUDGE)["agreement"]
  # Of a model's answers the first is meant: "aaaa" against "bb".
  assert (agreed["exact"]["value"], agreed["tie_discounted"]["value"]) == (0.5, 0.75)


def test_fewer_answers_of_each_model_may_be_taken(files, tmp_path):
  label.make(Context(), LabelConfig(each=1), tmp_path, files, judge=JUDGE)
  (first, _) = rows_of(tmp_path / "pairs.jsonl")
  assert first["rejected"][0]["content"] == "bb"


def test_one_models_single_answers_make_no_pair(files, tmp_path):
  b = files.split(",")[1]
  with pytest.raises(UserError, match="no prompt has two answers"):
    label.make(Context(), LabelConfig(), tmp_path, b, judge=JUDGE)


def test_the_config_fits_its_command(capsys):
  from experiments import label as command

  for variant in ("llama", "sandbox"):
    configs.from_config_dict(command.command.kind, cli.load(f"configs/label.py:{variant}"))
  assert command.command(["--help"]) == 0
  assert "select.rejected" in capsys.readouterr().out
