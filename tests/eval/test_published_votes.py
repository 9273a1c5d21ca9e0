"""Votes and judges' outputs as PandaLM, MT-bench, FairEval and Auto-J publish them.

The numbers were computed by a plain script from the raw rows, without this package.
"""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.eval import agreement, votes


def write(path, rows):
  path.write_text("\n".join(json.dumps(row) for row in rows))
  return path


def read(*paths, judges=()):
  ballot = votes.Ballot()
  for path in paths:
    votes.read(path, judges, ballot)
  return ballot


def labels(ballot):
  return [(v.annotator, v.a, v.b, v.label) for v in ballot.votes]


PEOPLE = [
  {"idx": i, "instruction": f"do {i}", "input": "", "cmp_key": "x_y"}
  | dict(zip(("annotator1", "annotator2", "annotator3"), said, strict=True))
  for i, said in enumerate([(1, 1, 2), (2, 2, 2), (0, 0, 1), (0, 1, 2)])
]
JUDGE = [{"idx": i, "gpt_result": r} for i, r in enumerate(["1", "Tie", "garbage", 2])]


@pytest.mark.parametrize("people_first", [True, False])
def test_pandalms_judge_votes_on_the_peoples_rows(tmp_path, people_first):
  files = [write(tmp_path / "p.jsonl", PEOPLE), write(tmp_path / "j.jsonl", JUDGE)]
  ballot = read(*(files if people_first else files[::-1]), judges=["gpt"])
  found = agreement.summary(ballot)["majority"]
  assert (found["items"], found["without"]) == (3, 1)
  assert found["judges"]["gpt"]["exact"]["value"] == pytest.approx(2 / 3)
  assert found["judges"]["gpt"]["tie_discounted"]["value"] == pytest.approx(2.5 / 3)
  (rate,) = found["comparisons"]
  assert rate["win_rate"]["value"] == pytest.approx((1 + 0 + 0.5) / 3)
  assert ballot.counts["judges' garbage, a tie as in PandaLM's script"] == 1


def test_a_judge_without_the_rows_it_judged_is_refused(tmp_path):
  with pytest.raises(UserError, match=r"4 votes of gpt are on rows by number.*testset-v1\.json"):
    agreement.summary(read(write(tmp_path / "j.jsonl", JUDGE)))


def test_pandalm_against_a_plain_calculation(shared, tmp_path):
  path = shared / "votes" / "pandalm_first200.json"
  made_up = [{"idx": i, "m_result": "Tie" if i % 5 == 4 else str(1 + i % 2)} for i in range(200)]
  judge = write(tmp_path / "judge.jsonl", made_up)
  found = agreement.summary(read(path, judge, judges=["m"]))
  majority = found["majority"]
  assert (majority["items"], majority["without"]) == (200, 0)
  told = majority["judges"]["m"]
  assert told["exact"]["value"] == 68 / 200
  assert told["tie_discounted"]["value"] == 98.5 / 200
  assert told["cohen_kappa"] == pytest.approx(-0.04928457869634336)
  rates = {(c["a"], c["b"]): c["win_rate"]["value"] for c in majority["comparisons"]}
  assert rates["bloom-7b", "llama-7b"] == 10.5 / 27
  assert rates["llama-7b", "opt-7b"] == 16 / 24
  pairs = {tuple(p["between"]): p for p in found["pairs"]}
  assert sum(pairs[f"annotator{k}", "m"]["exact"] * 200 for k in (1, 2, 3)) == pytest.approx(208)
  assert pairs["annotator1", "annotator2"]["exact"] == 0.945
  assert pairs["annotator1", "annotator2"]["cohen_kappa"] == pytest.approx(0.9110104360488632)
  assert pairs["annotator2", "annotator3"]["cohen_kappa"] == pytest.approx(0.8884639898024221)
  # The twin: a judge read one row too early agrees with others.
  moved = write(tmp_path / "m.jsonl", [{**r, "idx": (r["idx"] + 1) % 200} for r in made_up])
  wrong = agreement.summary(read(path, moved, judges=["m"]))["majority"]["judges"]["m"]
  assert wrong["exact"]["value"] != 68 / 200


def test_mt_bench_majority_against_a_plain_calculation(shared):
  found = agreement.summary(votes.read(shared / "votes" / "mtbench_human_first100.jsonl"))
  assert (found["majority"]["items"], found["majority"]["without"]) == (12, 14)


TURN = {"turn": 1, "model_a": "x", "model_b": "y"}


def test_mt_bench_people_and_fastchats_judge_meet_by_question(tmp_path):
  """The Hub's people have the conversation; FastChat's judgements name the question alone."""
  people = [
    {**TURN, "question_id": 81, "winner": "model_a", "judge": "expert_1"}
    | {"conversation_a": [{"role": "user", "content": "Write."}]}
  ]
  base = {"question_id": 81, "model_1": "y", "model_2": "x", "judge": ["gpt-4", "pair-v2"]}
  judge = [
    {**base, "g1_winner": "model_2", "g2_winner": "model_2", "turn": 1},
    {**base, "g1_winner": "model_2", "g2_winner": "model_1", "turn": 2},
    {**base, "g1_winner": "error", "g2_winner": "model_1", "turn": 3},
  ]
  files = [write(tmp_path / "j.jsonl", judge), write(tmp_path / "p.jsonl", people)]
  ballot = read(*files, judges=["gpt-4"])
  (person,) = ballot.votes
  assert (person.prompt, person.label) == ("Write.", "A")
  assert [(v.item, v.label) for v in ballot.judges] == [
    (person.item, "A"),
    (("Write.", 2, "x", "y"), "tie"),
  ]
  assert ballot.counts[votes.NO_VERDICT] == 1


def test_faireval_people_and_judge(tmp_path):
  people = tmp_path / "review_gpt35_vicuna-13b_human.txt"
  people.write_text("CHATGPT\nVICUNA13B\nTIE\n")
  judge = write(
    tmp_path / "review_gpt35_vicuna-13b_gpt-4_mec3_bpc1.json",
    [
      {"question_id": i + 1, "question": f"q{i + 1}", "review": [], "score": score}
      for i, score in enumerate([[8, 7.5], [9, 8], [7, 7]])
    ],
  )
  ballot = read(people, judge, judges=["gpt-4_mec3_bpc1"])
  assert labels(ballot) == [("human", "gpt35", "vicuna-13b", x) for x in ("A", "B", "tie")]
  assert [v.label for v in ballot.judges] == ["A", "A", "tie"]
  assert {v.item for v in ballot.votes} == {v.item for v in ballot.judges}
  people.write_text("CHATGPT\nLLAMA\n")
  with pytest.raises(UserError, match=r"human\.txt:2: found 'LLAMA', expected gpt35, vicuna-13b"):
    read(people)
  with pytest.raises(UserError, match="does not say whose answers"):
    read(write(tmp_path / "other.jsonl", [{"question_id": 1, "question": "", "score": [1, 2]}
    | {"review": ""}]))  # fmt: skip


def test_auto_j_people_and_judge(tmp_path):
  pair = {"scenario": "s", "prompt": "p", "response 1": "a", "response 2": "b"}
  people = write(
    tmp_path / "testdata_pairwise.jsonl",
    [{**pair, "label": 0}, {**pair, "response 1": "c", "label": 1}, {**pair, "label": 2}],
  )
  said = ["… So, the final decision is Response 1.", "no word", "The final decision is Tie."]
  judge = write(tmp_path / "auto-j.jsonl", [{"output": text} for text in said])
  ballot = read(people, judge, judges=["auto-j"])
  assert [v.label for v in ballot.votes] == ["A", "B", "tie"]
  assert [(v.item, v.label) for v in ballot.judges] == [
    (ballot.votes[0].item, "A"),
    (ballot.votes[2].item, "tie"),
  ]


def test_win_rates_weigh_what_a_judge_gives(tmp_path):
  row = {"generator_1": "x", "generator_2": "y", "annotator": "gpt"}
  rows = [{**row, "instruction": str(p), "preference": p} for p in (1.25, 1.5, 0, 2)]
  (rate,) = agreement.summary(read(write(tmp_path / "a.jsonl", rows)))["comparisons"]
  assert rate["win_rate"]["value"] == pytest.approx((0.75 + 0.5 + 0.5 + 0) / 4)
  assert rate["win"]["value"] == 0.25  # the twin: shares of votes are discrete


def test_the_published_weighted_win_rate(shared):
  """AlpacaEval 2's row says 2.591450540223603 for the model; discrete votes would say 2.298…"""
  path = shared / "alpaca-eval" / "annotations_weighted_gpt4_turbo" / "alpaca-7b.json.gz"
  (rate,) = agreement.comparisons(votes.read(path).votes, "alpaca-7b", 0)
  assert 100 * rate["win_rate"]["value"] == pytest.approx(2.591450540223603)
