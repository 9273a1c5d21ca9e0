"""Bradley-Terry strengths against an independent optimizer, and what they say of few votes."""

import numpy as np
import pytest
from scipy import optimize

from xwinjax.eval.ballot import Vote
from xwinjax.eval.strengths import POINTS, fit, strengths


def likelihood(theta, wins, prior):
  """The sum that is maximized, written out pair by pair."""
  log_p = lambda x: -np.log1p(np.exp(-x))
  total = sum(
    wins[i, j] * log_p(theta[i] - theta[j]) for i in range(len(wins)) for j in range(len(wins))
  )
  return total + prior * sum(log_p(t) + log_p(-t) for t in theta) / 2


def best(wins, prior):
  """By SciPy, without gradients of ours."""
  start = np.zeros(len(wins))
  return optimize.minimize(lambda t: -likelihood(t, wins, prior), start, tol=1e-12).x


TABLES = {
  "even": np.array([[0, 5, 7], [5, 0, 6], [3, 4, 0]]),
  "one always wins": np.array([[0, 9, 8], [0, 0, 4], [0, 5, 0]]),
  "a thousand to one": np.array([[0, 1000, 0], [1, 0, 900], [0, 2, 0]]),
  "never met": np.array([[0, 4, 0, 0], [2, 0, 0, 0], [0, 0, 0, 5.5], [0, 0, 0.5, 0]]),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_most_likely_strengths_are_found(name):
  wins = TABLES[name].astype(float)
  (found,) = fit(wins[None], prior=1.0)
  assert found == pytest.approx(best(wins, 1.0), abs=2e-4)
  # The twin: wins read the other way round give other strengths.
  assert fit(wins.T[None])[0] != pytest.approx(best(wins, 1.0), abs=0.1)


def test_a_table_is_solved_alike_beside_others():
  tables = np.stack([TABLES["even"], TABLES["one always wins"], TABLES["a thousand to one"]])
  each = [fit(table[None])[0] for table in tables.astype(float)]
  assert fit(tables.astype(float)) == pytest.approx(np.array(each), abs=1e-6)


def votes_of(true, prompts, rng):
  """Votes on every two systems, drawn with the probabilities of their strengths in points."""
  names = list(true)
  for p in range(prompts):
    for i, a in enumerate(names):
      for b in names[i + 1 :]:
        wins = rng.random() < 1 / (1 + 10 ** ((true[b] - true[a]) / 400))
        yield Vote(str(p), "judge", a, b, "A" if wins else "B")


def test_known_strengths_lie_in_their_intervals():
  true = {"strong": 150.0, "middle": 0.0, "weak": -150.0}
  covered, tries = 0, 20
  for seed in range(tries):
    rows = strengths([*votes_of(true, 100, np.random.default_rng(seed))], seed)
    covered += sum(r["ci"][0] <= true[r["system"]] <= r["ci"][1] for r in rows)
    assert [r["system"] for r in rows] == list(true)
  assert 0.85 < covered / (3 * tries) <= 1  # 95 % of them, of 60


def test_odds_of_ten_to_one_are_400_points():
  rows = strengths(
    [Vote(str(i), "j", "a", "b", "B" if i % 11 == 0 else "A") for i in range(1100)], 0
  )
  assert rows[0]["strength"] - rows[1]["strength"] == pytest.approx(400, abs=2)
  assert pytest.approx(173.718, abs=1e-3) == POINTS


def test_a_share_is_weighed_and_systems_never_compared_are_told_apart():
  rows = strengths(
    [Vote("p", "j", "a", "b", "A", share=0.75), Vote("q", "j", "a", "b", "B", share=0.25),
     Vote("p", "j", "c", "d", "tie")], 0,
  )  # fmt: skip
  by = {r["system"]: r for r in rows}
  assert by["a"]["strength"] == pytest.approx(by["b"]["strength"], abs=1e-6)
  assert by["a"]["group"] == by["b"]["group"] != by["c"]["group"]
  assert by["a"]["comparisons"] == 2
