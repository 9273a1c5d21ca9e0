"""Votes as others publish them, read into one form."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.eval import votes
from xwinjax.eval.votes import Vote

MT = {"prompt": "p", "model_a": "x", "model_b": "y", "judge": "author_1", "label": "A", "turn": 2}
PANDALM = {
  "instruction": "do",
  "input": "this",
  "cmp_key": "x-1_y",
  "annotator1": 0,
  "annotator2": 1,
  "annotator3": 2,
}
ALPACA = {
  "instruction": "do",
  "generator_1": "x",
  "generator_2": "y",
  "annotator": "gpt",
  "preference": 1.2,
}
OURS = {
  "id": "1",
  "prompt": "p",
  "a": "x",
  "b": "y",
  "annotator": "anna",
  "label": "B",
  "shown": "b",
  "seconds": 3.5,
  "scores": {"rm": [2.0, 1.0]},
}


def ballot(*rows, judges=()):
  return votes.collect(((f"file:{i}", row) for i, row in enumerate(rows, 1)), judges)


def test_mt_bench():
  assert ballot(MT).votes == [Vote("p", "author_1", "x", "y", "A", turn=2)]
  theirs = {k: v for k, v in MT.items() if k not in ("label", "prompt")}
  (vote,) = ballot(
    {**theirs, "question_id": 81, "winner": "tie (inconsistent)", "judge": ["gpt-4", "pair-v2"]}
  ).votes
  assert (vote.prompt, vote.annotator, vote.label) == ("mt_bench question 81", "gpt-4", "tie")


def test_pandalm_has_all_its_annotators_in_a_row():
  found = ballot(PANDALM).votes
  assert [(v.annotator, v.label) for v in found] == [
    ("annotator1", "tie"),
    ("annotator2", "A"),
    ("annotator3", "B"),
  ]
  assert found[0].item == ("do\nthis", 1, "x-1", "y")


@pytest.mark.parametrize(
  ("preference", "label"),
  [(1, "A"), (1.0002, "A"), (1.5, "tie"), (0, "tie"), (1.51, "B"), (2, "B")],
)
def test_alpaca_eval(preference, label):
  assert ballot({**ALPACA, "preference": preference}).votes[0].label == label


def test_a_judge_without_a_verdict_is_counted_and_not_a_vote():
  found = ballot({**ALPACA, "preference": None})
  assert found.votes == []
  assert found.counts["left out: a judge's reply without a verdict"] == 1


def test_our_rows_bring_scores_as_judges_and_checks_apart():
  found = ballot(OURS, {**OURS, "check": False})
  assert found.votes == [Vote("p", "anna", "x", "y", "B", shown="b", seconds=3.5)]
  assert found.judges == [Vote("p", "rm", "x", "y", "A")]
  assert found.checks == {"anna": [False]}


def test_named_judges_do_not_vote():
  found = ballot(MT, {**MT, "judge": "gpt-4", "label": "B"}, judges=["gpt-4"])
  assert [v.annotator for v in found.votes] == ["author_1"]
  assert [(v.annotator, v.label) for v in found.judges] == [("gpt-4", "B")]


def test_a_pair_told_in_the_other_order_is_the_same_item():
  swapped = {**MT, "model_a": "y", "model_b": "x", "judge": "author_2", "label": "B"}
  one, two = ballot(MT, swapped).votes
  assert one.item == two.item
  assert (one.label, two.label) == ("A", "A")
  # The twin: labels left as they stand would make those who agree disagree.
  assert swapped["label"] != MT["label"]


def test_a_vote_swapped_tells_the_same():
  vote = Vote("p", "anna", "x", "y", "A", shown="a")
  assert vote.swapped() == Vote("p", "anna", "y", "x", "B", shown="b")
  assert vote.swapped().swapped() == vote


def test_the_first_vote_on_an_item_counts():
  found = ballot(MT, {**MT, "label": "B"}, {**MT, "turn": 1})
  assert [(v.turn, v.label) for v in found.votes] == [(2, "A"), (1, "A")]
  assert found.counts["left out: second vote on an item"] == 1


@pytest.mark.parametrize(
  ("row", "said"),
  [
    ({"text": "x"}, "no votes of a known format"),
    ({**MT, "label": "C"}, "label 'C' is not one of"),
    ({**MT, "label": None}, "label None is not one of"),
    ({**MT, "model_a": 3}, "field 'model_a': found 3"),
    ({**PANDALM, "annotator2": 3}, "label 3 is not one of 0, 1, 2"),
    ({**PANDALM, "annotator2": True}, "label True is not"),
    ({**PANDALM, "cmp_key": "a_b_c"}, "expected two names"),
    ({**ALPACA, "preference": 3}, "expected 1 to 2"),
    ({**OURS, "usefulness": {"a": 7}}, "found 7, expected one of 1, 2, 3, 4, 5, 6"),
    ({**OURS, "grades": {"a": ["good"]}}, "found 'good', expected one of fail, pass"),
    ({**OURS, "grades": {"c": ["pass"]}}, "c"),
    ({**OURS, "shown": "left"}, "found 'left'"),
    ({**OURS, "seconds": "3"}, "field 'seconds'"),
  ],
)
def test_malformed_rows_are_named_by_line(row, said):
  with pytest.raises(UserError, match="file:2: .*" + said):
    ballot(MT, row)


def test_files_of_votes(tmp_path):
  path = tmp_path / "votes.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in (MT, OURS)))
  assert len(votes.read(path).votes) == 2
  with pytest.raises(UserError, match="no such file"):
    votes.read(tmp_path / "none.db")


def test_real_votes_are_read(shared):
  pandalm = votes.read(shared / "votes" / "pandalm_first200.json")
  assert (len(pandalm.votes), len({v.item for v in pandalm.votes})) == (600, 200)
  human = votes.read(shared / "votes" / "mtbench_human_first100.jsonl")
  assert (len(human.votes), len({v.item for v in human.votes})) == (100, 69)
  judge = shared / "alpaca-eval" / "annotations_alpaca_eval_gpt4" / "alpaca-7b.json.gz"
  assert len(votes.read(judge).votes) == 805
