"""One file, made from what is there: every figure in it, every text escaped, nothing loaded."""

import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from made_up_chain import EVIL  # pyright: ignore[reportMissingImports]

from xwinjax.report import chain as xwin
from xwinjax.report import pages, tables
from xwinjax.report.chain_files import ORDER, Chain


@pytest.fixture(scope="module")
def made(work) -> str:
  return pages.render(xwin.page(work))


def words(markup: str) -> str:
  """What a reader sees, without tags and doubled spaces."""
  markup = re.sub(r"<(style|svg)\b.*?</\1>", " ", markup, flags=re.DOTALL)
  return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def absent(work: Chain, markup: str) -> list[str]:
  """The summary's figures that the page does not show."""
  seen, wanted = words(markup), []
  for row in xwin.summary(work)["stages"]:
    wanted += [
      tables.number(row["gold_mean"], ci=row["gold_ci"]),
      tables.number(row["rm_mean"], ci=row["rm_ci"]),
      tables.number(row["mean_length"], 1),
      tables.percent(row["win_rate_vs_previous"], row["win_rate_ci"]),
    ]
  return [w for w in wanted if w not in seen]


def test_page_shows_the_summary(work, made):
  assert absent(work, made) == []
  assert json.dumps(xwin.summary(work), indent=1, ensure_ascii=False) in html.unescape(made)
  for sentence in xwin.comparisons(work):
    assert sentence in words(made)


def test_page_twin_a_wrong_figure_is_noticed(work, made):
  shown = tables.number(xwin.summary(work)["stages"][2]["gold_mean"])
  assert absent(work, made.replace(shown, "9.99")) != []


def test_page_shows_texts_selection_and_speed(made):
  seen = words(made)
  for text in (
    "rs answer 9.0",
    "question 0 & <b>more</b>",
    "rank:4, random",
    "dpo done 12.5 s",
    "repeats drawn again 321",
    "ab" * 32,
    "1 x toy (cpu)",
  ):
    assert text in seen


def test_texts_are_escaped(made):
  assert EVIL not in made
  assert "<b>more</b>" not in made
  assert html.escape(EVIL) in made.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
  assert "<script" not in made


def test_texts_twin_without_escaping_they_are_markup(work):
  assert EVIL in pages.render(xwin.page(work), escape=False)


def loads(markup: str) -> list[str]:
  """What a browser would fetch for this page."""
  return re.findall(
    r"""(?:\b(?:src|srcset|data|action|poster)\s*=|\bhref\s*=(?!\s*["']\#)"""
    r"""|url\((?!\s*["']?\#)|@import)[^>]{0,40}"""
    r"|<(?:script|iframe|object|embed|link|base)\b",
    markup,
  )


def test_page_loads_nothing(made):
  assert loads(made) == []
  outside = set(re.findall(r"https?://[^\s\"'<]+", made))
  assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names only


@pytest.mark.parametrize(
  "added",
  [
    '<img src="https://x.org/a.png">',
    "<script>1</script>",
    '<link href="a.css">',
    "<style>@import 'a.css'</style>",
    "<p style='background:url(http://x)'>",
  ],
)
def test_page_loads_nothing_twin(made, added):
  assert loads(made + added) != []


def test_page_made_twice_is_the_same(chain, made):
  assert pages.render(xwin.page(Chain(chain))) == made


class _Tags(HTMLParser):
  VOID = ("meta", "br", "hr", "img", "input", "link")

  def __init__(self):
    super().__init__()
    self.open: list[str] = []
    self.wrong: list[str] = []
    self.ids: list[str] = []

  def handle_starttag(self, tag, attrs):
    self.ids += [value for name, value in attrs if name == "id" and value]
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.ids += [value for name, value in attrs if name == "id" and value]

  def handle_endtag(self, tag):
    if not self.open or self.open.pop() != tag:
      self.wrong.append(tag)


def test_tags_are_closed_ids_unique_and_contents_point_to_sections(made):
  tags = _Tags()
  tags.feed(made)
  assert (tags.open, tags.wrong) == ([], [])
  assert len(set(tags.ids)) == len(tags.ids)
  assert set(re.findall(r'<a href="#([^"]+)"', made)) <= set(tags.ids)


QUICK = ("world", "sft", "reward", "evaluate_sft", "select", "dpo")


STAGES = [s for s in ORDER if s not in ("choose", "token_gains")]  # those of the made-up chain


@pytest.mark.parametrize(
  "stage", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in STAGES]
)
def test_a_chain_killed_in_any_stage_has_its_report(killed, stage):
  work = Chain(killed(stage))
  made = pages.render(xwin.page(work))
  assert absent(work, made) == []
  state = "begun, 200 steps" if stage == "pretrain" else "begun"
  assert f"{stage} {state}" in words(made)
  assert "Not evaluated yet:" in words(made)


def test_a_single_evaluation_is_enough(chain, tmp_path):
  shutil.copytree(chain / "evaluate_rs", tmp_path / "evaluate_rs")
  work = Chain(tmp_path)
  assert absent(work, pages.render(xwin.page(work))) == []


def test_without_gold_the_reward_model_judges_and_the_page_says_so(chain_without_gold):
  work = Chain(chain_without_gold)
  seen = words(pages.render(xwin.page(work)))
  summary = xwin.summary(work)
  assert summary["stages"][1]["gold_mean"] is None
  assert tables.number(summary["stages"][3]["rm_mean"], ci=summary["stages"][3]["rm_ci"]) in seen
  assert "There is no gold score here" in seen
  assert "RM points" in seen
  assert "Gold score" not in seen
  assert "pretrain" not in seen


def test_sample_prompts_are_spread_evenly_and_always_the_same(work):
  assert pages.spread_out(3, 9) == [0, 4, 8]
  assert pages.spread_out(8, 3) == [0, 1, 2]
  shown = xwin.texts_table(work)
  assert [row[0].turns[0]["content"][:10] for row in shown.rows][:2] == ["question 0", "question 1"]
  assert len(shown.rows) == xwin.TEXTS
  assert shown.head == ("prompt", "Base", "SFT", "RS", "DPO")
  assert [cell.words.split()[0] for cell in shown.rows[0][1:]] == ["base", "sft", "rs", "dpo"]
