"""The page that compares systems: figures in it, texts that stay texts, nothing loaded."""

import json
import re

import pytest

from experiments import compare as command
from xwinjax.eval import answers, comparison
from xwinjax.report import compare, pages

EVIL = '</script><img src=x onerror="document.title=1"> & <!--'


@pytest.fixture
def place(tmp_path):
  """Annotations of two models against one reference; every text would run if it could."""
  rows = [
    {
      "instruction": f"{EVIL} {i}", "output_1": f"ref {EVIL}", "generator_1": "ref",
      "output_2": f"{name} says {'more' * i}", "generator_2": name, "annotator": "gpt",
      "preference": 1 + (i + shift) % 3 / 2, "dataset": f"d{i % 2}",
    }
    for name, shift in (("one", 0), ("two", 1))
    for i in range(12)
  ]  # fmt: skip
  path = tmp_path / "annotations.json"
  path.write_text(json.dumps(rows))
  return path


def render(place, **how):
  found = answers.read([str(place)])
  summary = comparison.summary(found)
  return summary, pages.render(compare.page(summary, comparison.samples(found), EVIL), **how)


def test_win_rates_and_strengths_are_on_the_page(place):
  summary, made = render(place)
  view = summary["views"]["gpt"]
  cells = [*compare.matrix(view).rows, *compare.strength_table(view).rows]
  wanted = [c for row in cells for c in row if "[" in c]
  shown = re.sub(r"<[^>]+>|\s+", " ", made)
  strip = lambda text: re.sub(r"\s+", "", text)
  assert len(wanted) == 7
  assert all(strip(c) in strip(shown) for c in wanted)


def test_the_matrix_holds_each_pair_from_both_sides(place):
  view = render(place)[0]["views"]["gpt"]
  table = compare.matrix(view)
  share = lambda a, b: float(
    next(r for r in table.rows if r[0] == a)[table.head.index(b)].split("%")[0]
  )
  assert share("one", "ref") + share("ref", "one") == pytest.approx(100)
  assert next(r for r in table.rows if r[0] == "one")[table.head.index("two")] == "–"


def test_texts_run_nothing_and_nothing_is_loaded(place):
  _, made = render(place)
  assert "<img" not in made
  assert made.count("<script") == made.count("</script>") == 2  # the data, and what shows it
  assert not re.search(r"(?:src|href)=\"(?!#)|https?://(?!www\.w3\.org)", made)
  # The twin: a template that did not escape would be noticed.
  assert "<img" in render(place, escape=False)[1]


def test_the_page_holds_every_answer_as_it_was(place):
  _, made = render(place)
  data = json.loads(re.findall(r'id="samples">(.*?)</script>', made, re.DOTALL)[0])
  assert data["of"] == len(data["items"]) == 12
  item = data["items"][3]
  assert item["prompt"] == [{"role": "user", "content": f"{EVIL} 3"}]
  assert item["answers"]["two"]["text"] == "two says moremoremore"
  assert item["said"]["gpt"] == [["ref", "one", 1.0], ["ref", "two", 0.5]]


def test_the_command_writes_the_page_and_tells_the_figures(place, tmp_path, capsys):
  page = tmp_path / "c.html"
  assert command.command([str(place), f"--page={page}", "--most=5"]) == 0
  out, _ = capsys.readouterr()
  assert "By gpt: strengths in points" in out
  assert "5 of 12 prompts, spread evenly" in page.read_text()
  assert command.command([str(place), "--json"]) == 0
  assert list(json.loads(capsys.readouterr()[0])["views"]) == ["gpt"]
  assert command.command([str(tmp_path / "none")]) == 2
