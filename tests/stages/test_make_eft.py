"""Judging examples: whose judgements are kept, and how they are balanced."""

import dataclasses

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates, formats
from xwinjax.data.records import Candidate, CandidateSet, Counts, Example, Message
from xwinjax.judge.prompts import ADDITIVE
from xwinjax.judge.self_judge import Judgement
from xwinjax.recipes import judges
from xwinjax.stages.make_eft import (
  STAGE,
  MakeEftConfig,
  agreement,
  balanced,
  examples_of,
  nearest,
  split,
)
from xwinjax.stages.score import JudgeConfig
from xwinjax.stages.stage import Context

CONFIG = MakeEftConfig(balance=0)


def ranked(*values, id="q") -> CandidateSet:
  made = tuple(Candidate(f"{id}{i}", scores={"human": v}) for i, v in enumerate(values))
  return CandidateSet(id, (Message("user", "Hi?"),), made)


def judged(*scores):
  """One row of judgements: for each answer its scores, None for one that could not be read."""
  return [tuple(Judgement(f"Because.\nScore: {x}", x) for x in xs) for xs in scores]


def kept(rows, judgements, **changes):
  examples, counts = examples_of(dataclasses.replace(CONFIG, **changes), ADDITIVE, rows, judgements)
  return [(e.id, e.meta["score"]) for e in examples], counts


def test_agreement_by_hand():
  assert agreement([5, 3, 1], [30, 20, 10]) == 1
  assert agreement([1, 3, 5], [30, 20, 10]) == 0
  assert agreement([3, 3, 1], [30, 20, 10]) == 2 / 3  # the judge's tie does not agree
  assert agreement([3, 1, 5], [1, 1, 2]) == 1  # people's tie is no pair
  assert agreement([3, float("nan")], [2, 1]) == 0
  assert agreement([3, 1], [1, 1]) is None


def test_judgements_are_kept_where_the_order_agrees_with_peoples():
  rows = [ranked(3, 2, 1, id="a"), ranked(3, 2, 1, id="b")]
  found, counts = kept(rows, [judged([5], [3], [0]), judged([5], [0], [3])])
  assert found == [("a/0", 5), ("a/1", 3), ("a/2", 0)]
  assert counts["questions dropped: another order than people's"] == 1
  # The twin: the other way round, the other question is kept.
  found, _ = kept(rows, [judged([0], [3], [5]), judged([5], [3], [0])])
  assert {id[0] for id, _ in found} == {"b"}


def test_some_disagreement_can_be_allowed():
  found, _ = kept([ranked(3, 2, 1)], [judged([5], [0], [3])], agreement=0.6)
  assert len(found) == 3


def test_an_answer_nobody_could_judge_drops_its_question():
  _, counts = kept([ranked(2, 1)], [judged([5], [None, None])])
  assert counts["questions dropped: an answer without a score"] == 1
  _, counts = kept([ranked(1, 1)], [judged([5], [4])])
  assert counts["questions dropped: people rank no answers apart"] == 1


def test_the_judgement_nearest_to_the_mean_is_the_example():
  [row] = [judged([5, 4, 0], [None, 1])]
  assert nearest(row[0]) == ("Because.\nScore: 4", 4)
  assert nearest(row[1]) == ("Because.\nScore: 1", 1)
  assert nearest(judged([None])[0]) is None


def test_an_example_asks_as_the_judge_was_asked():
  examples, _ = examples_of(CONFIG, ADDITIVE, [ranked(2, 1)], [judged([5], [1])])
  question, answer = examples[0].messages
  assert question.content == ADDITIVE.fill("Hi?", "q0")
  assert (question.role, answer.role, answer.content) == ("user", "assistant", "Because.\nScore: 5")


def test_too_frequent_scores_are_thinned_out():
  made = [(s, Example(f"{s}-{i}", ())) for s, n in ((4, 60), (2, 20), (0, 10)) for i in range(n)]
  counts = Counts()
  left = Counts(e.id.split("-")[0] for e in balanced(made, 1.0, 0, counts))
  assert left == {"4": 30, "2": 20, "0": 10}  # an equal share of 90 is 30
  assert counts["dropped: its score is too frequent"] == 30
  assert len(balanced(made, 0, 0, Counts())) == 90
  assert [e.id for e in balanced(made, 1.0, 0, Counts())] == [
    e.id for e in balanced(made, 1.0, 0, Counts())
  ]


def test_questions_are_held_out_whole():
  rows = [ranked(2, 1, id=str(i)) for i in range(40)]
  training, held = split(rows, 0.25, 0)
  assert (len(training), len(held)) == (30, 10)
  assert {r.id for r in training} | {r.id for r in held} == {str(i) for i in range(40)}
  assert [r.id for r in held] != [r.id for r in split(rows, 0.25, 1)[1]]


@pytest.fixture
def run(tiny_folder, tmp_path):
  """run(changes of the config, changes of the judge) -> the stage's figures."""
  rows = [ranked(3, 2, 1, id=str(i)) for i in range(8)]
  path = candidates.write(tmp_path / "rankings.jsonl", rows)
  prompt = tmp_path / "judge.txt"
  prompt.write_text("Ask: {prompt} Say: {answer} Rate.")
  judge = judges.make(JudgeConfig(prompt_file=str(prompt), samples=1, max_new=4), model=tiny_folder)

  def run(judging=None, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    mine = judge.but(**(judging or {}))
    return STAGE.run(Context(), tmp_path / "eft", config, {"rankings": path}, judge=mine)

  return run


def test_the_stage_reads_rankings_and_writes_conversations(run, tmp_path, monkeypatch):
  scores = {"0": 5.0, "1": 3.0, "2": 1.0}  # by the answer's number: people's order
  monkeypatch.setattr(
    "xwinjax.judge.self_judge.Sampled.judge",
    lambda self, prompts, texts: [[judged([scores[t[-1]]])[0] for t in row] for row in texts],
  )
  figures = run()
  assert figures["examples"] == 18  # six questions of three answers; two are held out
  assert figures["heldout_questions"] == 2
  assert figures["scores"] == {"1.0": 6, "3.0": 6, "5.0": 6}
  assert figures["judge"]["pairwise_accuracy"] == 1
  examples = list(formats.read_examples(tmp_path / "eft" / "eft.jsonl"))
  assert {e.messages[-1].content[-1] for e in examples} == {"5", "3", "1"} or len(examples) == 18
  held = list(candidates.read(tmp_path / "eft" / "heldout_judged.jsonl"))
  assert len(held) == 2
  assert not {s.id for s in held} & {e.id.split("/")[0] for e in examples}


def test_a_model_that_cannot_judge_is_refused_with_the_counts(run):
  with pytest.raises(UserError, match=r"no judgement can be used: .*an answer without a score 6"):
    run()


def test_rankings_without_peoples_values_are_refused(run):
  with pytest.raises(UserError, match="no question has two answers with a score 'stars'"):
    run(people="stars")


def test_only_a_model_that_writes_makes_examples(run):
  with pytest.raises(UserError, match="only a model that writes can be used"):
    run({"by": "gold"})
