"""Answers token by token in a real headless Chromium; skipped without it or Playwright."""

import pytest
from browser import opened  # pyright: ignore[reportMissingImports]
from made_up_chain import EVIL, write_chain, write_rows, write_stage  # pyright: ignore[reportMissingImports]

from xwinjax import report


def answer(i: int, by: str, words: list[str], gains: list[float]) -> dict:
  prompt = [{"role": "user", "content": f"question {i} {EVIL}"}]
  logps = [-1.0] * len(words)
  before = [x - g for x, g in zip(logps, gains, strict=True)]
  return {"id": f"p{i}", "by": by, "prompt": prompt, "text": "".join(words), "tokens": words} | {
    "logp": logps,
    "reference": before,
  }


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  """A chain's page, with two answers of each of two models."""
  folder = write_chain(tmp_path_factory.mktemp("tokens") / "demo")
  rows = [
    answer(0, "model", [" A", " red", EVIL], [0.0, 2.0, -2.0]),
    answer(1, "model", [" A", " blue"], [0.1, 3.0]),
    answer(0, "reference", [" A", " red"], [0.0, -4.0]),
    answer(1, "reference", [" A", " green"], [0.0, -0.5]),
  ]
  write_rows(folder / "token_gains" / "tokens.jsonl", rows)
  write_stage(folder, "token_gains", {"answers": 4})
  path = folder / "token_gains" / "manifest.json"
  path.write_text(path.read_text().replace('"some/data.jsonl"', '"x", "reference": "a/rs/model"'))
  report.write(folder)
  with opened(folder / "report.html") as page:
    yield page


@pytest.fixture(autouse=True)
def as_it_opens(page):
  page.reload()


def shown(page) -> list[str]:
  return [node.inner_text() for node in page.query_selector_all(".tokened .line")]


def background(page, text: str) -> str:
  token = next(n for n in page.query_selector_all(".line span") if n.inner_text() == text)
  return token.evaluate("node => getComputedStyle(node).backgroundColor")


def test_texts_are_what_was_answered_and_never_markup(page):
  assert shown(page)[0] == f" A red{EVIL}"
  assert page.inner_text("#token-count") == "4 of 4 answers"


def test_blue_gains_orange_loses_and_nothing_stays_as_it_is(page):
  gained, lost, same = (background(page, text) for text in (" blue", " green", " A"))
  assert len({gained, lost, same}) == 3
  by_name = {n.inner_text(): n for n in page.query_selector_all(".line span")}
  assert "lost" in by_name[EVIL].get_attribute("class")  # dotted, for those who see no colour
  assert not by_name[" blue"].get_attribute("class")
  title = by_name[" blue"].get_attribute("title")
  assert title == '" blue": log-prob −1.00 under DPO, −4.00 under RS; gain +3.00'


def test_the_search_finds_answers_and_marks_their_tokens(page):
  page.fill("#token-controls [name=search]", "blue")
  assert shown(page) == [" A blue"]
  assert page.inner_text("#token-count") == "1 of 4 answers"
  assert [n.inner_text() for n in page.query_selector_all(".found")] == [" blue"]


def test_whose_answers_and_in_which_order(page):
  page.select_option("#token-controls [name=by]", "reference")
  page.select_option("#token-controls [name=sort]", "up")
  assert shown(page) == [" A green", " A red"]
  page.select_option("#token-controls [name=sort]", "down")
  assert shown(page) == [" A red", " A green"]
  assert "answer of RS · gain −4.00 nats in all" in page.inner_text(".tokened .score")


def test_the_legend_says_what_a_colour_means(page):
  says = page.inner_text("#token-legend").split("\n")
  assert says[:2] == ["gain: log-prob of DPO − of RS, nats:", "−3.00 (less likely)"]
  assert says[2] == "+3.00 (more likely)"
  page.select_option("#token-controls [name=view]", "logp")
  assert page.inner_text("#token-legend").startswith("log-prob under DPO")
  assert background(page, " blue") == background(page, " A")  # both at -1 nat
  assert not page.query_selector_all(".lost")


def test_small_gains_can_be_left_uncoloured(page):
  coloured = background(page, " green")
  page.select_option("#token-controls [name=least]", "1")
  assert background(page, " green") != coloured
