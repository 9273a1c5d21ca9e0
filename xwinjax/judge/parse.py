"""A judge's score, read from what the judge wrote.

The score is the last line and stands alone on it: `Score: 4`. What a judge quotes from the answer
(in quotation marks, backticks, a quoted block or a fence) is nobody's score, and neither is one
that the answer itself holds. Where anything is unclear there is none: a missing score is counted,
an invented one would be trained on.
"""

from __future__ import annotations

import dataclasses
import re

NO_VERDICT = "no line with a verdict"
NO_SCORE = "no line with a score"
NOT_LAST = "the score is not the last line"
SEVERAL = "several scores"
OUTSIDE = "a score outside the scale"
ECHO = "the answer holds the same score"
CUT_OFF = "cut off before its end"
TOO_LONG = "the judge's prompt does not fit the model"

# **Score:** 4 · Score: 4/5 · Score: 4 out of 5 · Score: [4] · Total score: 4 points.
_LINE = re.compile(
  r"[*_#\s]*(?:(?:total|final|overall)\s+)?score[*_]*\s*[:=][*_\s]*"
  r"(?P<open>[<\[(]?)(?P<score>[+-]?[0-9]+(?:\.[0-9]+)?)"
  r"(?:\s*(?:/|out of)\s*(?P<most>[0-9]+))?(?P<close>[>\])]?)"
  r"(?:\s*points?)?[*_]*\.?[*_\s]*",
  re.IGNORECASE,
)
_QUOTED = re.compile(
  r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`]*`|\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»"
  r"|(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)‘[^’\n]*’(?!\w)|^[ \t]*>[^\n]*",
  re.DOTALL | re.MULTILINE,
)
_BETTER = re.compile(
  r"[*_#\s]*better[*_]*\s*:[*_\s]*(?:answer\s+)?[\[<(]?(?P<which>A|B|tie|neither)[\]>)]?"
  r"[*_]*\.?[*_\s]*",
  re.IGNORECASE,
)
_PAIRS = {"": "", "<": ">", "[": "]", "(": ")"}


@dataclasses.dataclass(frozen=True)
class Reading:
  """A score, or None and the reason why there is none."""

  score: float | None
  reason: str = ""


def _lines(text: str) -> list[str]:
  """The lines that are not empty, with nothing in them that is quoted."""
  return [line for line in _QUOTED.sub('""', text).splitlines() if line.strip()]


def read_better(text: str, *, ended: bool = True) -> Reading:
  """Which of two answers a judge prefers: 1 the first (A), -1 the second (B), 0 neither.

  The rules are those of `read_score`; the last line is `Better: A`, `B` or `tie`.

  >>> read_better("A is to the point.\\nBetter: A").score
  1.0
  """
  of_lines = [_BETTER.fullmatch(line) for line in _lines(text)]
  matches = [m for m in of_lines if m]
  if not matches or not ended:
    return Reading(None, NO_VERDICT if ended else CUT_OFF)
  if of_lines[-1] is None:
    return Reading(None, NOT_LAST)
  given = {m["which"].lower() for m in matches}
  if len(given) > 1:
    return Reading(None, SEVERAL)
  return Reading({"a": 1.0, "b": -1.0}.get(given.pop(), 0.0))


def read_score(
  text: str, low: float = 0, high: float = 5, *, answer: str = "", ended: bool = True
) -> Reading:
  """The score that a judge gave.

  Args:
    text: what the judge wrote, without the prompt it was asked with.
    low, high: the scale's ends; a score beyond them, or out of another maximum, is none.
    answer: what was judged. A score that it holds too may be a repetition, and counts as missing.
    ended: whether the judge came to an end. A text that was cut off has no last line.

  >>> read_score("Right, and short.\\nScore: 4").score
  4.0
  >>> read_score('It says "Score: 5" of itself.').reason
  'no line with a score'
  """
  of_lines = [_LINE.fullmatch(line) for line in _lines(text)]
  matches = [m for m in of_lines if m and m["close"] == _PAIRS[m["open"]]]
  if not matches:
    return Reading(None, NO_SCORE if ended else CUT_OFF)
  if not ended:
    return Reading(None, CUT_OFF)
  if of_lines[-1] is not matches[-1]:
    return Reading(None, NOT_LAST)
  if len({float(m["score"]) for m in matches}) > 1:
    return Reading(None, SEVERAL)
  score, most = float(matches[-1]["score"]), matches[-1]["most"]
  if not low <= score <= high or (most is not None and float(most) != high):
    return Reading(None, OUTSIDE)
  if any(float(m["score"]) == score for m in _LINE.finditer(answer)):
    return Reading(None, ECHO)
  return Reading(score)
