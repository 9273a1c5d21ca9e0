"""Sampling over sources and domains."""

import pytest

from xwinjax.curate.entries import Entry
from xwinjax.curate.sampling import choose, shares
from xwinjax.data.records import Message

BIG, SMALL = ("se", "big"), ("se", "small")


def test_temperature_evens_out_the_parts():
  sizes = {BIG: 1000, SMALL: 125}  # cube roots 10 and 5
  assert shares(sizes, 90, 3.0) == {BIG: 60, SMALL: 30}
  assert shares(sizes, 90, 1.0) == {BIG: 80, SMALL: 10}  # the twin: in proportion
  assert shares(sizes, 90, 1e15) == {BIG: 45, SMALL: 45}


def test_what_a_small_part_lacks_the_others_give():
  assert shares({BIG: 1000, SMALL: 3}, 50, 1e15) == {BIG: 47, SMALL: 3}
  assert shares({BIG: 4, SMALL: 3}, 50, 3.0) == {BIG: 4, SMALL: 3}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50, 99])
def test_shares_add_up(count):
  sizes = {("s", str(i)): n for i, n in enumerate((1, 2, 30, 30, 40))}
  given = shares(sizes, count, 3.0)
  assert sum(given.values()) == count
  assert all(given[g] <= sizes[g] for g in sizes)


def entries(n, domain, score=lambda i: float(i)):
  said = (Message("user", "?"), Message("assistant", "!"))
  return [Entry(f"{domain}{i}", said, "se", domain, score(i)) for i in range(n)]


def test_the_best_of_each_part_are_taken():
  chosen = choose(entries(20, "a") + entries(20, "b"), 6, 3.0, True, 0)
  assert sorted(e.id for e in chosen) == ["a17", "a18", "a19", "b17", "b18", "b19"]
  anyone = choose(entries(20, "a") + entries(20, "b"), 6, 3.0, False, 0)
  assert sorted(e.id for e in anyone) != sorted(e.id for e in chosen)
  assert anyone == choose(entries(20, "a") + entries(20, "b"), 6, 3.0, False, 0)


def test_unknown_scores_come_last():
  known = entries(5, "a", lambda i: None if i < 4 else -1.0)
  assert choose(known, 1, 3.0, True, 0)[0].id == "a4"
