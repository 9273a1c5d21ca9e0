"""The page in a real headless Chromium; collected where it and Playwright are installed.

apt install chromium; pip install playwright
python -m pytest tests/annotate/test_in_browser.py            # SHOTS=folder keeps screenshots
"""

import os
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from small_study import BROWSERS, EVIL, served  # pyright: ignore[reportMissingImports]

from xwinjax.annotate import export
from xwinjax.annotate.store import Store

ASK_ALL = ["--ask", "verdict,usefulness,grades"]


def count(page, text):
  expect(page.locator("#count")).to_have_text(text)


def heading(page, text):
  expect(page.locator("#title")).to_have_text(re.compile(text))


@pytest.fixture(scope="module")
def browser():
  found = next(filter(None, map(shutil.which, BROWSERS)))
  with sync_playwright() as p:
    # As root, Chromium runs without its sandbox only; the pages are ours.
    made = p.chromium.launch(executable_path=found, args=["--no-sandbox"])
    yield made
    made.close()


@pytest.fixture
def study(files, tmp_path):
  """Arguments that begin a study of three items in a file of its own."""
  return [
    "--db",
    str(tmp_path / "votes.db"),
    "--prompts",
    str(files["prompts"]),
    "--checks",
    "0",
    "--answers",
    str(files["ours"]),
    str(files["theirs"]),
    "--annotators",
    "anna",
    "ben",
  ]


@pytest.fixture
def window(browser):
  """Opens a link in a window of its own and waits for its title; `said` has its console."""
  opened, said = [], []

  def open_at(link, title="Item 1$", **options):
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    page = context.new_page()
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("request", lambda r: r.url.startswith("http://127.0.0.1:") or said.append(r.url))
    page.goto(link)
    heading(page, title)
    opened.append(context)
    return page

  open_at.said = said
  yield open_at
  for context in opened:
    context.close()


def stored(study):
  store = Store(study[1])
  rows = export.rows(store)
  store.close()
  return rows


def test_clicks(study, window):
  with served(*study) as (_, links):
    page = window(links["anna"])
    for n in range(3):
      count(page, f"{n} of 3")
      heading(page, f"Item {n + 1}$")
      expect(page.locator("#save")).to_be_disabled()
      page.get_by_text("Neither is significantly better").click()
      page.locator("#save").click()
    heading(page, "All done")
    assert [row["label"] for row in stored(study)] == ["tie"] * 3
    assert all(0 < row["seconds"] < 30 for row in stored(study))
  assert window.said == []


def test_keys_alone_do_everything(study, window):
  with served(*study, *ASK_ALL) as (_, links):
    page = window(links["anna"])
    for n in range(3):
      heading(page, f"Item {n + 1}$")
      for key in "e5p2b":  # grade A, usefulness A, grade B, usefulness B, verdict
        page.keyboard.press(key)
      page.keyboard.press("Enter")
    heading(page, "All done")
    page.keyboard.press("Backspace")  # back, change the verdict, on again
    heading(page, "Item 3, judged before")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    heading(page, "All done")
  for row in stored(study):
    first, second = ("a", "b") if row["shown"] == "a" else ("b", "a")
    assert row["usefulness"] == {first: 5, second: 2}
    assert row["grades"] == {first: ["excellent"], second: ["pass"]}
    last = row["revision"] == 2
    assert row["label"] == (first if last else second).upper()
  assert sorted(row["revision"] for row in stored(study)) == [1, 1, 2]
  assert window.said == []


def test_enter_without_a_choice_and_other_keys_do_nothing(study, window):
  with served(*study) as (_, links):
    page = window(links["anna"])
    for key in ("Enter", "x", "1", "Control+b", "Backspace"):
      page.keyboard.press(key)
    count(page, "0 of 3")
    assert page.locator("input:checked").count() == 0
    assert stored(study) == []


def test_help_opens_and_keys_still_save_after_it(study, window):
  with served(*study) as (_, links):
    page = window(links["anna"])
    page.locator("#help").click()
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    heading(page, "Item 2$")
    expect(page.locator("#keys")).to_be_visible()


def test_tab_and_space_reach_everything(study, window):
  with served(*study) as (_, links):
    page = window(links["anna"])
    page.keyboard.press("Tab")  # into the choices
    page.keyboard.press("Space")
    assert page.locator("input:checked").input_value() == "A"
    page.keyboard.press("ArrowRight")
    assert page.locator("input:checked").input_value() == "tie"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # on the save button
    count(page, "1 of 3")
  assert [row["label"] for row in stored(study)] == ["tie"]


def test_reload_and_restart_go_on_where_one_stopped(study, window):
  with served(*study) as (_, links):
    page = window(links["anna"])
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    heading(page, "Item 2$")
    texts = page.locator("main").inner_text()
    page.reload()
    heading(page, "Item 2$")
    count(page, "1 of 3")
    assert page.locator("main").inner_text() == texts
  port = re.search(r":(\d+)/", links["anna"])
  assert port
  with served(*study[:2], port=int(port[1])) as (_, again):
    assert again == {}  # the link printed before is not printed again, and still works
    page.reload()
    heading(page, "Item 2$")
    count(page, "1 of 3")


def test_two_annotators_at_once(study, window):
  with served(*study) as (_, links):
    anna, ben = window(links["anna"]), window(links["ben"])
    for page, key in ((anna, "a"), (ben, "n")):
      expect(page.locator("#who")).to_have_text("anna" if page is anna else "ben")
      page.keyboard.press(key)
      page.keyboard.press("Enter")
      heading(page, "Item 2$")
    anna.keyboard.press("a")
    anna.keyboard.press("Enter")
    count(anna, "2 of 3")
    ben.reload()
    count(ben, "1 of 3")
  assert sorted(row["annotator"] for row in stored(study)) == ["anna", "anna", "ben"]


def test_two_windows_of_one_annotator(study, window):
  with served(*study) as (_, links):
    one, two = window(links["anna"]), window(links["anna"])
    one.keyboard.press("a")
    one.keyboard.press("Enter")
    heading(one, "Item 2$")
    two.keyboard.press("b")
    two.keyboard.press("Enter")
    expect(two.locator("#status")).to_contain_text("Another window saved this item first")
    assert two.locator("input:checked").input_value() == "A"
  assert len(stored(study)) == 1


def test_a_double_click_is_one_vote(study, window):
  with served(*study) as (_, links):
    page = window(links["anna"])
    page.keyboard.press("a")
    page.locator("#save").dblclick()
    heading(page, "Item 2$")
    count(page, "1 of 3")
  with sqlite3.connect(study[1]) as c:
    assert c.execute("SELECT count(*) FROM votes").fetchone() == (1,)


def test_texts_that_would_run_are_shown_as_they_are(study, window):
  with served(*study) as (_, links):
    page = window(links["anna"])
    for n in range(3):
      heading(page, f"Item {n + 1}$")
      if page.get_by_text(EVIL).count():
        break
      page.keyboard.press("n")
      page.keyboard.press("Enter")
    assert page.locator("#prompt").inner_text() == f"What does {EVIL} do?"
    assert page.locator(".answer .text").first.inner_text().endswith(EVIL)
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Judge answers"
    # The twin: markup that got in would still not run, by the policy.
    page.evaluate("html => { document.getElementById('item').innerHTML = html }", EVIL)
    page.wait_for_timeout(300)
    assert page.locator("main img").count() == 1
    assert page.title() == "Judge answers"
    assert any("Content Security Policy" in text for text in window.said)


def test_a_wrong_link_is_said(study, window):
  with served(*study) as (_, links):
    for link in (links["anna"][:-1], links["anna"].split("#")[0]):
      page = window(link, "This link does not work")
      expect(page.locator("#save")).to_be_hidden()


def test_a_server_that_dies_loses_nothing_and_the_page_waits(study, window):
  with served(*study) as (process, links):
    page = window(links["anna"])
    process.kill()
    process.wait()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Not saved yet: the server does not answer")
  port = re.search(r":(\d+)/", links["anna"])
  assert port
  with served(*study[:2], port=int(port[1])):
    heading(page, "Item 2$")  # it tried again by itself
    expect(page.locator("#status")).to_have_text("")
  assert len(stored(study)) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_can_be_read(study, window, scheme, width):
  phone = {"is_mobile": True, "has_touch": True} if width < 400 else {}
  with served(*study, *ASK_ALL) as (_, links):
    page = window(
      links["anna"], color_scheme=scheme, viewport={"width": width, "height": 780}, **phone
    )
    page.keyboard.press("e")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (lightness(page, "background-color") < 60) == (scheme == "dark")
    assert abs(lightness(page, "color") - lightness(page, "background-color")) > 150
    small = page.evaluate("""[...document.querySelectorAll("button, .choices label")]
      .filter((e) => e.offsetParent && e.getBoundingClientRect().height < 36).length""")
    assert small == 0  # fingers need room
    if folder := os.environ.get("SHOTS"):
      page.screenshot(path=Path(folder) / f"{scheme}-{width}.png")
  assert window.said == []


def lightness(page, what) -> float:
  colour = page.evaluate(f"getComputedStyle(document.body).getPropertyValue('{what}')")
  return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
