"""Rows to choose from: conversations of any format, questions with answers, articles.

  Stack Exchange  {"title"?, "question" | "body", "answers": [{"text" | "body", "score" |
                  "pm_score" | "votes"}, …], "score"?, "tags"?, "site"?}: the best answer is taken
  Reddit          {"title", "selftext"?, "comments": [{"body", "score"}, …]}, or answers as columns,
                  {"text": […], "score": […]}, as ELI5 has them; what was deleted is left out
  wikiHow         {"title": "How to …", "text", "headline"?}: the article answers its title

Texts in HTML become plain ones.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xwinjax.core.extras import needs
from xwinjax.data import fields, formats, rows
from xwinjax.data import read as read_files
from xwinjax.data.records import Counts, Example, Message, Messages

Row = dict[str, Any]
SCORES = ("score", "pm_score", "votes")
ANSWERS = ("answers", "comments")
_DELETED = ("[deleted]", "[removed]", "")
_OPENING = re.compile(r"^This article\b")
_TAG = re.compile(r"</?(?:p|a|pre|code|ul|ol|li|em|strong|blockquote|br|h[1-6]|img|hr|div|span)\b")


@dataclasses.dataclass(frozen=True)
class Entry:
  """An example that may be chosen."""

  id: str
  messages: Messages
  source: str  # the file's name, or what it was called
  domain: str  # a part of it: a site, a category, a tag; "" where there is none
  score: float | None  # of the answer, where the row says

  @property
  def prompt(self) -> str:
    return "\n".join(m.content for m in self.messages[:-1] if m.role != "system")

  @property
  def answer(self) -> str:
    return self.messages[-1].content

  def example(self) -> Example:
    meta = {"source": self.source, "domain": self.domain, "score": self.score}
    return Example(self.id, self.messages, {k: v for k, v in meta.items() if v not in ("", None)})


def plain(text: str) -> str:
  """HTML as text: links and images are left out, code blocks and lists stay.

  Source: LIMA, section 2.1, which keeps only code blocks and lists of the answers' HTML.
  """
  if not _TAG.search(text):
    return text.strip()
  with needs("curate"):
    from markdownify import markdownify
  kept = markdownify(
    text,
    convert=["p", "br", "pre", "code", "ul", "ol", "li"],
    escape_asterisks=False,
    escape_underscores=False,
    escape_misc=False,
    bullets="-",
  )
  return re.sub(r"\n{3,}", "\n\n", kept).strip()


def _first(row: Row, names: tuple[str, ...]) -> Any:
  return next((row[n] for n in names if row.get(n) is not None), None)


def number(value: Any, where: str) -> float | None:
  if value is None:
    return None
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    raise ValueError(f"{where}: found {value!r:.40}, expected a number")
  return float(value)


def _answers(row: Row) -> list[Any] | None:
  """The answers of a question, told by rows or by columns; None where there are none."""
  found = _first(row, ANSWERS)
  if isinstance(found, dict) and all(isinstance(v, list) for v in found.values()):
    found = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
  return found if isinstance(found, list) else None


def is_question(row: Row) -> bool:
  """Whether a row is a question with answers, as Stack Exchange and Reddit have them."""
  return _answers(row) is not None and bool({"question", "title", "body"} & row.keys())


def is_article(row: Row) -> bool:
  """Whether a row is wikiHow-like."""
  title, text = row.get("title"), row.get("text")
  how = isinstance(title, str) and title.lower().startswith("how to ")
  return how and isinstance(text, str)


def _article(row: Row) -> Messages:
  """The title asks, the text answers.

  Source: LIMA, section 2.1, whose "The following answer …" stands for "This article …".
  """
  title = row["title"].strip().rstrip("0123456789")  # the data set numbers an article's methods
  text = _OPENING.sub("The following answer", plain(row["text"]))
  if not text:
    raise formats.Drop("no answer")
  return (Message("user", title), Message("assistant", text))


def _question(row: Row, rng: random.Random) -> tuple[Messages, float | None]:
  """(the question with its best answer, that answer's score).

  Title or body is the prompt, at random where there are both, as in the paper.
  """
  question = row.get("question")
  if isinstance(question, dict):
    row = {**row, **question}
  elif isinstance(question, str):
    row = {**row, "body": row.get("body") or question}
  texts = (row.get("title"), _first(row, ("body", "selftext")))
  asked = [plain(t) for t in texts if isinstance(t, str) and t.strip() not in _DELETED]
  answers: list[tuple[float, int, str]] = []
  for i, a in enumerate(_answers(row) or ()):
    if not isinstance(a, dict):
      raise ValueError(f"answers[{i}]: found {type(a).__name__}, expected an object")
    text = _first(a, ("text", "body"))
    if not isinstance(text, str):
      raise ValueError(f"answers[{i}]: has no 'text' or 'body'")
    if text.strip() in _DELETED:
      continue
    score = number(_first(a, SCORES), f"answers[{i}]")
    answers.append((score if score is not None else 0.0, -i, text))
  if not asked:
    raise formats.Drop("no question")
  if not answers:
    raise formats.Drop("no answer")
  score, _, best = max(answers)
  return (Message("user", rng.choice(asked)), Message("assistant", plain(best))), score


def _conversation(row: Row, format: str) -> Messages:
  """A conversation that ends with an answer."""
  name = formats.detect(row, "example") if format == "auto" else format
  messages = formats.parse_conversation(row, name)
  if messages[-1].role != "assistant":
    messages = messages[:-1]
  if not messages or messages[-1].role != "assistant" or not messages[-1].content.strip():
    raise formats.Drop("no answer")
  return tuple(dataclasses.replace(m, content=plain(m.content)) for m in messages)


def _domain(row: Row, field: str) -> str:
  value = row.get(field) if field else None
  if isinstance(value, list):
    value = value[0] if value else ""
  return str(value or "")


def read(
  spec: str,
  format: str,
  score_field: str,
  domain_field: str,
  seed: int,
  counts: Counts,
  bad_rows: str = "stop",
) -> Iterator[Entry]:
  """The entries of NAME=FILE or FILE; the name is the file's without its ending.

  FILE may be what `rows.files` takes.

  Raises: UserError naming file and line for malformed rows.
  """
  name, _, file = spec.rpartition("=")
  source = name or Path(file).name.split(".")[0]
  rng = random.Random(f"curate-{source}-{seed}")
  bad, names = rows.BadRows(bad_rows, counts), read_files.Names(())
  for path, line, row in rows.read(file, bad):
    counts["read"] += 1
    try:
      if is_question(row):
        messages, score = _question(row, rng)
      elif is_article(row):
        messages, score = _article(row), None
      else:
        messages, score = _conversation(row, format), None
      if score_field in row or score is None:
        score = number(row.get(score_field), score_field) if score_field else score
    except formats.Drop as reason:
      counts[str(reason)] += 1
      continue
    except fields.MISTAKES as e:
      bad.add(path, line, str(e))
      continue
    given = row.get("id", row.get("qid"))
    id = f"{source}-{given if isinstance(given, (str, int)) else line}"
    if bad.skip or not bad.reasons:
      yield Entry(names.give(id), messages, source, _domain(row, domain_field), score)
  bad.end()
