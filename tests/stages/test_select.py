"""Which candidates are trained on."""

import json
from statistics import fmean, pstdev

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import formats
from xwinjax.data.records import Candidate, CandidateSet, Counts, Message
from xwinjax.stages.select import STAGE, SelectConfig, parse_rule, ranked, select, statistics
from xwinjax.stages.stage import Context

SCORES = (0.0, 4.0, 1.0, 3.0, 2.0)  # of the texts c0 … c4


def candidates(scores=SCORES, id="p") -> CandidateSet:
  made = tuple(Candidate(f"c{i}", tokens=i + 1, scores={"rm": s}) for i, s in enumerate(scores))
  return CandidateSet(id, (Message("user", "Hi?"),), made)


def chosen(config: SelectConfig, *rows: CandidateSet, seed=0):
  examples, pairs, counts = select(rows or (candidates(),), config, seed)
  return (
    [e.messages[-1].content for e in examples],
    [(p.chosen, p.rejected, p.margin) for p in pairs],
    counts,
  )


@pytest.mark.parametrize(("rank", "text"), [(1, "c1"), (2, "c3"), (3, "c4"), (4, "c2"), (5, "c0")])
def test_rank_r_of_the_scores_is_trained_on(rank, text):
  assert chosen(SelectConfig(rank=rank))[0] == [text]


def test_a_rank_that_is_not_there_is_counted():
  examples, _, counts = chosen(SelectConfig(rank=6))
  assert examples == []
  assert counts["no example: fewer than 6 candidates"] == 1


@pytest.mark.parametrize(
  ("rule", "rejected", "margin"),
  [
    ("rank:2", "c3", 1.0),
    ("rank:4", "c2", 3.0),
    ("rank:-1", "c0", 4.0),
    ("rank:-2", "c2", 3.0),
    ("std:0", "c4", 2.0),
    ("std:1", "c2", 3.0),
    ("std:2", "c0", 4.0),
  ],
)
def test_the_rejected_answer_of_a_pair(rule, rejected, margin):
  assert chosen(SelectConfig(rejected=(rule,)))[1] == [("c1", rejected, margin)]


def test_std_k_is_the_candidate_nearest_to_mean_minus_k_deviations():
  scores = (9.1, 2.3, 4.4, 7.9, 5.2, 5.0, 1.1, 6.6)
  for k in (0.0, 0.5, 1.0, 1.5):
    target = fmean(scores) - k * pstdev(scores)
    nearest = min(range(8), key=lambda i: abs(scores[i] - target))
    [(_, rejected, _)] = chosen(SelectConfig(rejected=(f"std:{k}",)), candidates(scores))[1]
    assert rejected == f"c{nearest}"
    upward = min(range(8), key=lambda i: abs(scores[i] - (2 * fmean(scores) - target)))
    assert k == 0 or upward != nearest  # the twin: the sign matters


def test_random_is_a_function_of_seed_and_prompt_and_never_the_best():
  rows = [candidates(id=str(i)) for i in range(200)]
  first = chosen(SelectConfig(rejected=("random",)), *rows, seed=1)[1]
  assert first == chosen(SelectConfig(rejected=("random",)), *rows[::-1], seed=1)[1][::-1]
  assert first != chosen(SelectConfig(rejected=("random",)), *rows, seed=2)[1]
  seen = Counts(rejected for _, rejected, _ in first)
  assert set(seen) == {"c0", "c2", "c3", "c4"}
  assert min(seen.values()) > 25


def test_several_rules_make_several_pairs():
  _, pairs, _ = select([candidates()], SelectConfig(rejected=("rank:2", "std:1", "random")))
  assert [p.id for p in pairs] == ["p/rank:2", "p/std:1", "p/random"]


def test_ties_are_dropped_and_counted():
  row = candidates((1.0, 1.0, 0.5))
  _, pairs, counts = chosen(SelectConfig(rejected=("rank:2", "rank:3")), row)
  assert pairs == [("c0", "c2", 0.5)]
  assert counts["no pair: tie"] == 1
  _, pairs, counts = chosen(SelectConfig(rejected=("rank:3",), tie=0.5), row)
  assert pairs == []
  assert counts["no pair: tie"] == 1


def test_equal_scores_keep_the_order_of_sampling():
  row = CandidateSet("p", (), tuple(Candidate(t, scores={"rm": 1.0}) for t in "abacb"))
  assert [c.text for c in ranked(row, SelectConfig(), Counts())] == ["a", "b", "c"]


def test_repeats_empty_and_unended_answers_are_left_out_and_counted():
  texts = [
    ("a", "stop", 1.0),
    ("a", "stop", 1.0),
    ("b", "length", 9.0),
    (" ", "stop", 8.0),
    ("c", "stop_string", 2.0),
  ]
  row = CandidateSet("p", (), tuple(Candidate(t, finish=f, scores={"rm": s}) for t, f, s in texts))
  counts = Counts()
  assert [c.text for c in ranked(row, SelectConfig(), counts)] == ["c", "a"]
  assert counts == {
    "left out: candidates cut off at max_new": 1,
    "left out: empty answers": 1,
    "left out: repeats of a text": 1,
  }
  kept = ranked(row, SelectConfig(ended_only=False), Counts())
  assert [c.text for c in kept] == ["b", "c", "a"]


def test_only_the_first_n_are_looked_at():
  assert chosen(SelectConfig(first=3, rejected=("rank:3",)))[1] == [("c1", "c0", 4.0)]


def test_one_candidate_makes_no_pair():
  examples, pairs, counts = chosen(SelectConfig(), candidates((1.0,)))
  assert (examples, pairs) == (["c0"], [])
  assert counts["no pair: a single candidate"] == 1


def test_statistics_by_hand():
  rows = [candidates(), candidates((5.0, 1.0), id="q")]
  stats = statistics(*select(rows, SelectConfig()))
  # c1 (4, 2 tokens) against c0 (0, 1 token); c0 (5, 1 token) against c1 (1, 2 tokens)
  assert stats["examples"] == stats["pairs"] == 2
  assert stats["example_score"] == (4 + 5) / 2
  assert stats["pair_margin"] == 4.0
  assert (stats["chosen_tokens"], stats["rejected_tokens"]) == (1.5, 1.5)


@pytest.mark.parametrize(
  "rule",
  [
    "rank:1",
    "rank:0",
    "rank:1.5",
    "rank:inf",
    "rank:",
    "rank",
    "std:-1",
    "std:nan",
    "std:inf",
    "random:1",
    "worst",
    "",
  ],
)
def test_a_wrong_rule_is_refused(rule):
  with pytest.raises(UserError, match=r"config.rejected .*: expected rank:R \(R >= 2"):
    parse_rule(rule)


def test_a_candidate_without_its_score_is_refused():
  with pytest.raises(UserError, match="prompt p has a candidate without a score 'gold'"):
    select([candidates()], SelectConfig(by="gold"))


def test_the_stage_writes_what_the_next_ones_read(tmp_path):
  rows = [candidates(id=str(i)) for i in range(3)]
  path = candidate_files.write(tmp_path / "candidates.jsonl", rows)
  config = SelectConfig(rejected=("rank:2",))
  figures = STAGE.run(Context(), tmp_path / "select", config, {"candidates": path})
  examples = list(formats.read_examples(tmp_path / "select" / "examples.jsonl"))
  pairs = list(formats.read_pairs(tmp_path / "select" / "pairs.jsonl"))
  assert [e.messages[-1].content for e in examples] == ["c1"] * 3
  assert [(p.chosen, p.rejected, p.margin) for p in pairs] == [("c1", "c3", 1.0)] * 3
  assert figures["pair_margin"] == 1.0
  assert json.loads((tmp_path / "select" / "manifest.json").read_text())["figures"] == figures


def test_nothing_to_choose_is_refused_with_the_counts(tmp_path):
  path = candidate_files.write(tmp_path / "c.jsonl", [candidates((1.0, 1.0))])
  with pytest.raises(UserError, match=r"1 examples and 0 pairs can be chosen; counts: .*tie 1"):
    STAGE.run(Context(), tmp_path / "select", SelectConfig(), {"candidates": path})


@pytest.mark.parametrize(
  ("changes", "says"),
  [
    ({"by": ""}, "config.by is empty"),
    ({"spread_weight": 1.0}, "config.spread_weight is of several scores, and config.by is .rm."),
    ({"unscored": "maybe"}, "config.unscored 'maybe' is not one of refuse, leave_out"),
    ({"rejected": ("worst",)}, "config.rejected 'worst': expected"),
    ({"by": "gold"}, r"c.jsonl: prompt p has a candidate without a score 'gold'"),
  ],
)
def test_wrong_settings_are_refused(changes, says, tmp_path):
  path = candidate_files.write(tmp_path / "c.jsonl", [candidates()])
  with pytest.raises(UserError, match=says):
    STAGE.run(Context(), tmp_path / "select", SelectConfig(**changes), {"candidates": path})


def test_an_ensemble_that_disagrees_is_not_believed():
  """Both models like c0 by 2 on average, and c1 by 1.8; of c0 they are 4 apart."""
  scores = (("c0", 4.0, 0.0), ("c1", 2.0, 1.6), ("c2", 0.0, 0.2))
  made = tuple(Candidate(t, tokens=1, scores={"a": a, "b": b}) for t, a, b in scores)
  row = CandidateSet("p", (Message("user", "Hi?"),), made)
  assert chosen(SelectConfig(by="a, b"), row)[:2] == (["c0"], [("c0", "c2", 1.9)])
  _, pairs, _ = chosen(SelectConfig(by="a,b", spread_weight=0.5), row)
  assert pairs == [("c1", "c0", 1.78)]  # 1.8 - 0.5 · 0.04 against 2 - 0.5 · 4
  assert chosen(SelectConfig(by="b", spread_weight=0.0), row)[0] == ["c1"]


def test_an_ensemble_lacks_the_score_that_a_member_lacks():
  with pytest.raises(UserError, match="without a score 'rm,other'"):
    chosen(SelectConfig(by="rm,other"))
