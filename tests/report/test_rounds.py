"""What the report says of self-rewarding rounds, from files alone."""

import re
import shutil

import pytest
from made_up_rounds import GOLD, write_rounds

from xwinjax import report
from xwinjax.core.errors import UserError
from xwinjax.report import pages, rounds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return write_rounds(tmp_path_factory.mktemp("rounds") / "demo")


@pytest.fixture(scope="module")
def summary(folder):
  return rounds.summary(rounds.Run(folder))


@pytest.fixture(scope="module")
def page(folder):
  return pages.render(rounds.page(rounds.Run(folder)))


def test_a_row_a_model_in_order(summary):
  assert [r["model"] for r in summary["models"]] == list(GOLD)
  assert [r["gold_mean"] for r in summary["models"]] == list(GOLD.values())
  assert summary["seed"] == 3


def test_models_are_compared_by_gold_with_baseline_and_previous(summary):
  m3 = summary["models"][3]
  assert m3["versus_baseline"]["against"] == "baseline"
  assert m3["versus_previous"]["against"] == "M2"
  assert m3["versus_baseline"]["win_rate"] > m3["versus_previous"]["win_rate"] > 0.5
  assert m3["versus_previous"]["gain"]["mean"] == pytest.approx(0.5, abs=0.1)
  assert summary["last_versus_m1"]["gain"]["mean"] == pytest.approx(1.3, abs=0.1)


def test_without_gold_m1_judges_them_all(tmp_path):
  work = rounds.Run(write_rounds(tmp_path / "real", gold=False))
  s = rounds.summary(work)
  assert {r["versus_previous"]["judge"] for r in s["models"][1:]} == {"fixed"}
  assert s["models"][3]["versus_previous"]["gain"]["mean"] == pytest.approx(0.5)
  assert s["models"][3]["inflation"] is None
  assert "M3 beats M2: +0.50 [+0.50, +0.50] M1's points." in rounds.sentences(s)
  assert "There is no gold score here" in pages.render(rounds.page(work))


def test_the_text_names_who_beats_whom(summary):
  text = rounds.text(summary)
  assert re.search(r"M2 beats M1: \+0\.\d\d \[\+0\.\d\d, \+0\.\d\d\] gold points\.", text)
  assert re.search(r"M3 beats M1: \+1\.\d\d", text)
  assert "70.0% [65.0%, 75.0%]" in text


def test_the_page_shows_every_part(page):
  for part in ("Summary", "Pictures", "Judges", "Rounds", "Texts side by side", "New prompts"):
    assert f"<h2>{part}</h2>" in page
  assert page.count("<svg") == 4
  for text in (
    "62.5/27.7/9.8",
    "judgements unparsed",
    "900 → 300",
    "no line with a score",
    "pairs: no pair: tie",
    "checkpoint chosen",
  ):
    assert text in page


def test_texts_are_escaped(folder, page):
  assert "&lt;b&gt;Q0&lt;/b&gt;?" in page
  assert "<b>Q0</b>" not in page
  assert "<b>Q0</b>" in pages.render(
    rounds.page(rounds.Run(folder)), escape=False
  )  # the check's twin


def test_unfinished_rounds_have_a_page_too(tmp_path):
  folder = write_rounds(tmp_path / "half", models=("baseline", "M1", "M2"))
  shutil.rmtree(folder / "M2" / "evaluate")
  s = rounds.summary(rounds.Run(folder))
  assert [r["model"] for r in s["models"]] == ["baseline", "M1"]
  assert s["last_versus_m1"] is None
  assert "<h2>Rounds</h2>" in report.write(folder).read_text()


def test_another_folder_is_refused(tmp_path):
  with pytest.raises(UserError, match=r"holds no finished stage of experiments\.self_rewarding"):
    rounds.Run(tmp_path)
  with pytest.raises(UserError, match="no such folder"):
    rounds.Run(tmp_path / "none")
