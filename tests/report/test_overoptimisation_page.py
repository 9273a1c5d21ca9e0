"""Where a chain should have stopped: what its page says of score, gold and KL."""

import re

import numpy as np
import pytest
from made_up_chain import write_chain, write_stage  # pyright: ignore[reportMissingImports]

from xwinjax.report import chain, overoptimisation, pages
from xwinjax.report.chain_files import Chain

# Score rises on; gold falls beyond step 8.
STEPS = {
  "0": {"score": 0.0, "kl": 0.0, "gold": 2.5},
  "4": {"score": 1.0, "kl": 1.0, "gold": 3.0},
  "8": {"score": 1.5, "kl": 4.0, "gold": 3.2},
  "12": {"score": 1.6, "kl": 9.0, "gold": 2.0},
}


@pytest.fixture(scope="module", params=[True, False], ids=["gold", "without"])
def ways(request, tmp_path_factory):
  """The over-optimisation of a chain whose DPO's steps were measured, and the chain."""
  folder = write_chain(tmp_path_factory.mktemp("steps") / "demo", gold=request.param)
  known = ("score", "kl", "gold")[: 3 if request.param else 2]
  steps = {step: {"std": 0.5, **{k: f[k] for k in known}} for step, f in STEPS.items()}
  write_stage(folder, "choose", {"step": 8, "score": 1.5, "steps": steps}, {"price": 0.1})
  path = folder / "choose" / "manifest.json"
  path.write_text(path.read_text().replace('"some/data.jsonl"', '"x", "reference": "a/sft/model"'))
  work = Chain(folder)
  made = overoptimisation.of_chain(work)
  assert made is not None
  return made, work


def test_both_ways_start_at_the_same_model(ways):
  c, work = ways
  assert (c["start"], c["chosen"], c["price"]) == ("sft", 8, 0.1)
  best = work.figures("evaluate_sft")["rm_best_of_k"]
  assert [(p["n"], p["rm"]) for p in c["best_of_n"]] == [(n, best[n - 1]) for n in (1, 2, 4, 8)]
  assert c["best_of_n"][1]["kl"] == pytest.approx(np.log(2) - 0.5, abs=1e-5)
  assert [p["step"] for p in c["dpo"]] == [0, 4, 8, 12]
  spread = work.figures("evaluate_sft")["rm_std"]
  assert overoptimisation.gains(c, "dpo", "rm") == pytest.approx(
    np.array([0, 1, 1.5, 1.6]) / spread
  )


def test_a_star_marks_where_gold_is_highest_and_a_ring_the_step_chosen(ways):
  c, _ = ways
  drawn = overoptimisation.picture("When to stop", c, c["chosen"])
  assert drawn is not None
  gold = "gold" in c["sd"]
  assert (">gold is highest</text>" in drawn.svg) == gold
  assert ">step chosen</text>" in drawn.svg
  assert "RM score, DPO: " in drawn.svg
  without = overoptimisation.picture("When to stop", c)
  assert "step chosen" not in without.svg


def test_no_point_lies_beyond_the_axis(ways):
  c, _ = ways
  far = {**c, "dpo": [*c["dpo"], {**c["dpo"][-1], "step": 16, "kl": 15.9}]}
  drawn = overoptimisation.picture("When to stop", far)
  assert drawn is not None
  assert ">16</text>" in drawn.svg


def test_the_table_says_what_each_price_takes(ways):
  c, _ = ways
  table = overoptimisation.rule_table([c, c])
  taken = {row[0]: row[1] for row in table.rows}
  assert taken["price 0"] == taken["the last step"] == "12, 12"
  assert (taken["price 0.2"], taken["price 0.5"], taken["price 1"]) == ("8, 8", "4, 4", "4, 4")
  assert taken.get("gold's own choice") == ("8, 8" if "gold" in c["sd"] else None)


def test_what_a_rule_gains_over_the_last_step_is_paired_by_run(ways):
  c, _ = ways
  if "gold" not in c["sd"]:
    pytest.skip("has no gold")
  other = {**c, "dpo": [{**p, "gold": p["gold"] + 0.1 * p["step"]} for p in c["dpo"]]}
  table = overoptimisation.rule_table([c, other])
  more = {row[0]: row[table.head.index("more gold than the last step, sd")] for row in table.rows}
  gain = lambda run, i: overoptimisation.gains(run, "dpo", "gold")[i]
  two = [gain(run, 2) - gain(run, -1) for run in (c, other)]
  assert more["the last step"].startswith("+0.000")
  assert more["price 0.2"].startswith(f"{np.mean(two):+.2f} [")


def test_the_mean_over_runs_is_of_points_that_all_have(ways):
  c, _ = ways
  other = {**c, "dpo": [{**p, "rm": p["rm"] + 2, "kl": p["kl"] * 3} for p in c["dpo"][:3]]}
  both = overoptimisation.mean([c, other])
  assert [(p["step"], p["rm"], p["kl"]) for p in both["dpo"]] == [(0, 1, 0), (4, 2, 2), (8, 2.5, 8)]


def test_the_page_and_the_summary_have_it(ways):
  c, work = ways
  assert chain.summary(work)["overoptimisation"] == c
  html = pages.render(chain.page(work))
  assert re.search(r'<h2[^>]*id="stop"|id="stop"', html)


def test_a_sweep_says_of_each_row_where_gold_is_highest(ways):
  c, _ = ways
  parts = overoptimisation.of_rows({"all": [c], "few": [c, c]})
  tables = {p.title: p.parts[0] for p in parts if isinstance(p, pages.Details)}
  table = tables.get("Where gold is highest")
  if "gold" not in c["sd"]:
    assert table is None
    return
  rows = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
  assert rows["few"]["runs"] == "2"
  assert rows["all"]["DPO: gold is highest at"] == "step 8, KL 4.00"


def test_twin_gold_in_place_of_the_score_is_noticed(ways):
  """A rule that looked at gold would take the step gold likes best, whatever the price."""
  c, _ = ways
  if "gold" not in c["sd"]:
    pytest.skip("has no gold")
  by_gold = {**c, "dpo": [{**p, "rm": p["gold"]} for p in c["dpo"]]}
  assert overoptimisation.rule_table([by_gold]).rows != overoptimisation.rule_table([c]).rows


def test_a_chain_without_it_says_nothing(work):
  assert overoptimisation.of_chain(work) is None
  assert "overoptimisation" not in chain.summary(work)
