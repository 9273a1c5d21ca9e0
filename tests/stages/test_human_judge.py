"""People's votes of a study as the judge of the same answers."""

import math

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data.records import Example, Message

pytest.importorskip("sqlalchemy", reason="needs the extra [annotate]")
from xwinjax.annotate import study
from xwinjax.annotate.store import Store
from xwinjax.recipes import judges
from xwinjax.stages.score import JudgeConfig
from xwinjax.stages.stage import Context

ANSWERS = {"p": ("ours p", "theirs p"), "q": ("ours q", "theirs q"), "r": ("ours r", "theirs r")}


def vote(store, name, choose):
  """Every item by choose(prompt, {side: text}) -> the page's choices."""
  store.add_annotator(name)
  number = store.annotators()[name]
  for position in range(1, store.progress(number)["total"] + 1):
    place = store.place(number, position)
    texts = {s: a.messages[0].content for s, a in zip("AB", place.item.answers, strict=True)}
    choices = choose(place.item.prompt[0].content, texts)
    if choices is not None:
      store.save(number, position, 1, choices, 1.0)


def made(tmp_path, ask):
  items = [
    study.Item(p, (Message("user", p),), tuple(
      study.Answer(system, (Message("assistant", text),))
      for system, text in zip(("us", "them"), texts, strict=True)
    ))
    for p, texts in ANSWERS.items()
  ]  # fmt: skip
  return Store.create(tmp_path / "votes.db", items, ask, 0)


def ask_people(tmp_path, prompts, texts):
  judge = judges.make(JudgeConfig(by=f"human:{tmp_path / 'votes.db'}"))
  opened = judge.open(Context(), judge)
  examples = [Example(p, (Message("user", p),)) for p in prompts]
  return opened(examples, texts, tmp_path, "judge").scores["human"]


def side_of(texts, start):
  return next(side for side, text in texts.items() if text.startswith(start))


def test_shares_of_peoples_votes_whatever_side_was_shown_first(tmp_path):
  store = made(tmp_path, ["verdict"])
  for name in ("anna", "ben", "carl", "dora"):
    better = "theirs" if name == "anna" else "ours"
    vote(store, name, lambda p, t, b=better: None if p == "r" else {"verdict": side_of(t, b)})
  store.close()
  scores = ask_people(tmp_path, ["p", "q"], [("theirs p", "ours p"), ("ours q", "never shown")])
  assert scores[0] == [0.25, 0.75]
  assert all(map(math.isnan, scores[1]))


def test_ties_are_half_and_answers_without_votes_have_none(tmp_path):
  store = made(tmp_path, ["verdict"])
  vote(store, "anna", lambda p, t: {"verdict": "tie"} if p == "q" else None)
  store.close()
  scores = ask_people(tmp_path, ["q", "r"], [ANSWERS["q"], ANSWERS["r"]])
  assert scores[0] == [0.5, 0.5]
  assert all(map(math.isnan, scores[1]))


def test_grades_where_nothing_else_was_asked(tmp_path):
  store = made(tmp_path, ["usefulness"])
  grades = lambda p, t: {
    f"usefulness {s}": "5" if x.startswith("ours") else "2" for s, x in t.items()
  }
  vote(store, "anna", grades)
  store.close()
  assert ask_people(tmp_path, ["p"], [("theirs p", "ours p")]) == [[2.0, 5.0]]


def test_votes_on_other_answers_and_other_files_are_refused(tmp_path):
  made(tmp_path, ["verdict"]).close()
  with pytest.raises(UserError, match="no vote on any of these answers"):
    ask_people(tmp_path, ["p"], [ANSWERS["p"]])
  with pytest.raises(UserError, match="no such file"):
    judges.make(JudgeConfig(by="human:none.db"))
  with pytest.raises(UserError, match=r"'human'; expected human:votes\.db"):
    judges.make(JudgeConfig(by="human"))
  (tmp_path / "votes.db").write_text("no database")
  with pytest.raises(UserError, match="not a usable file of votes"):
    ask_people(tmp_path, ["p"], [ANSWERS["p"]])
