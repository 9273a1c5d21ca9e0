"""Rows of Stack Exchange's and Alpaca's kind become entries."""

import pytest

from xwinjax.core.errors import UserError
from xwinjax.curate import entries
from xwinjax.data import jsonl
from xwinjax.data.records import Counts


def read(path, **fields):
  counts = Counts()
  settings = {"format": "auto", "score_field": "score", "domain_field": "site", "seed": 0} | fields
  found = list(entries.read(str(path), counts=counts, **settings))
  return found, counts


def test_the_best_answer_of_a_question_is_taken(tmp_path):
  path = jsonl.write_rows(
    tmp_path / "posts.jsonl",
    [
      {
        "qid": 7,
        "site": "cooking",
        "title": "Why salt?",
        "answers": [
          {"text": "<p>For <b>taste</b>.</p>", "score": 3},
          {"body": "Habit.", "pm_score": 9},
          {"text": "Later.", "votes": 9},
        ],
      },
      {"question": "What is a plum?", "answers": [{"text": "A fruit."}]},
      {"title": "Nobody knows?", "answers": []},
      {"title": "", "answers": [{"text": "x"}]},
    ],
  )
  found, counts = read(path)
  assert [(e.id, e.prompt, e.answer, e.score, e.domain) for e in found] == [
    ("posts-7", "Why salt?", "Habit.", 9.0, "cooking"),
    ("posts-2", "What is a plum?", "A fruit.", 0.0, ""),
  ]
  assert counts == {"read": 4, "no answer": 1, "no question": 1}


def test_reddits_best_comment_is_taken(tmp_path):
  """Comments by row, or answers by column; what was deleted asks and answers nothing."""
  rows = [
    {"id": "t3", "title": "Why salt?", "selftext": "[removed]", "comments": [
      {"body": "[deleted]", "score": 99}, {"body": "Taste.", "score": 5},
      {"body": "No.", "score": -2}]},
    {"title": "Why ice?", "answers": {"text": ["Cold.", "Frost."], "score": [1, 7]}},
    {"title": "Gone?", "comments": [{"body": "[removed]", "score": 3}]},
  ]  # fmt: skip
  found, counts = read(jsonl.write_rows(tmp_path / "reddit.jsonl", rows))
  assert [(e.id, e.prompt, e.answer, e.score) for e in found] == [
    ("reddit-t3", "Why salt?", "Taste.", 5.0),
    ("reddit-2", "Why ice?", "Frost.", 7.0),
  ]
  assert counts["no answer"] == 1


def test_an_article_answers_its_title(tmp_path):
  rows = [
    {"title": "How to Peel a Plum2", "headline": "Cut.",
      "text": "This article helps. This article ends."},
    {"title": "How to Do Nothing", "text": " "},
  ]  # fmt: skip
  (entry,), counts = read(jsonl.write_rows(tmp_path / "wikihow.jsonl", rows))
  assert entry.prompt == "How to Peel a Plum"
  assert entry.answer == "The following answer helps. This article ends."
  assert counts["no answer"] == 1


def test_html_becomes_text_with_its_code_and_lists():
  html = (
    '<p>Use <a href="http://x.y">this</a> &amp; <em>that</em>:</p><pre><code>a = b_c * 2\n'
    "</code></pre><ul><li>one</li><li>two</li></ul><img src='z.png' alt=''>"
  )
  text = entries.plain(html)
  assert "http" not in text
  assert "z.png" not in text
  assert "Use this & that:" in text
  assert "```\na = b_c * 2\n```" in text
  assert "- one\n- two" in text
  assert entries.plain("1 < 2 and b > a_b * c") == "1 < 2 and b > a_b * c"  # no HTML at all


def test_title_or_body_is_asked_at_random_but_always_the_same(tmp_path):
  rows = [
    {"title": f"title {i}", "body": f"<p>body {i}</p>", "answers": [{"text": "y"}]}
    for i in range(40)
  ]
  path = jsonl.write_rows(tmp_path / "p.jsonl", rows)
  asked = [e.prompt.split()[0] for e in read(path)[0]]
  assert {"title", "body"} == set(asked)
  assert asked == [e.prompt.split()[0] for e in read(path)[0]]
  assert asked != [e.prompt.split()[0] for e in read(path, seed=1)[0]]


def test_alpaca_rows_with_a_judges_score(tmp_path):
  path = jsonl.write_rows(
    tmp_path / "a.jsonl",
    [
      {"instruction": "Add.", "input": "1 + 1", "output": "2", "score": 4.5, "category": "math"},
      {"instruction": "Say hi.", "input": "", "output": "Hi."},
      {"instruction": "Say nothing.", "input": "", "output": " "},
    ],
  )
  found, counts = read(path, domain_field="category")
  assert [(e.prompt, e.answer, e.score, e.domain) for e in found] == [
    ("Add.\n1 + 1", "2", 4.5, "math"),
    ("Say hi.", "Hi.", None, ""),
  ]
  assert counts["no answer"] == 1
  assert found[0].example().meta == {"source": "a", "domain": "math", "score": 4.5}


def test_a_source_may_be_named(tmp_path):
  path = jsonl.write_rows(tmp_path / "a.jsonl", [{"prompt": "Hi?", "completion": "Hi."}])
  assert read(f"mine={path}")[0][0].source == "mine"


@pytest.mark.parametrize(
  ("row", "said"),
  [
    ({"title": "x", "answers": ["y"]}, r"answers\[0\]: found str, expected an object"),
    ({"title": "x", "answers": [{"score": 1}]}, r"answers\[0\]: has no 'text' or 'body'"),
    ({"title": "x", "answers": [{"text": "y", "score": "5"}]}, "found '5', expected a number"),
    ({"prompt": "x", "completion": "y", "score": True}, "found True, expected a number"),
    ({"foo": 1}, "unknown format"),
  ],
)
def test_rows_that_are_wrong_are_named_by_line(tmp_path, row, said):
  path = jsonl.write_rows(tmp_path / "a.jsonl", [{"prompt": "Hi?", "completion": "Hi."}, row])
  with pytest.raises(UserError, match=f"a.jsonl:2: .*{said}"):
    read(path)
