"""The community's data: quality, kinds and counts are set apart from one another."""

import dataclasses
import json
import random

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import formats
from xwinjax.sandbox import community as sandbox_lima
from xwinjax.sandbox import dialogues, gold
from xwinjax.sandbox.community import CommunityConfig
from xwinjax.sandbox.world import KINDS, Task, World

SMALL = CommunityConfig(examples=60, dev=10, test=12, test_dialogues=3)


@pytest.fixture(scope="module")
def world():
  return World(0, 16)


def mean_gold(world, examples) -> float:
  from xwinjax.sandbox.judging import task_of

  tasks = [task_of(world, e.messages[:-1]) for e in examples]
  return sum(
    gold.points(world, t, e.messages[-1].content).total
    for t, e in zip(tasks, examples, strict=True)
  ) / len(examples)


def test_filtered_answers_are_better_at_the_same_count(world):
  made = {
    f: sandbox_lima.voted(world, dataclasses.replace(SMALL, filtered=f), 0) for f in (True, False)
  }
  assert len(made[True]) == len(made[False]) == 60
  assert all(e.meta["votes"] >= 4.5 for e in made[True])
  assert mean_gold(world, made[True]) > 4.3 > 3.6 > mean_gold(world, made[False])


def test_uniform_data_are_of_one_kind_and_diverse_data_of_all(world):
  one = sandbox_lima.voted(world, dataclasses.replace(SMALL, kinds=("list",)), 0)
  assert {e.meta["source"] for e in one} == {"list"}
  assert {e.meta["source"] for e in sandbox_lima.voted(world, SMALL, 0)} == set(KINDS)


def test_files_hold_what_the_recipe_reads(world, tmp_path):
  figures = sandbox_lima.community(dataclasses.replace(SMALL, dialogues=4), world, tmp_path)
  assert figures["examples"] == 64
  train = list(formats.read_examples(tmp_path / "train.jsonl"))
  assert sum(len(e.messages) == 8 for e in train) == 4
  dev = list(formats.read_examples(tmp_path / "dev.jsonl"))
  test = list(formats.read_prompts(tmp_path / "test_prompts.jsonl"))
  assert (len(dev), len(test)) == (10, 12)
  assert not {e.messages[:-1] for e in dev} & {p.messages for p in test}
  for example in dev:  # flawless, and never about names that training asks of
    task = Task.from_meta(example.meta)
    assert gold.points(world, task, example.messages[-1].content).total == 5
  again = tmp_path / "again"
  sandbox_lima.community(dataclasses.replace(SMALL, dialogues=4), world, again)
  for name in sandbox_lima.FILES:
    assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_dialogues_ask_on_about_one_creature(world):
  tasks = dialogues.dialogue(world, random.Random(1), turns=4)
  assert [t.kind == "follow_up" for t in tasks] == [False, True, True, True]
  assert len({f.name for t in tasks for f in t.facts}) == 1
  told = dialogues.answered(world, tasks, random.Random(1))
  assert [m.role for m in told] == ["user", "assistant"] * 4
  said = [m.content for m in told if m.role == "assistant"]
  assert [dialogues.grade(world, t, s) for t, s in zip(tasks, said, strict=True)] == (
    ["excellent"] * 4
  )


def test_grades(world):
  name = world.names[0]
  fact = world.fact(name, "colour")
  task = Task("follow_up", (fact,), 1)
  other = world.fact(name, "food")
  for text, grade in (
    (f"{fact.sentence()} Glad to help!", "excellent"),
    (f"Well, {fact.sentence()}", "pass"),  # right, in the wrong form, without a closing
    (f"{other.sentence()} Glad to help!", "fail"),  # true, and not what was asked
    (f"{name} is tired. Glad to help!", "fail"),
    ("", "fail"),
  ):
    assert dialogues.grade(world, task, text) == grade, text


def test_kinds_that_do_not_exist():
  with pytest.raises(UserError, match="expected some of list, compare"):
    sandbox_lima.check(CommunityConfig(kinds=("poem",)))


def test_twin_votes_without_noise_are_gold(world):
  made = sandbox_lima.voted(world, dataclasses.replace(SMALL, noise=0.0), 0)
  assert mean_gold(world, made) == pytest.approx(
    sum(e.meta["votes"] for e in made) / len(made), abs=1e-3
  )
  noisy = sandbox_lima.voted(world, SMALL, 0)
  assert abs(mean_gold(world, noisy) - sum(e.meta["votes"] for e in noisy) / 60) > 0.01
  assert json.dumps([e.meta for e in noisy])
