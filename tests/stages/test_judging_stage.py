"""A model as judge: of what people have valued, and of its own answers."""

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates
from xwinjax.data.records import Candidate, CandidateSet, Message
from xwinjax.judge.self_judge import Judgement, Sampled
from xwinjax.recipes import judges
from xwinjax.stages import judging
from xwinjax.stages.judging import JudgingConfig
from xwinjax.stages.score import JudgeConfig
from xwinjax.stages.stage import Context


@pytest.fixture
def run(tiny_folder, tmp_path, monkeypatch):
  """run(the judge's settings, inputs …) -> figures; a judgement's score is the answer's length."""
  monkeypatch.setattr(
    Sampled,
    "judge",
    lambda self, prompts, texts: [
      [(Judgement("", float(len(text))),) for text in row] for row in texts
    ],
  )

  def sets(name):
    made = tuple(Candidate("x" * n, scores={name: float(n)}, ids=(n,) * n) for n in (4, 2, 1))
    rows = [CandidateSet(str(i), (Message("user", "Hi?"),), made, repeats=0) for i in range(3)]
    return candidates.write(tmp_path / f"{name}.jsonl", rows)

  files = {"judged": sets("human"), "own": sets("gold"), "fixed": tiny_folder}

  def run(*inputs, **settings):
    judge = judges.make(JudgeConfig(max_new=4, **settings), model=tiny_folder, gold=files["own"])
    return judging.STAGE.run(
      Context(), tmp_path / "out", JudgingConfig(), {i: files[i] for i in inputs}, judge=judge
    )

  return run


def test_people_and_own_answers_are_judged(run, tmp_path):
  figures = run("judged", "own", "fixed", name="ignored")
  assert figures["people"]["written"]["pairwise_accuracy"] == 1
  assert figures["own"]["answers"] == figures["own"]["judged"] == 6  # two of each three
  assert figures["own"]["self_mean"] == 3
  own = list(candidates.read(tmp_path / "out" / "own.jsonl"))
  assert [c.scores for c in own[0].candidates] == [
    {"gold": n, "self": n, "fixed": n} for n in (4, 2)
  ]
  assert own[0].candidates[0].ids == (4,) * 4


def test_one_of_the_two_is_enough(run, tmp_path):
  assert set(run("judged")) == {"people"}
  assert not (tmp_path / "out" / "own.jsonl").exists()


@pytest.mark.parametrize(
  ("inputs", "settings", "says"),
  [
    ((), {}, "there is nothing to judge"),
    (("judged",), {"by": "gold"}, "only a model that writes can be used"),
  ],
)
def test_what_cannot_be_judged_is_refused(run, inputs, settings, says):
  with pytest.raises(UserError, match=says):
    run(*inputs, **settings)
