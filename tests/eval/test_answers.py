"""Runs and published files read as answers and verdicts, whatever their layout."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.eval import answers, comparison


def write(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def candidates(*scores, prompt="q", text="long enough", **meta):
  made = [{"text": text, "tokens": 3, "scores": {"rm": s, "reference": -s}} for s in scores]
  return {"id": prompt, "prompt": prompt, "candidates": made, "meta": meta}


def annotation(i, preference, model="model", **more):
  return {
    "instruction": f"q{i}", "output_1": "theirs", "generator_1": "ref", "output_2": "our answer",
    "generator_2": model, "annotator": "gpt", "preference": preference, "dataset": "d", **more,
  }  # fmt: skip


def said(found):
  return {(v.annotator, v.a, v.b, v.prompt, v.turn): v.credit for v in found.ballot.judges}


def test_scores_compare_every_candidate_with_every_one(tmp_path):
  a = write(tmp_path / "a" / "candidates.jsonl", [candidates(1.0, 3.0, category="math")])
  b = write(tmp_path / "b" / "candidates.jsonl", [candidates(2.0, 3.0)])
  found = answers.read([str(tmp_path / "a"), str(tmp_path / "b")])
  # 1 loses to both, 3 beats 2 and ties with 3: (0 + 0 + 1 + 1/2) / 4. No verdict by `reference`.
  assert said(found) == {("rm", "a", "b", "q", 1): 0.375}
  assert found.categories == {"q": "math"}
  again = answers.read([f"mine={a}", f"{b}"])
  assert said(again) == {("rm", "mine", "b", "q", 1): 0.375}


def test_runs_of_alpaca_eval_take_their_folders_name(tmp_path):
  for name, preference in (("a", 2), ("b", 1.25)):
    write(tmp_path / name / "annotations.json", [annotation(1, preference), annotation(2, None)])
  found = answers.read([str(tmp_path / "a"), f"other={tmp_path / 'b'}"])
  assert said(found) == {("gpt", "ref", "a", "q1", 1): 0, ("gpt", "ref", "other", "q1", 1): 0.75}
  assert list(found.systems) == ["ref", "a", "other"]
  assert found.systems["a"]["q1", 1].text == "our answer"
  assert found.categories["q1"] == "d"


def test_a_run_of_mt_bench_has_turns_grades_and_pairs(tmp_path):
  asked = {"question_id": 7, "category": "math", "turns": ["one", "two"]}
  answer = {"question_id": 7, "model_id": "model", "choices": [{"turns": ["A1", "A2"]}]}
  grade = lambda turn, x: {
    "question_id": 7, "model": "model", "judge": ["gpt", "single"], "score": x, "turn": turn,
  }  # fmt: skip
  pair = {
    "question_id": 7, "model_1": "base", "model_2": "model", "g1_winner": "model_2",
    "g2_winner": "model_2", "judge": ["gpt", "pairwise"], "turn": 2,
  }  # fmt: skip
  questions = write(tmp_path / "question.jsonl", [asked])
  for name, x in (("a", 4), ("b", 6)):
    write(tmp_path / name / "model_answer.jsonl", [answer])
    write(tmp_path / name / "single.jsonl", [grade(1, x), grade(2, -1)])
    write(tmp_path / name / "pair.jsonl", [pair])
    manifest = {"input_paths": {"questions": questions}}
    (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
  found = answers.read([str(tmp_path / "a"), str(tmp_path / "b")])
  assert said(found) == {
    ("gpt, graded", "a", "b", "one", 1): 0.0,  # -1 is no grade
    ("gpt", "base", "a", "one", 2): 0.0,
    ("gpt", "base", "b", "one", 2): 0.0,
  }
  assert found.systems["b"]["one", 2].text == "A2"
  found.systems["b"]["one", 2].scores["gpt, graded"] = [2.0]
  score = comparison.systems(found)["b"]["scores"]["gpt, graded"]
  assert (score["value"], score["prompts"]) == (4.0, 1)  # both turns, 6 and 2
  assert [t["content"] for t in found.prompts["one", 2]] == ["one", "two"]


def test_a_recipes_evaluations_are_systems(tmp_path):
  for name, x in (("evaluate_base", 1.0), ("M2/evaluate", 2.0), ("sample", 9.0)):
    write(tmp_path / name / "candidates.jsonl", [candidates(x)])
  assert list(answers.read([str(tmp_path)]).systems) == ["M2", "base"]


def test_votes_of_people_stand_beside_judges(tmp_path):
  vote = {"prompt": "q", "model_a": "a", "model_b": "b", "label": "A"}
  people = [{**vote, "judge": "anna"}, {**vote, "judge": "ben", "label": "tie"}]
  file = write(tmp_path / "v.jsonl", [*people, {**vote, "judge": "gpt"}])
  found = answers.read([file], ["gpt"])
  assert {name: len(v) for name, v in comparison.views(found).items()} == {"people": 2, "gpt": 1}
  summary = comparison.summary(found)
  (row,) = summary["views"]["people"]["comparisons"]
  assert (row["a"], row["win_rate"]["value"]) == ("a", 0.75)


@pytest.mark.parametrize(
  ("make", "said"),
  [
    (lambda p: [str(p / "none")], "no such folder or file"),
    (lambda p: [str(p)], "holds no candidates.jsonl"),
    (lambda p: [write(p / "x" / "c.jsonl", [candidates(1.0)])], "nothing to compare"),
    (lambda p: [write(p / "x" / "c.jsonl", [candidates(1.0), {"prompt": "p", "candidates": 3}])],
     r"c\.jsonl:2: field 'candidates'"),
    (lambda p: [write(p / "x" / "o.json", [{"instruction": "i", "output": 3}])], r"o\.json:1"),
  ],
)  # fmt: skip
def test_what_cannot_be_compared_is_told_in_a_line(tmp_path, make, said):
  with pytest.raises(UserError, match=said):
    comparison.summary(answers.read(make(tmp_path)))


def test_length_and_category_are_told(tmp_path):
  rows = [annotation(i, 2 if i % 2 else 1, category="odd" if i % 2 else "even") for i in range(10)]
  summary = comparison.summary(answers.read([write(tmp_path / "n.jsonl", rows)]))
  view = summary["views"]["gpt"]
  assert view["length"]["longer_wins"]["value"] == 0.5  # "our answer" is longer, and wins half
  assert view["length"]["systems"]["ref"]["shorter"]["n"] == 10
  first = {k: rows[0]["system"] for k, rows in view["categories"].items()}
  assert first == {"even": "ref", "odd": "n"}
