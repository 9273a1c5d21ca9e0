"""Pairs of highest against lowest score, where a judge may have left some out."""

import dataclasses
import json
import math

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates, formats
from xwinjax.data.records import Candidate, CandidateSet, Message
from xwinjax.stages.select import STAGE, SelectConfig, select
from xwinjax.stages.stage import Context

CONFIG = SelectConfig(by="self", unscored="leave_out", least=0.0, keep_score=True)


def row(*scores, tokens=(), id="p") -> CandidateSet:
  """Candidates c0, c1, … with these scores; None is a missing one."""
  lengths = tokens or range(10, 10 + len(scores))
  made = (
    Candidate(f"c{i}", tokens=n, scores={} if s is None else {"self": s})
    for i, (s, n) in enumerate(zip(scores, lengths, strict=True))
  )
  return CandidateSet(id, (Message("user", "Hi?"),), tuple(made))


def paired(*rows, **changes):
  examples, found, counts = select(rows, dataclasses.replace(CONFIG, **changes))
  return [(p.chosen, p.rejected, p.margin) for p in found], examples, counts


def test_the_highest_is_chosen_and_the_lowest_rejected():
  assert paired(row(2, 4.5, 1, 3))[0] == [("c1", "c2", 3.5)]


def test_ties_are_dropped_and_counted():
  found, _, counts = paired(row(3, 3, 3), row(4, 3.5, 4), tie=0.5)
  assert found == []
  assert counts["no pair: tie"] == 2


def test_candidates_without_a_score_are_left_out_and_counted():
  found, _, counts = paired(row(None, 4, 1, None), row(None, 4), row(None, None))
  assert found == [("c1", "c2", 3)]
  assert counts["left out: candidates without a score"] == 5
  assert counts["no pair: a single candidate"] == 1
  assert counts["no pair: no candidate is left"] == 1


def test_the_shorter_of_near_equals_is_chosen_only_when_asked_for():
  r = row(4, 3.8, 3, 1, tokens=(30, 10, 5, 20))
  assert paired(r)[0] == [("c0", "c3", 3)]
  found, _, counts = paired(r, shorter_within=0.25)
  assert found == [("c1", "c3", 2.8)]
  assert counts["chosen: a shorter one near the best"] == 1
  assert paired(r, shorter_within=1)[0] == [("c2", "c3", 2)]


def test_the_shorter_one_is_never_also_the_rejected():
  found, _, counts = paired(row(4, 3.8, tokens=(30, 10)), shorter_within=0.5)
  assert found == []
  assert counts["no pair: tie"] == 1  # the chosen one scores less than what is left


def test_examples_hold_the_chosen_answers_that_score_enough():
  _, examples, _ = paired(row(2, 1, id="a"), row(5, 3, id="b"), least=5)
  assert [(e.id, e.messages[-1].content, e.meta["score"]) for e in examples] == [("b", "c0", 5)]


def test_a_missing_score_leaves_no_trace_in_a_file(tmp_path):
  judged = candidates.with_scores(row(1, 1), {"self": [4.0, math.nan]})
  assert [c.scores for c in judged.candidates] == [{"self": 4.0}, {}]
  [again] = candidates.read(candidates.write(tmp_path / "c.jsonl", [judged]))
  assert [c.scores for c in again.candidates] == [{"self": 4.0}, {}]


def test_the_stage_writes_pairs_and_says_how_far_apart_and_how_long(tmp_path):
  rows = [row(1, 4, tokens=(7, 9), id="a"), row(5, 3, id="b")]
  path = candidates.write(tmp_path / "c.jsonl", rows)
  figures = STAGE.run(Context(), tmp_path / "pairs", CONFIG, {"candidates": path}, name="pairs")
  assert figures["pairs"] == 2
  assert figures["margin"] == figures["pair_margin"] == 2.5
  assert figures["chosen_score"] == 4.5
  assert (figures["chosen_tokens"], figures["rejected_tokens"]) == (9.5, 9)
  assert figures["chosen_longer"] == 0.5
  assert figures["margins"]["3"] == figures["margins"]["2"] == 1
  read = list(formats.read_pairs(tmp_path / "pairs" / "pairs.jsonl"))
  assert [(p.id, p.chosen, p.rejected, p.margin) for p in read] == [
    ("a", "c1", "c0", 3),
    ("b", "c0", "c1", 2),
  ]
  assert list(read[0].meta) == ["chosen_score", "chosen_tokens", "rejected_tokens"]
  assert json.loads((tmp_path / "pairs" / "manifest.json").read_text())["figures"] == figures


def test_no_pair_at_all_is_refused_with_the_counts(tmp_path):
  path = candidates.write(tmp_path / "c.jsonl", [row(3, 3)])
  with pytest.raises(UserError, match=r"and 0 pairs can be chosen; counts: .*tie 1"):
    STAGE.run(Context(), tmp_path / "pairs", CONFIG, {"candidates": path})


def test_twin_the_lowest_chosen_would_show():
  _, found, _ = select([row(2, 4.5, 1, 3)], CONFIG)
  assert found[0].margin > 0
  reversed_scores = row(*[-s for s in (2, 4.5, 1, 3)])
  assert paired(reversed_scores)[0][0][:2] == ("c2", "c1")
