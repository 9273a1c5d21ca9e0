"""How diverse prompts are."""

import math

import pytest

from xwinjax.eval.diversity import summary, verb_noun


@pytest.mark.parametrize(
  ("text", "group"),
  [
    ("Write a poem about rain.", ("write", "poem")),
    ("Please could you write me a short poem?", ("write", "poem")),
    ("How many of the birds sing?", ("how", "many")),
    ("List 3 kinds of cheese.", ("list", "kinds")),
    ("Hello!", ("hello", "")),
    ("", ("", "")),
  ],
)
def test_groups_by_verb_and_noun(text, group):
  assert verb_noun(text) == group


def test_figures_by_hand():
  found = summary(["Write a poem.", "Write a song.", "Count the birds.", "Count the birds."])
  assert found["groups"] == 3
  assert found["group_entropy"] == pytest.approx(1.5 * math.log(2), abs=1e-4)
  assert found["top_groups"][0] == ["count birds", 2]
  assert found["nearest"] == pytest.approx((2 / 3 + 2 / 3 + 1 + 1) / 4, abs=1e-4)
  assert found["distinct_2"] == 5 / 8
  assert found["mean_words"] == 3


def test_one_group_has_no_entropy_and_one_prompt_no_other():
  assert summary(["Write a poem."] * 3)["group_entropy"] == 0
  assert summary(["Write a poem."])["nearest"] is None
  assert summary([]) == {"prompts": 0}


def test_a_sample_stands_for_many():
  found = summary([f"Say {i}." for i in range(50)], most=10)
  assert found["prompts"] == 10


def test_twin_repeats_are_less_diverse():
  mixed = summary(["Write a poem.", "Count the birds.", "Why is snow white?"])
  same = summary(["Write a poem."] * 3)
  assert same["nearest"] > mixed["nearest"]
  assert same["groups"] < mixed["groups"]
