"""Pictures are the same each time, well formed, described, and show the numbers they are given."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from xwinjax.report import chain_pictures, charts

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pictures(work):
  return [
    *chain_pictures.loss_charts(work),
    *chain_pictures.best_of_charts(work),
    *chain_pictures.kl_charts(work),
    *chain_pictures.spread_charts(work),
    *chain_pictures.reward_charts(work),
    *chain_pictures.rank_chart(work),
    *chain_pictures.time_charts(work),
  ]


def test_every_figure_of_the_chain_has_its_picture(pictures):
  assert [c.title for c in pictures] == [
    "pretrain: loss",
    "sft: loss",
    "reward: loss",
    "reward: accuracy",
    "reward: margin",
    "rs: loss",
    "dpo: loss",
    "dpo: accuracy",
    "dpo: margin",
    "dpo: log-prob gained",
    "Gold score of the reward model's pick",
    "RM score of the reward model's pick",
    "Gold score of gold's own pick",
    "KL against gold score",
    "KL against RM score",
    "Answers by gold score",
    "Answers by RM score",
    "Length of answers",
    "Calibration on held-out pairs",
    "Scores by rank",
    "Time by stage",
    "Tokens a second",
  ]


def test_a_coins_loss_is_drawn_where_the_loss_is_that_of_preferences_alone(work, monkeypatch):
  drawn = lambda: [c.svg for c in chain_pictures.loss_charts(work) if c.title == "dpo: loss"]
  assert "log 2" in drawn()[0]
  rows = [row | {"nll_chosen": 0.2} for row in work.metrics("dpo")]
  monkeypatch.setattr(work, "metrics", lambda name: rows)
  assert "log 2" not in drawn()[0]


def test_pictures_are_well_formed_and_described(pictures):
  for chart in pictures:
    root = ET.fromstring(chart.svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == chart.title
    assert re.search(r"\d", root.findtext(f"{SVG}desc") or ""), chart.title


def test_pictures_take_their_colours_from_the_page(pictures):
  for chart in pictures:
    assert f"var(--ink, {charts.INK})" in chart.svg
    assert not re.search(r"(fill|stroke): #000000", chart.svg)


def test_ids_are_unique_over_all_pictures(pictures):
  ids = [i for chart in pictures for i in re.findall(r'\bid="([^"]+)"', chart.svg)]
  assert len(set(ids)) == len(ids)


def test_a_picture_made_twice_is_the_same():
  make = lambda last: chain_pictures.best_of_k("t", {"sft": [1.0, 2.0, last]}, "y", "")
  assert make(2.5) == make(2.5)
  assert make(2.5) != make(2.6)  # the twin: it does show the numbers


def test_best_of_k_says_both_ends():
  chart = chain_pictures.best_of_k(
    "t", {"sft": [1.0, 2.0, 2.25], "rs": [3.0, 3.0, 4.0]}, "gold", ""
  )
  assert chart is not None
  assert "SFT: 1.00 at k = 1, 2.25 at k = 3; RS: 3.00 at k = 1, 4.00 at k = 3" in chart.svg
  for label in ("gold", "Base", "SFT", "RS"):
    assert (f">{label}</text>" in chart.svg) == (label != "Base")


def test_axis_labels_keep_their_digits():
  chart = chain_pictures.best_of_k("t", {"sft": [0.0, 0.004]}, "y", "")
  assert chart is not None
  labels = [float(text) for text in re.findall(r">(0\.\d+)</text>", chart.svg)]
  assert max(labels) == 0.004
  assert len(set(labels)) == len(labels) > 2  # cut to two decimals they would all be 0.00


def test_windows_keep_every_value_in_order():
  parts = charts.windows(np.arange(1000.0), 80)
  assert len(parts) == 80
  assert np.concatenate(parts).tolist() == list(range(1000))


def test_what_was_not_logged_gives_no_picture():
  assert charts.steps("t", [], {"loss": "loss"}, "y", "") is None
  assert charts.steps("t", [{"step": 1, "loss": None}], {"loss": "loss"}, "y", "") is None
  assert chain_pictures.best_of_k("t", {}, "y", "") is None
  assert chain_pictures.histogram("t", {}, "x", "") is None


def test_one_step_and_equal_scores_can_be_drawn():
  assert charts.steps("t", [{"step": 1, "loss": 2.0}], {"loss": "loss"}, "y", "", log=True)
  assert chain_pictures.histogram("t", {"sft": np.ones((2, 3))}, "x", "")
  assert chain_pictures.best_of_k("t", {"sft": [1.0]}, "y", "")


def test_ranks_leave_out_prompts_with_fewer_candidates():
  chart = chain_pictures.ranks("t", np.array([[2.0, 1.0], [4.0, np.nan]]), {"rejected": 2}, "")
  assert chart is not None
  assert "rank 1: 3.00; rank 2: 1.00" in chart.svg
