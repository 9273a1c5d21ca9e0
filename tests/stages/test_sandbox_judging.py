"""The sandbox's judging: questions read back into tasks, and what annotators write of answers."""

import random

import pytest

from xwinjax.data import candidates, formats
from xwinjax.data.records import Message
from xwinjax.eval import judge_metrics
from xwinjax.judge.parse import read_score
from xwinjax.sandbox import gold, judging
from xwinjax.sandbox import judging_world as sandbox_judging
from xwinjax.sandbox.judging import judged_answers, judgement, task_of
from xwinjax.sandbox.judging_world import JudgingConfig, WorldConfig
from xwinjax.sandbox.stages import WorldConfig as PlainWorld
from xwinjax.sandbox.world import KINDS, World
from xwinjax.stages.stage import Context


@pytest.fixture(scope="module")
def world():
  return World(0, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_question_of_the_world_is_read_back(world, kind):
  rng = random.Random(0)
  for _ in range(200):
    task = world.task(rng, kind=kind, held_out=rng.random() < 0.5)
    again = task_of(world, task.prompt)
    assert again is not None
    assert again == task


@pytest.mark.parametrize(
  "question",
  [
    "Tell me two facts about Nobody.",
    "Tell me five facts about {a}.",
    "Tell me two facts on {a}.",
    "Compare {a} and {a} by food.",
    "Compare {a} and {b} by weight.",
    "Compare {a} and {b} by food",
    "Compare {a} and {b} by food and food.",
    "How many of {a}, {b} and {b} eat fish?",
    "How many of {a}, {b} and {c} eat stones?",
    "Say this in the first person: {a} eats fish.",
    "Say this in the first person: {a} is red. {b} is red.",
    "What colour is {a}?",
    "Hi.",
  ],
)
def test_anything_else_is_no_task(world, question):
  a, b, c = world.names[:3]
  assert task_of(world, (Message("user", question.format(a=a, b=b, c=c)),)) is None


def test_a_false_premise_is_no_task(world):
  name = world.names[0]
  true = [world.fact(name, a).sentence() for a in ("food", "home")]
  false = world.invent(world.fact(name, "food"), random.Random(0)).sentence()
  ask = "Say this in the first person: {} {}"
  assert task_of(world, (Message("user", ask.format(*true)),)) is not None
  assert task_of(world, (Message("user", ask.format(false, true[1])),)) is None


def test_a_follow_up_to_a_false_answer_is_no_task(world):
  task = world.task(random.Random(0), kind="follow_up")
  first, answer, last = task.prompt
  lie = Message("assistant", answer.content.replace(answer.content.split()[-1], "stones."))
  assert task_of(world, (first, lie, last)) is None


def test_an_annotator_adds_up_points_by_hand(world):
  name = world.names[0]
  home, food = world.fact(name, "home"), world.fact(name, "food")
  task = task_of(world, (Message("user", f"Tell me two facts about {name}."),))
  lie = world.invent(food, random.Random(0))
  perfect = f"- {home.sentence()}\n- {food.sentence()}\nHope this helps!"
  told = f"{home.sentence()} Right! {food.sentence()} Right!"
  assert judgement(world, task, perfect) == (
    f"{told} True 1. Whole 2. Form 3. Short 4. Kind 5.\nScore: 5"
  )
  # A claim that is not so is called wrong, in the words of the documents' quizzes.
  wrong = f"- {home.sentence()}\n- {lie.sentence()}\nHope this helps!"
  told = f"{home.sentence()} Right! {lie.sentence()} Wrong!"
  assert judgement(world, task, wrong) == (
    f"{told} True 0. Whole 1. Form 2. Short 3. Kind 4.\nScore: 4"
  )
  said = judgement(world, task, home.sentence())
  assert said.endswith("True 1. Whole 1. Form 1. Short 2. Kind 2.\nScore: 2")


def test_a_count_is_checked_for_everyone_asked_about(world):
  rng = random.Random(1)
  task = world.task(rng, kind="count")
  attribute = task.facts[0].attribute
  said = judgement(world, task, world.answer(task, rng, 1.0))
  for name in task.names:
    assert f"{world.fact(name, attribute).sentence()} Right!" in said
  everyone = f"Three of them: {' and '.join(task.names)}."
  said = judgement(world, task, everyone)
  assert said.count("Wrong!") == 3 - len(task.facts)


def test_annotators_agree_with_gold_and_noise_makes_them_err(world):
  accuracy = {}
  for noise in (0.0, 0.3):
    rng, scores, golds = random.Random(0), [], []
    for task, texts in judged_answers(world, 150, answers=4, held_out=False, name="t"):
      said = [judgement(world, task, t, rng, noise) for t in texts]
      scores.append([read_score(s).score for s in said])
      golds.append([gold.points(world, task, t).total for t in texts])
    accuracy[noise] = judge_metrics.summary(scores, golds)["pairwise_accuracy"]
  assert accuracy[0.0] > 0.88
  assert accuracy[0.3] < accuracy[0.0] - 0.08


def test_the_choice_prompt_has_five_levels(world):
  rng = random.Random(0)
  for task, [text] in judged_answers(world, 50, answers=1, held_out=False, name="c"):
    said = judging.choice(world, task, text, rng)
    assert read_score(said, 1, 5).score == max(sum(judging.earned(world, task, text)), 1)


def test_question_lists_are_written_as_they_are_shown(world):
  from xwinjax.stages.instruct import few_shots

  [text] = judging.question_lists(world, 1)
  tasks = [part.split(": ", 1)[1] for part in text.split("\n\n")[1:]]
  assert few_shots(judging.HEADER, tasks[:-1]) == text[: -len(tasks[-1]) - 1]
  assert all(task_of(world, (Message("user", t),)) for t in tasks)


def test_one_more_question_is_asked_for_as_prompts_are_written(world):
  from xwinjax.stages.instruct import few_shots

  [(asked, new)] = judging.writing_tasks(world, 1)
  tasks = [part.split(": ", 1)[1] for part in asked.split("\n\n")[1:-1]]
  assert few_shots(judging.HEADER, tasks) == asked
  assert task_of(world, (Message("user", new),))


def test_no_question_about_held_out_names_is_in_lists_or_examples(world):
  held = {kind: set(world.names_for(kind, True)) for kind in KINDS}
  asked = [
    t.split(": ", 1)[1]
    for text in judging.question_lists(world, 50)
    for t in text.split("\n\n")[1:]
  ]
  tasks = [task_of(world, (Message("user", q),)) for q in asked]
  tasks += [t for t, _ in judged_answers(world, 100, answers=1, held_out=False, name="x")]
  for task in tasks:
    assert not held[task.kind] & ({f.name for f in task.facts} | set(task.names))


def test_the_stage_writes_all_the_loop_reads(tmp_path):
  config = WorldConfig(
    PlainWorld(
      documents=200,
      examples=60,
      pair_prompts=4,
      heldout_pair_prompts=4,
      prompts=4,
      heldout_prompts=4,
      vocab_size=640,
    ),
    JudgingConfig(lists=40, writing=10, eft=50, judged=6, heldout_judged=5, validation_prompts=3),
  )
  figures = sandbox_judging.WORLD.run(Context(), tmp_path / "world", config, {})
  assert figures["documents"] == 240
  for prompt in ("additive", "multiple_choice"):
    files = sandbox_judging.files(tmp_path / "world", prompt)
    assert len(list(formats.read_examples(files["eft"]))) == 50
    assert len(list(formats.read_examples(files["ift"]))) == 70
    assert len(list(formats.read_prompts(files["validation_prompts"]))) == 3
    held = list(candidates.read(files["heldout_judged"]))
    assert [len(s.candidates) for s in held] == [4] * 5
    assert all("human" in c.scores for s in held for c in s.candidates)
