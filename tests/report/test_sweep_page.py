"""What a sweep's figures say."""

import pytest
from scipy import stats

from xwinjax.eval import statistics
from xwinjax.report import pages, sweep


def test_intervals_over_seeds_are_students():
  values = [3.9, 4.1, 4.05]
  theirs = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
  assert statistics.t_interval(values) == pytest.approx(theirs, abs=1e-5)
  normal = stats.norm.interval(0.95, loc=sum(values) / 3, scale=stats.sem(values))
  assert abs(statistics.t_interval(values)[0] - normal[0]) > 0.05  # the twin: not a normal's
  assert statistics.t_interval([1.0]) is None


def test_a_figure_over_runs_has_its_spread_and_its_signs():
  f = sweep.over_seeds({"0": 0.2, "1": 0.3, "2": 0.1, "3": 0.2, "4": 0.2, "5": -0.1})
  assert (f["mean"], f["above_0"]) == (pytest.approx(0.15), 5)
  assert f["sd"] == pytest.approx(stats.tstd([0.2, 0.3, 0.1, 0.2, 0.2, -0.1]))
  assert f["effect"] == pytest.approx(0.15 / f["sd"])
  assert f["sign_p"] == pytest.approx(2 * (6 + 1) / 64)  # of 6 coins, 5 or more alike
  assert sweep.over_seeds({"0": 1.0})["sd"] is None


def test_a_single_row_is_shown_figure_by_figure():
  figures = {"gold": {"0": 3.0, "1": 4.0}, "DPO − RS": {"0": 0.5, "1": 0.25}, "none": {}}
  table = sweep.by_figure({name: sweep.over_seeds(v) for name, v in figures.items()})
  assert table.head == ("figure", "mean over runs (95 %)", "sd", "signs", "seed 0", "seed 1")
  assert [row[0] for row in table.rows] == ["gold", "DPO − RS"]
  assert table.rows[1][3:] == ("2 of 2 > 0, p = 0.5", "0.500", "0.250")


def test_differences_pair_the_seeds():
  ours, theirs = {"0": 4.0, "1": 5.0, "2": 9.0}, {"0": 3.0, "1": 4.0}
  assert sweep.difference(ours, theirs) == {"mean": 1.0, "ci": [1.0, 1.0], "seeds": 2}
  assert sweep.difference(ours, {}) is None


@pytest.mark.parametrize(
  ("ci", "relation", "says"),
  [
    ([0.1, 0.5], ">", "as in the paper"),
    ([-0.1, 0.5], ">", "not shown"),
    ([-0.5, -0.1], ">", "against the paper"),
    ([-0.1, 0.5], "~", "as in the paper"),
    ([0.1, 0.5], "~", "against the paper"),
    ([-0.5, -0.1], "~", "against the paper"),
    (None, ">", "one seed: no verdict"),
  ],
)
def test_verdicts(ci, relation, says):
  assert sweep.verdict({"mean": 0.2, "ci": ci, "seeds": 3}, relation) == says


def made_up(axis=None):
  cell = lambda v: {"mean": v, "ci": [v - 0.1, v + 0.1], "seeds": {"0": v - 0.05, "1": v + 0.05}}
  rows = [
    {
      "row": r,
      "figures": {"quality": cell(v)},
      "paper": None,
      "at": at,
      "against_first": None if i == 0 else {"mean": 0.5, "ci": [0.4, 0.6], "seeds": 2},
    }
    for i, (r, v, at) in enumerate((("x1", 3.0, 1), ("x2", 3.5, 2), ("<x4>", 3.6, 4)))
  ]
  return {
    "seeds": [0, 1],
    "device": "1 x cpu",
    "seconds": 70.0,
    "failed": [],
    "ablations": [
      {
        "name": "q",
        "title": "Quantity & <more>",
        "main": "quality",
        "first": "x1",
        "axis": axis,
        "rows": rows,
        "claims": [],
      }
    ],
  }


@pytest.mark.parametrize("axis", [None, "times 64 examples"])
def test_the_page_shows_every_row_and_escapes(axis):
  page = pages.render(sweep.page(made_up(axis)))
  assert "&lt;x4&gt;" in page
  assert "<x4>" not in page
  assert "+0.50" in page
  assert (axis or "x2") in page
  assert "<x4>" in pages.render(sweep.page(made_up(axis)), escape=False)  # the twin


def test_nothing_run_yet():
  s = made_up()
  for row in s["ablations"][0]["rows"]:
    row["figures"]["quality"] = {"mean": None, "ci": None, "seeds": {}}
    row["against_first"] = None
  assert "Quantity" in pages.render(sweep.page(s))
  assert "x2" in sweep.text(s)
