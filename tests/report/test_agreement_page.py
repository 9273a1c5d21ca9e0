"""The page of votes: every figure in it, every text escaped, nothing loaded."""

import html
import json
import re

import pytest

from experiments import agreement as command
from xwinjax.eval import agreement
from xwinjax.eval.votes import Ballot, Vote
from xwinjax.report import agreement as votes
from xwinjax.report import pages, tables

EVIL = "<script>alert(1)</script> & 'more'"


@pytest.fixture(scope="module")
def summary():
  labels = {"anna": "AABtA", "ben": "AtBBB", "carl": "AAtBA"}
  ballots = [
    Vote(
      f"{EVIL} {i}",
      who,
      "ours",
      "theirs",
      {"t": "tie"}.get(c, c),
      shown="ab"[i % 2],
      usefulness={"ours": 5, "theirs": 3},
      grades={"ours": ["pass", "excellent"]},
      seconds=2.0,
    )
    for who, row in labels.items()
    for i, c in enumerate(row)
  ]
  judges = [Vote(f"{EVIL} {i}", "rm", "ours", "theirs", "A") for i in range(5)]
  return agreement.summary(Ballot(ballots, judges, {"anna": [True, False]}))


def words(markup: str) -> str:
  markup = re.sub(r"<(style|svg)\b.*?</\1>", " ", markup, flags=re.DOTALL)
  return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def absent(summary, markup: str) -> list[str]:
  """Figures that the page does not show."""
  a, (c,) = summary["agreement"], summary["comparisons"]
  wanted = [
    tables.percent(f["value"], f["ci"])
    for f in (a["tie_discounted"], a["exact"], c["win"], c["tie"], c["lose"], c["equal_or_better"])
  ]
  wanted += [
    tables.number(a[k]["value"], ci=a[k]["ci"])
    for k in ("fleiss_kappa", "krippendorff_alpha_nominal")
  ]
  wanted += ["1 of 2", "anna – rm", "annotator – annotator", "50.0%", "5.00 [5.00, 5.00]"]
  return [w for w in wanted if w not in words(markup)]


def test_the_page_shows_the_figures(summary):
  made = pages.render(votes.page(summary, "votes.db"))
  assert absent(summary, made) == []
  assert "20.0%" in words(made)
  # The twin: a figure that is wrong is missed.
  value = tables.percent(summary["comparisons"][0]["win"]["value"])
  assert absent(summary, made.replace(value, "99.9%")) != []


def test_texts_are_escaped_and_nothing_is_loaded(summary):
  made = pages.render(votes.page(summary, EVIL))
  assert "<script" not in made
  assert html.escape(EVIL, quote=False)[:20] in made
  assert not re.search(r"(?:src|href)=\"(?!#)", made)
  # The twin: a template that did not escape would be noticed.
  assert "<script" in pages.render(votes.page(summary, EVIL), escape=False)


def test_the_bars_fill_their_width(summary):
  (line,) = votes.bars(summary)
  assert sum(line.count(block) for block in "█▒░") == votes.BAR
  assert "wins 47%, ties 20%, loses 33% of 15" in line


def test_votes_without_pairs_have_a_page_too():
  graded = [Vote("p", "anna", "dialogues", grades={"dialogues": ["fail", "excellent"]})]
  found = agreement.summary(Ballot(graded))
  made = words(pages.render(votes.page(found, "grades")))
  assert "No item was compared by two people" in made
  assert "dialogues" in made
  assert "excellent" in votes.text(found)


@pytest.fixture
def file(tmp_path):
  path = tmp_path / "votes.jsonl"
  rows = [
    {"prompt": f"p{i}", "a": "x", "b": "y", "annotator": who, "label": "A"}
    for i in range(3)
    for who in ("anna", "ben")
  ]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def test_the_command_prints_json_alone(file, tmp_path, capsys):
  page = tmp_path / "page.html"
  assert command.command(["--votes", str(file), "--json", "--page", str(page)]) == 0
  said = capsys.readouterr()
  assert json.loads(said.out)["agreement"]["tie_discounted"]["value"] == 1.0
  assert said.err == f"wrote {page}\n"
  assert page.read_text().startswith("<!DOCTYPE html>")


def test_the_command_prints_for_people(file, capsys):
  assert command.command(["--votes", str(file)]) == 0
  said = " ".join(capsys.readouterr().out.split())
  assert "x vs y" in said
  assert "agreement, ties discounted 100.0% [43.9%, 100.0%] 3 pairs of votes" in said


@pytest.mark.parametrize(
  ("arguments", "line"),
  [
    ([], "error: expected a votes.db, or --votes FILE; --help shows more"),
    (["--votes", "none.jsonl"], "error: none.jsonl: no such file"),
    (["none.db"], "error: none.db: no such file"),
    (
      ["--votes"],
      "error: argument --votes: expected at least one argument; --help shows what is expected",
    ),
  ],
)
def test_mistakes_are_a_line(arguments, line, capsys):
  assert command.command(arguments) == 2
  assert capsys.readouterr().err.strip() == line
