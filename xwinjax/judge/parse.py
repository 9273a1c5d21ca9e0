"""A judge's score, read from what the judge wrote.

Read is what a person reads without a doubt, in the forms that judges use (`Score: 4`, `4.0/5.0`,
`[[4]]`, `[RESULT] 4`, `4/5` alone, JSON and their like) on the last line, or on the first where
nothing behind could change it. What a judge quotes from the answer (in quotation marks, backticks,
a quoted block or a fence) is nobody's score, and neither is one that the answer itself holds. Where
anything is unclear there is none: a missing score is counted, an invented one would be trained on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from typing import Any

NO_VERDICT = "no line with a verdict"
NO_SCORE = "no line with a score"
NOT_LAST = "the score is not the last line"
SEVERAL = "several scores"
OUTSIDE = "a score outside the scale"
ECHO = "the answer holds the same score"
CUT_OFF = "cut off before its end"
TOO_LONG = "the judge's prompt does not fit the model"

_QUOTED = re.compile(
  r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`]*`|\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»"
  r"|(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)‘[^’\n]*’(?!\w)|^[ \t]*>[^\n]*",
  re.DOTALL | re.MULTILINE,
)
# What stands behind a judge's last word: blanks, end tokens, rules.
_END = re.compile(r"(?:\s|</s>|<\|(?:im_end|eot_id|endoftext|end|eot)\|>|\n[-=*_]{3,}(?=\s|\Z))+\Z")

_SIGNS = str.maketrans({"：": ":", "⟦": "[[", "⟧": "]]"})
_NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?"
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_KIND = (
  r"(?:(?:so|the|my|total|final|overall)\s+)*(?:score|rating|grade)|(?:total|final|overall) points"
)
_OF = r" ?(?:/|out of) ?"  # before a maximum
_SCALE = r"(?: ?\((?:(?:[01] ?(?:-|–|to) ?)|out of )(?P<scale>[0-9]+)\))?"
_GIVEN = r"I(?:'d| would)? (?:give|award|rate|grade) (?:it|this|(?:this|the) (?:answer|response))"
_SCORE = re.compile(
  rf"(?:(?:{_KIND}){_SCALE}(?: ?(?:[:=]|->|→) ?| is:? |(?P<loose> of | [-–—] | ))"
  rf"|{_GIVEN}(?: an?)?(?: (?:score|rating) of)? )"
  rf"(?P<score>{_NUMBER})(?:{_OF}(?P<most>[0-9]+(?:\.[0-9]+)?))?"
  rf"(?: ?\((?P<word>{'|'.join(_WORDS)})\))?"
  r"(?: (?:points?|stars?)(?: out of (?P<top>[0-9]+))?)?(?P<rest>.*)",
  re.IGNORECASE,
)
# Forms that nobody writes by chance; they may end a line of prose.
_MARK = re.compile(
  rf".*?(?:\[RESULT\] ?:? ?\(?(?P<a>{_NUMBER})\)?|\[\[(?P<b>{_NUMBER})\]\])"
  rf"(?:{_OF}(?P<most>[0-9]+(?:\.[0-9]+)?))?\.?",
  re.IGNORECASE,
)
_FRACTION = re.compile(rf"(?<![\w./])(?P<score>{_NUMBER}){_OF}(?P<most>[0-9]+(?:\.[0-9]+)?)")
_HELD = re.compile(
  rf"(?:score|rating|grade|total points|result\]|\[\[|⟦)[^\n0-9]{{0,12}}?(?P<score>{_NUMBER})", re.I
)

_WHO = r"(?:answer |assistant |response )?"
_BETTER = re.compile(
  r"(?:(?:so|the|my|final)\s+)*(?:better|verdict|winner|choice|decision|preference)"
  rf"(?: answer| response)?(?: ?[:=] ?| is:? ){_WHO}(?P<which>A|B|tie|neither|draw)(?P<rest>.*)",
  re.IGNORECASE,
)
_IS_BETTER = re.compile(
  r"(?:answer|assistant|response) (?P<which>A|B) is (?:the )?better(?P<rest>.*)", re.I
)
_BETTER_MARK = re.compile(
  r".*?(?:\[RESULT\] ?:? ?(?P<a>A|B|tie)|\[\[(?P<b>A|B|C|tie)\]\])\.?", re.I
)
_VERDICTS = {"a": 1.0, "b": -1.0, "c": 0.0, "tie": 0.0, "neither": 0.0, "draw": 0.0}

_VALUE = re.compile(rf"(?:{_NUMBER}(?:{_OF}[0-9.]+)?|A|B|tie)\.?", re.I)

# What a judge may add behind a score: words that begin like a reason, and none that changes it.
_REASON = re.compile(r" ?[-–—] | ?[,;.:] | ?\(| (?=because |since )")
_DOUBT = re.compile(
  rf"[0-9½¼¾]|\b(?:{'|'.join(_WORDS)}|half|minus|plus|instead|actually|wait|unless|reconsider\w*"
  r"|correct(?:ion|ed)|changed?|rather|rubric|wrong"
  r"|too (?:high|low|much|little|generous|harsh))\b|\A(?:or|to|and|maybe|perhaps|no|not|if|but)\b",
  re.IGNORECASE,
)
_OBJECT = re.compile(r"(?:.*\n)?\s*(\{[^{}]*\})\s*", re.DOTALL)
_FENCED = re.compile(r"\s*```(?:json)?\s*(\{[^{}]*\})\s*```\s*", re.DOTALL)
_SCORE_KEY = re.compile(r"(?:(?:final|overall|total)[ _]?)?(?:score|rating|grade)", re.I)
_BETTER_KEY = re.compile(r"(?:final[ _]?)?(?:verdict|winner|better|choice|preference)", re.I)


@dataclasses.dataclass(frozen=True)
class Reading:
  """A score, or None and the reason why there is none."""

  score: float | None
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class _Given:
  """What a line gives: a score, and the maxima that it names."""

  score: float
  most: tuple[float, ...] = ()
  alone: bool = False  # a fraction that no word calls a score


def _plain(line: str) -> str:
  """A line without what only dresses it: emphasis, a bullet, a box, tags, brackets of a value."""
  line = re.sub(r"[*_#⭐★]+", " ", line.translate(_SIGNS))
  line = re.sub(r"\A\s*[-•+]\s+", "", line)
  line = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", line)
  line = re.sub(r"<(score|rating)>([^<>]*)</\1>", r"\1: \2", line, flags=re.IGNORECASE)
  return re.sub(r"\s+", " ", line).strip()


def _bare(line: str) -> str:
  """The same with no brackets around values: `Score: [[4]]`, `<4>`, `(4)`."""
  value = rf"{_NUMBER}(?: ?(?:/|out of) ?[0-9.]+)?|A|B|tie|neither|draw"
  for left, right in ((r"\[\[", r"\]\]"), (r"\[", r"\]"), ("<", ">"), (r"(?<=[:=] )\(", r"\)")):
    line = re.sub(rf"{left}({value}){right}", r"\1", line)
  return line


def _harmless(rest: str, doubt: str = "") -> bool:
  """Whether what stands behind a score is nothing, or a reason that leaves the score as it is."""
  if rest.strip(" .") == "":
    return True
  separator = _REASON.match(rest)
  reason = rest[separator.end() :] if separator else ""
  changed = _DOUBT.search(reason) or (doubt and re.search(doubt, reason))
  return reason[:1].isalpha() and not changed


def _score(line: str) -> _Given | None:
  line = _plain(line)
  if m := _MARK.fullmatch(line):
    one = len(re.findall(r"\[\[|\[RESULT", line)) == 1
    return _Given(float(m["a"] or m["b"]), _named(m, "most")) if one else None
  m = _SCORE.fullmatch(_bare(line))
  if not m or not _harmless(m["rest"]) or (m["loose"] and m["rest"].strip(" .")):
    return None
  if m["loose"] == " - " and not m["most"]:  # or a minus: "Deduction for length. Score - 1"
    return None
  if m["word"] and _WORDS.index(m["word"].lower()) != float(m["score"]):
    return None
  return _Given(float(m["score"]), _named(m, "most", "scale", "top"))


def _named(m: re.Match[str], *groups: str) -> tuple[float, ...]:
  """The maxima that a match holds."""
  return tuple(float(m[group]) for group in groups if m[group])


def _verdict(line: str) -> _Given | None:
  line = _plain(line)
  if m := _BETTER_MARK.fullmatch(line):
    given = m["a"] or m["b"]
    return _Given(_VERDICTS[given.lower()]) if len(re.findall(r"\[\[|\[RES", line)) == 1 else None
  m = _BETTER.fullmatch(_bare(line)) or _IS_BETTER.fullmatch(line)
  if not m or not _harmless(m["rest"], r"\b[AB]\b|\b(?:tie|draw|neither|both)\b"):
    return None
  return _Given(_VERDICTS[m["which"].lower()])


def _object(text: str, key: re.Pattern[str], read: Callable[[str], _Given | None]) -> list[_Given]:
  """What the keys of a JSON object say that is all of a text, or the end of one."""
  m = _FENCED.fullmatch(text) or (_OBJECT.fullmatch(text) if text.count("```") % 2 == 0 else None)
  if not m:
    return []
  try:
    pairs: Any = json.loads(m[1], object_pairs_hook=list)
  except ValueError:
    return []
  found = []
  for name, value in pairs:
    if key.fullmatch(name.strip()) and isinstance(value, (str, int, float)):
      given = read("" if isinstance(value, bool) else str(value))
      found.append(given or _Given(math.nan))
  return found


def _of_lines(lines: list[str], of_line: Callable[[str], _Given | None]) -> list[_Given | None]:
  """What each line gives; a value alone on its line belongs to the heading above it."""
  given = [of_line(line) for line in lines]
  for i in range(1, len(lines)):
    value = _plain(lines[i])
    if given[i] is None and _VALUE.fullmatch(_bare(value)):
      given[i] = of_line(f"{_plain(lines[i - 1]).rstrip(' :')}: {value}")
  if given and given[-1] is None and (fraction := _alone(lines, given)):
    last = of_line(f"score: {fraction}")
    given[-1] = last and dataclasses.replace(last, alone=True)
  return given


def _alone(lines: list[str], given: list[_Given | None]) -> str:
  """A last line that is a fraction, `6/10`, where nothing makes it the part of a score.

  That would be a heading above it, or another fraction of the same maximum.
  """
  last = _bare(_plain(lines[-1])).rstrip(".")
  if not (m := _FRACTION.fullmatch(last)):
    return ""
  if len(lines) > 1 and not re.search(r"[.!?…\])}]\W*\Z", lines[-2]):
    return ""
  unread = (line for line, g in zip(lines[:-1], given, strict=False) if g is None)
  others = {float(f["most"]) for line in unread for f in _FRACTION.finditer(line)}
  return "" if float(m["most"]) in others else last


def _read(
  text: str,
  of_line: Callable[[str], _Given | None],
  of_object: Callable[[str], list[_Given]],
  none: str,
  ended: bool,
) -> _Given | str:
  """What a judge gives, or why it gives nothing."""
  text = text[: m.start()] if (m := _END.search(text)) else text
  objects = of_object(text)
  lines = [line for line in _QUOTED.sub('""', text).splitlines() if line.strip()]
  given = _of_lines(lines, of_line)
  found = objects or [g for g in given if g]
  if not found:
    return none if ended else CUT_OFF
  if not ended:
    return CUT_OFF
  found += [g for g in given if g and objects]
  if len({g.score for g in found}) > 1:
    return SEVERAL
  if objects or given[-1] is not None:
    return found[-1]
  if given[0] is None or any(given[1:]) or not all(map(_prose, lines[1:])):
    return NOT_LAST
  return given[0]


def _prose(line: str) -> bool:
  """Whether a line behind a score leaves it as it is, and is nobody else's turn."""
  return not _DOUBT.search(line) and not re.match(
    r"\W*(?:[A-Z]{3,}|User|Human|Assistant)\W*:", line
  )


def read_better(text: str, *, ended: bool = True) -> Reading:
  """Which of two answers a judge prefers: 1 the first (A), -1 the second (B), 0 neither.

  The rules are those of `read_score`, for `Better: A`, `[[B]]`, `Final verdict: tie`, ….

  >>> read_better("A is to the point.\\nBetter: A").score
  1.0
  """
  of_value = lambda value: _verdict(f"verdict: {value}")
  given = _read(text, _verdict, lambda t: _object(t, _BETTER_KEY, of_value), NO_VERDICT, ended)
  if isinstance(given, str):
    return Reading(None, given)
  return Reading(None, NO_VERDICT) if math.isnan(given.score) else Reading(given.score)


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
  of_value = lambda value: _score(f"score: {value}")
  given = _read(text, _score, lambda t: _object(t, _SCORE_KEY, of_value), NO_SCORE, ended)
  if isinstance(given, str):
    return Reading(None, given)
  if math.isnan(given.score):
    return Reading(None, NO_SCORE)
  if not low <= given.score <= high or any(most != high for most in given.most):
    return Reading(None, OUTSIDE)
  held = {float(m["score"]) for m in _HELD.finditer(answer)}
  lines = [line.lstrip("> ") for line in answer.splitlines() if line.strip()]
  if given.alone:
    held |= {float(m["score"]) for m in _FRACTION.finditer(answer)}
  if given.score in held | {g.score for g in _of_lines(lines, _score) if g}:
    return Reading(None, ECHO)
  return Reading(given.score)
