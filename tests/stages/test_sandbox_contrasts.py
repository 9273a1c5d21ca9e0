"""Pairs that differ in one thing: what is different, what is the same, who is never compared."""

import dataclasses
import itertools
import random

import numpy as np
import pytest

from xwinjax.eval import reward_metrics
from xwinjax.sandbox import contrasts, gold, knowledge
from xwinjax.sandbox.judging import task_of
from xwinjax.sandbox.world import ATTRIBUTES, World
from xwinjax.testing.tiny import tiny_config


@pytest.fixture(scope="module")
def world():
  return World(0, 32)


def points(world, task, text) -> dict[str, float]:
  return {
    k: v for k, v in dataclasses.asdict(gold.points(world, task, text)).items() if k != "claims"
  }


@pytest.mark.parametrize("kind", contrasts.EDITABLE)
@pytest.mark.parametrize("skill", [0.2, 1.0])
def test_one_lie_costs_truth_and_nothing_else(world, kind, skill):
  rng, made = random.Random(0), 0
  for _ in range(60):
    task = world.task(rng, kind=kind)
    text = world.answer(task, rng, skill)
    lie = contrasts.with_one_lie(world, task, text, rng)
    if lie is None:
      continue
    before, after = points(world, task, text), points(world, task, lie)
    assert after["false_claims"] == before["false_claims"] + 1
    assert all(after[k] == before[k] for k in ("form", "brevity", "closing"))
    made += 1
  assert made > 10


def test_annotators_nearly_always_prefer_the_truth(world):
  right = 0
  pairs = list(contrasts.of_truth(world, 300, 0, noise=0.35, tie=1.0))
  assert len({p.id for p in pairs}) == 300
  for pair in pairs:
    assert not any(name in pair.chosen for name in world.never_compared())
  truths = {
    ATTRIBUTES[a][2].replace(" it", f" {name}", 1).lower(): value
    for (name, a), value in world.truth.items()
  }
  for pair in pairs[::2]:  # asked outright: one fact is the whole answer
    right += truths[pair.prompt[0].content.lower()] in pair.chosen
  assert right > 0.97 * 150


def test_a_report_card_has_one_skill_a_pair(world):
  expected = {
    "truth": {"correct", "coverage", "false_claims"},
    contrasts.UNSEEN: {"correct", "coverage", "false_claims"},
    "coverage": {"coverage"},
    "form": {"form"},
    "brevity": {"form", "brevity"},
    "closing": {"closing"},
  }
  rows = list(contrasts.card(world, 8))
  assert [len(list(g)) for _, g in itertools.groupby(r.meta["subset"] for r in rows)] == [8] * 6
  for pair in rows:
    task = task_of(world, pair.prompt)
    assert task is not None
    good, worse = points(world, task, pair.chosen), points(world, task, pair.rejected)
    lost = {k for k in good if good[k] != worse[k]}
    assert lost
    assert lost <= expected[pair.meta["subset"]]
    assert all(v == 1 for k, v in good.items() if k != "false_claims")
    unseen = pair.meta["subset"] == contrasts.UNSEEN
    assert unseen == any(
      name in pair.chosen or name in pair.prompt[0].content for name in world.never_compared()
    )


def test_a_scorer_blind_to_truth_is_told_by_its_card(world):
  rows = list(contrasts.card(world, 20))
  scores = {"gold": [], "blind": []}
  for pair in rows:
    both = [
      gold.points(world, task_of(world, pair.prompt), t) for t in (pair.chosen, pair.rejected)
    ]
    scores["gold"].append([p.total for p in both])
    scores["blind"].append([p.form + p.brevity + p.closing for p in both])
  metas = [pair.meta for pair in rows]
  seen, blind = (reward_metrics.by_subset(s, metas) for s in scores.values())
  assert {c["accuracy"] for c in seen.values()} == {1.0}
  assert blind["truth"]["accuracy"] == blind[contrasts.UNSEEN]["accuracy"] == 0.5
  assert blind["form"]["accuracy"] == 1.0


@pytest.mark.parametrize(("sign", "known"), [(1, 1.0), (-1, 0.0)])
def test_knowledge_is_the_share_of_facts_put_before_their_lies(world, monkeypatch, sign, known):
  class Letters:
    opening = (1,)

    def encode(self, text):
      return [2 + ord(c) % 50 for c in text]

  def over(forward, params, data, batch, mesh):
    number = data.fields["number"][None]
    gap = np.stack([np.zeros_like(number), np.ones_like(number)], -1) * -sign
    yield {"example_weight": np.ones(number.shape), "number": number}, (gap, gap)

  monkeypatch.setattr(knowledge, "over_items", over)
  found = knowledge.measured(tiny_config(), {}, Letters(), world)  # type: ignore[arg-type]
  assert found == {"facts_written": known, "facts_judged": known}
