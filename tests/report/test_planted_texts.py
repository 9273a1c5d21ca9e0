"""Markup in every text of a run (prompts, answers, names, settings) stays text on its page."""

import json
from html.parser import HTMLParser

import pytest
from made_up_chain import write_chain  # pyright: ignore[reportMissingImports]
from made_up_rounds import write_rounds  # pyright: ignore[reportMissingImports]
from test_agreement_page import summary as votes_summary  # pyright: ignore[reportMissingImports]
from test_compare_page import place as compared  # pyright: ignore[reportMissingImports]
from test_lima_page import write_run as write_lima  # pyright: ignore[reportMissingImports]
from test_sweep_page import made_up as made_up_sweep  # pyright: ignore[reportMissingImports]

from xwinjax import report
from xwinjax.eval import answers, comparison
from xwinjax.report import agreement, compare, pages, sweep

EVIL = (
  '</script></title></style></textarea><!--"\'><planted onload="x">'
  "<script>planted()</script>{{7*7}}"
)
# Whose texts are the program's own words, which it looks for.
WORDS = {"role", "finish", "stage", "by", "grades", "says", "main", "score", "judge", "rejected"}


def planted(value):
  """A JSON value with the payload behind every text in it."""
  if isinstance(value, dict):
    return {k: v if k in WORDS else planted(v) for k, v in value.items()}
  if isinstance(value, list):
    return [planted(v) for v in value]
  return value + EVIL if isinstance(value, str) else value


def plant(folder):
  """The same in all files of a run."""
  for path in folder.rglob("*.json*"):
    if path.name != "recipe.json":
      texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
      path.write_text("".join(json.dumps(planted(json.loads(text))) + "\n" for text in texts))
  return folder


class Found(HTMLParser):
  """What a browser would make of the payload: elements, and scripts beside the page's own."""

  def __init__(self, page):
    super().__init__()
    self.elements, self.inside, self.text = [], "", ""
    self.feed(page)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.inside = tag
    if tag == "planted" or any(name.startswith("on") for name, _ in attrs):
      self.elements.append(tag)

  def handle_endtag(self, tag):
    self.inside = ""

  def handle_comment(self, data):
    self.elements.append("comment")

  def handle_data(self, data):
    if self.inside == "script" and data.strip() == "planted()":
      self.elements.append("script")
    self.text += data if self.inside != "script" else ""


def of_run(write):
  """A recipe's page, of a run with planted texts."""

  def page(folder):
    made, run = report._run(plant(write(folder)))
    return made.page(run)

  return page


def lima(folder):
  folder.mkdir()
  return write_lima(folder, [3.0, 3.5, 4.0], [2.0, 1.0, 1.1, 1.3])


def comparison_page(folder):
  folder.mkdir()
  found = answers.read([str(plant_one(compared.__wrapped__(folder)))])
  return compare.page(comparison.summary(found), comparison.samples(found), EVIL)


def plant_one(path):
  rows = json.loads(path.read_text())
  names = ("generator_1", "generator_2", "annotator", "dataset", "instruction")
  path.write_text(json.dumps([row | {n: row[n] + EVIL for n in names} for row in rows]))
  return path


PAGES = {
  "xwin": of_run(write_chain),
  "self_rewarding": of_run(write_rounds),
  "lima": of_run(lima),
  "sweep": lambda folder: sweep.page(planted(made_up_sweep("a"))),
  "comparison": comparison_page,
  "votes": lambda folder: agreement.page(planted(votes_summary.__wrapped__()), EVIL),
}


@pytest.mark.parametrize("name", PAGES)
def test_planted_markup_stays_text(name, tmp_path):
  page = PAGES[name](tmp_path / f"run{EVIL.replace('/', '')}")
  found = Found(pages.render(page))
  assert found.elements == []
  assert found.text.count("<planted onload") >= 5  # it is there to be read
  assert "{{7*7}}" in found.text
  # The twin: a template that does not escape.
  assert "planted" in Found(pages.render(page, escape=False)).elements
