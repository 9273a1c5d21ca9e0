"""The synthetic world and its gold scorer: what an answer is worth, worked by hand."""

import dataclasses
import json
import math
import random
import re

import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Candidate, CandidateSet, Counts, Example, Message
from xwinjax.sandbox import gold
from xwinjax.sandbox.stages import LabelConfig, WorldConfig, label_pairs, write_world
from xwinjax.sandbox.world import ATTRIBUTES, CLOSINGS, FILLERS, KINDS, Task, World
from xwinjax.stages.config import identity
from xwinjax.stages.stage import Context

END = " Hope this helps!"


@pytest.fixture(scope="module")
def world():
  return World(0, 32)


def score(world, task, text) -> dict[str, float]:
  """The points that are not 1, by name."""
  points = dataclasses.asdict(gold.points(world, task, text))
  lost = {k: v for k, v in points.items() if k not in ("claims", "false_claims") and v != 1}
  return lost | ({"false": points["false_claims"]} if points["false_claims"] else {})


# Answers worked by hand


@pytest.fixture(scope="module")
def facts(world):
  """Two facts of one creature, and one of them turned false."""
  name = world.names[0]
  home, food = world.fact(name, "home"), world.fact(name, "food")
  other = next(v for v in ATTRIBUTES["food"][3] if v != food.value)
  return home, food, dataclasses.replace(food, value=other)


def list_of(*facts, end=END) -> str:
  return "\n".join(f"- {f.sentence()}" for f in facts) + end


def test_each_defect_of_a_list_costs_its_point(world, facts):
  home, food, lie = facts
  task = Task("list", tuple(world.fact(home.name, a) for a in ATTRIBUTES), 2)
  plain = f"{home.sentence()} {food.sentence()}"
  assert score(world, task, list_of(home, food)) == {}
  assert score(world, task, list_of(home, food, end="")) == {"closing": 0}
  assert score(world, task, plain + END) == {"form": 0}
  assert score(world, task, list_of(home)) == {"coverage": 0.5}
  assert score(world, task, list_of(home, lie)) == {"correct": 0.5, "coverage": 0.5, "false": 1}
  assert score(world, task, list_of(home, home)) == {"coverage": 0.5}  # said twice is said once
  wordy = f"{list_of(home, food, end='')} {' '.join(FILLERS)}{END}"
  words = len(wordy.split()) - 3
  assert score(world, task, wordy) == {"form": 0, "brevity": max(0, 1 - (words - 12) / 24)}
  twice = score(world, task, list_of(home, food) + END)
  assert (twice["closing"], twice["form"]) == (0, 0)
  assert gold.points(world, task, "").total == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filler", FILLERS)
def test_a_filler_costs_form_and_brevity_alone(kind, filler, world):
  rng = random.Random(f"{kind}{filler}")
  for _ in range(20):
    task = world.task(rng, kind=kind)
    answer = world.answer(task, rng, 1.0)
    body = gold._body(answer)[0]
    for text in (f"{filler} {answer}", f"{body} {filler}{END}"):
      assert set(score(world, task, text)) <= {"form", "brevity"}
      assert score(world, task, text)["form"] == 0


def test_a_count_by_hand():
  world = World(0, 32)
  asked = world.names[:3]
  value = world.truth[asked[0], "colour"]
  world.truth = world.truth | {(asked[1], "colour"): value, (asked[2], "colour"): "none of these"}
  task = Task(
    "count", (world.fact(asked[0], "colour"), world.fact(asked[1], "colour")), 2, tuple(asked)
  )
  a, b, c = asked
  assert score(world, task, f"Two of them: {a} and {b}.{END}") == {}
  assert score(world, task, f"Two of them.{END}") == {"coverage": 0.5, "correct": 0.5}
  wrong_number = score(world, task, f"One of them: {a}.{END}")
  assert wrong_number == {"coverage": 0.25, "correct": 0.5}
  too_many = score(world, task, f"Three of them: {a} and {b} and {c}.{END}")
  assert too_many == {"coverage": 0.5, "correct": pytest.approx(0.5 * 2 / 3), "false": 1}
  stranger = world.names[9]
  world.truth = world.truth | {(stranger, "colour"): value}
  assert score(world, task, f"Two of them: {a} and {stranger}.{END}")["false"] == 1


def test_a_rewrite_and_a_follow_up_by_hand(world, facts):
  home, food, lie = facts
  me = lambda f: f"{ATTRIBUTES[f.attribute][1]} {f.value}"
  task = Task("rewrite", (home, food), 2)
  assert score(world, task, f"I {me(home)} and I {me(food)}.{END}") == {}
  assert score(world, task, f"I {me(home)} and I {me(lie)}.{END}") == {
    "correct": 0.5,
    "coverage": 0.5,
    "false": 1,
  }
  assert score(world, task, f"{home.sentence()} {food.sentence()}{END}") == {"form": 0}
  task = Task("follow_up", (food,), 1)
  assert score(world, task, food.sentence() + END) == {}
  it = f"It{food.sentence()[len(food.name) :]}"
  assert score(world, task, it + END) == {}
  assert score(world, task, lie.sentence() + END) == {"correct": 0, "coverage": 0, "false": 1}
  assert score(world, task, home.sentence() + END) == {"coverage": 0}  # true, but not asked


def test_inventing_a_creature_or_a_value_is_a_lie(world, facts):
  home, food, _ = facts
  task = Task("list", (home, food), 1)
  for lie in ("Zzzz eats plums.", f"{home.name} eats sand."):
    assert score(world, task, f"- {lie}{END}")["false"] == 1


def test_the_share_of_invented_facts_by_hand(world, facts):
  home, food, lie = facts
  task = Task("list", (home, food), 2)
  prompt = Example("p", (), task.meta())
  answers = [list_of(home, food), list_of(home, lie), list_of(lie), "Hello."]  # 5 claims, 2 false
  assert gold.hallucination(world, [prompt], [answers]) == 2 / 5
  assert gold.hallucination(world, [prompt], [answers[:1]]) == 0
  assert gold.hallucination(world, [prompt], [["Hello."]]) == 0


# Answers as the world makes them


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_perfect_answers_are_worth_five(kind, seed):
  world, rng = World(seed, 32), random.Random(seed)
  for _ in range(150):
    task = world.task(rng, kind=kind, held_out=rng.random() < 0.5)
    answer = world.answer(task, rng, 1.0)
    assert gold.points(world, task, answer).total == 5, answer
    assert Task.from_meta(json.loads(json.dumps(task.meta()))) == dataclasses.replace(
      task, prompt=()
    )


def test_twin_answers_to_another_question_are_not(world):
  rng = random.Random(0)
  tasks = [world.task(rng) for _ in range(60)]
  answers = [world.answer(t, rng, 1.0) for t in tasks]
  totals = [gold.points(world, t, a).total for t, a in zip(tasks[1:], answers, strict=False)]
  assert sum(t == 5 for t in totals) < 6


def test_skill_is_worth_points(world):
  def mean(skill):
    rng = random.Random(7)
    tasks = [world.task(rng) for _ in range(300)]
    return np.mean([gold.points(world, t, world.answer(t, rng, skill)).total for t in tasks])

  means = [mean(skill) for skill in (0.0, 0.3, 0.6, 0.9)]
  assert means == sorted(means)
  assert means[0] < 2.5 < 4 < means[-1]


def test_the_scorer_scores_every_candidate(world):
  rng = random.Random(0)
  task = world.task(rng)
  prompt = Example("p", task.prompt, task.meta())
  answers = [world.answer(task, rng, 1.0), ""]
  assert gold.scorer(world)([prompt, prompt], [answers, answers[:1]]) == [[5.0, 0.0], [5.0]]
  with pytest.raises(UserError, match="prompt p is not the sandbox's"):
    gold.scorer(world)([Example("p", task.prompt)], [answers])


# The annotators


@pytest.mark.parametrize(
  ("gap", "noise", "tie"), [(0.0, 0.5, 0.5), (1.0, 0.5, 0.5), (-0.6, 1.0, 0.2)]
)
def test_annotators_say_what_the_formula_says(gap, noise, tie):
  rng, n = random.Random(0), 20_000
  said = Counts(gold.annotate(rng, 2.0 + gap, 2.0, noise, tie) for _ in range(n))
  sigmoid = lambda x: 1 / (1 + math.exp(-x))
  first, second = sigmoid((gap - tie) / noise), sigmoid((-gap - tie) / noise)
  expected = {1: first, -1: second, 0: 1 - first - second}
  for verdict, p in expected.items():
    assert said[verdict] / n == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
  wrong = sigmoid(gap / noise)  # the twin: without the tie
  assert abs(said[1] / n - wrong) > 4 * math.sqrt(wrong * (1 - wrong) / n)


def test_without_noise_annotators_are_right():
  rng = random.Random(0)
  assert {gold.annotate(rng, 3.0, 1.0, 0.0, 0.5) for _ in range(50)} == {1}
  assert {gold.annotate(rng, 1.0, 3.0, 0.0, 0.5) for _ in range(50)} == {-1}
  assert {gold.annotate(rng, 1.0, 1.2, 0.0, 0.5) for _ in range(50)} == {0}


def test_labelled_pairs_follow_the_annotators_and_show_gold_only_when_held_out():
  texts = ("a", "bbb", "ccccc", " ")
  row = CandidateSet("p", (Message("user", "Hi?"),), tuple(Candidate(t) for t in texts))

  def scorer(_, candidates):
    return [[float(len(t)) for t in texts] for texts in candidates]

  config = LabelConfig(noise=1e-9, tie=0.5, pairs=3)
  pairs = label_pairs([row], scorer, config, 0, with_gold=True)
  assert {(p.chosen, p.rejected) for p in pairs} == {("bbb", "a"), ("ccccc", "a"), ("ccccc", "bbb")}
  assert all(p.meta["gold"] == [len(p.chosen), len(p.rejected)] for p in pairs)
  assert all(p.meta == {} for p in label_pairs([row], scorer, config, 0, with_gold=False))
  assert label_pairs([row], scorer, config, 0, with_gold=True) == pairs
  none = label_pairs([row], scorer, dataclasses.replace(config, tie=9.0), 0, with_gold=True)
  assert none == []


# The world itself


def test_a_world_is_a_function_of_its_seed(world):
  again = World(0, 32)
  assert (again.names, again.truth) == (world.names, world.truth)
  assert World(1, 32).truth != again.truth
  assert list(again.documents(50)) == list(World(0, 32).documents(50))


def test_held_out_questions_are_about_other_creatures(world):
  for kind in KINDS:
    train, held_out = (set(world.names_for(kind, h)) for h in (False, True))
    assert not train & held_out
    assert train | held_out == set(world.names)
    assert len(held_out) == len(world.names) // 4
    rng = random.Random(0)
    for held, names in ((False, held_out), (True, train)):
      said = " ".join(
        m.content for _ in range(100) for m in world.task(rng, kind=kind, held_out=held).prompt
      )
      assert not names & set(re.findall(r"[A-Z][a-z]+", said))


def test_validation_prompts_are_held_out_and_not_those_evaluated(tmp_path):
  few = {"documents": 40, "examples": 8, "pair_prompts": 2, "heldout_pair_prompts": 2, "prompts": 4}
  config = WorldConfig(**few, heldout_prompts=40, card=2, vocab_size=400, validation_prompts=24)
  write_world(Context(), config, tmp_path)
  texts = {
    name: {json.dumps(row["messages"]) for _, row in jsonl.read_rows(tmp_path / f"{name}.jsonl")}
    for name in ("validation_prompts", "heldout_prompts", "prompts")
  }
  validation = texts.pop("validation_prompts")
  assert len(validation) == 24
  assert all(validation.isdisjoint(others) for others in texts.values())
  write_world(Context(), dataclasses.replace(config, validation_prompts=0), tmp_path / "none")
  assert not (tmp_path / "none" / "validation_prompts.jsonl").exists()
  assert "validation_prompts" not in identity(WorldConfig())


def test_every_creature_occurs_in_training_questions(world):
  trained = [set(world.names_for(kind, held_out=False)) for kind in KINDS]
  assert set.union(*trained) == set(world.names)
  assert all(t != set(world.names) for t in trained)


def test_documents_tell_the_truth():
  world = World(3, 32)
  stated = checked = 0
  for text in world.documents(400):
    quiz = re.findall(r"(\w+ .*?\.) (Right|Wrong)!", text)
    for sentence, verdict in quiz:
      [fact] = gold.claims(world, Task("list", (), 1), sentence)
      assert world.is_true(fact) == (verdict == "Right")
      checked += 1
    if not quiz and not text.startswith("These"):
      found = gold.claims(world, Task("list", (), 1), text)
      assert all(world.is_true(f) for f in found)
      stated += len(found)
  assert stated > 500
  assert checked > 100


def test_a_saved_world_is_loaded_and_a_changed_one_refused(tmp_path):
  world, path = World(5, 12), tmp_path / "world.json"
  world.save(path)
  assert World.load(path).truth == world.truth
  assert World.load(path).names == world.names
  fields = json.loads(path.read_text())
  fields["truth"][world.names[0]]["colour"] = "purple"
  path.write_text(json.dumps(fields))
  with pytest.raises(UserError, match="does not hold the world of seed 5; make it again"):
    World.load(path)
  for text in ("", "[]", "{}", '{"seed": 1, "truth": [1]}'):
    path.write_text(text)
    with pytest.raises(UserError, match=r"not the world.json of a sandbox world"):
      World.load(path)


def test_every_closing_counts(world, facts):
  home, food, _ = facts
  task = Task("list", (home, food), 2)
  for closing in CLOSINGS:
    assert score(world, task, list_of(home, food, end=f"\n{closing}\n")) == {}
