"""The explorer of answers in a real headless Chromium; skipped without it or Playwright."""

import json
import re

import pytest
from browser import opened  # pyright: ignore[reportMissingImports]

from experiments import compare as command


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  """The page of 30 prompts; b wins where the number is even, and category d1 is odd."""
  folder = tmp_path_factory.mktemp("compare")
  rows = [
    {
      "instruction": f"question {i} <b>bold</b>", "output_1": f"plain {i}", "generator_1": "a",
      "output_2": f"other {'word ' * i}", "generator_2": "b", "annotator": "gpt",
      "preference": 1 + (i + 1) % 2, "dataset": f"d{i % 2}",
    }
    for i in range(30)
  ]  # fmt: skip
  (folder / "annotations.json").write_text(json.dumps(rows))
  assert command.command([str(folder / "annotations.json"), f"--page={folder / 'c.html'}"]) == 0
  with opened(folder / "c.html") as page:
    yield page


def counted(page) -> str:
  return page.locator("#counted").inner_text()


def test_search_and_filters_narrow_what_is_shown_and_counted(page):
  assert counted(page).startswith("30 of 30 prompts · a against b: better 15, neither 0, worse 15")
  page.get_by_label("Category").select_option("d1")
  assert "15 of 30" in counted(page)
  assert "better 15, neither 0, worse 0; win rate 100.0%" in counted(page)
  page.get_by_label("Outcome").select_option("b")
  assert counted(page) == "0 of 30 prompts"
  page.get_by_label("Category").select_option("")
  page.get_by_label("Search").fill("26 plain")
  assert "1 of 30" in counted(page)
  assert page.locator("mark").count() > 0
  page.get_by_label("Search").fill("")
  page.get_by_label("Outcome").select_option("")


def test_answers_come_in_pages_in_the_order_asked_for(page):
  assert page.locator("article").count() == 10
  page.get_by_role("button", name="Show more").click()
  assert page.locator("article").count() == 20
  page.get_by_label("Order").select_option("shorter")
  first = page.locator("article").first.inner_text()
  assert re.search(r"question 29 <b>bold</b>", first)  # a text, not markup
  assert page.locator("article b").count() == 0


def test_nothing_is_wider_than_a_phone(page):
  assert page.evaluate("document.documentElement.scrollWidth") == 390
