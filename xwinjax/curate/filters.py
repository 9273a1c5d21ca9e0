"""Why an example is dropped: score, length, style, contamination.

Source: LIMA (Zhou et al. 2023), section 2.1: answers with too few votes, under 1,200 or over 4,096
characters, in the first person, or that refer to other answers are left out. The word lists are
ours.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from xwinjax.core.bounds import Finite, Natural, Positive
from xwinjax.core.errors import UserError
from xwinjax.curate.entries import Entry
from xwinjax.data import rouge

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_QUOTED = re.compile(r"[\"“][^\"”\n]*[\"”]")
_FIRST = re.compile(r"\b(?:I|I['’](?:m|ve|d|ll)|my|mine|myself)\b")
_ELSEWHERE = re.compile(
  r"\b(?:as (?:I |was |already )?(?:mentioned|said|noted|pointed out|stated|explained) "
  r"(?:above|before|below|earlier|previously|in|by)|as mentioned|(?:the )?(?:other|previous|above"
  r"|accepted|top) (?:answers?|repl(?:y|ies)|comments?|posts?)|stack ?(?:exchange|overflow)"
  r"|see (?:above|below)|(?:in|from) the comments|(?:your|the|this|original) (?:question|post)"
  r"|the OP|downvot\w+|upvot\w+)\b|^\s*(?:edit|update) ?\d*:|@[A-Za-z]\w+",
  re.IGNORECASE | re.MULTILINE,
)
_LINK = re.compile(r"https?://|www\.|\[[^\]]*\]\([^)]*\)|!\[")


@dataclasses.dataclass(frozen=True)
class FilterConfig:
  """What an example must be."""

  least_score: Finite = 10.0  # of answers whose score is known
  need_score: bool = False  # drop answers whose score is not
  shortest: Natural = 1200  # characters of the answer
  longest: Positive = 4096
  longest_prompt: Positive = 2048  # characters
  first_person: bool = True  # drop answers with I, my, … outside of code and quotation marks
  elsewhere: bool = True  # drop answers that refer to other answers, the question or the site
  links: bool = True  # drop answers with links
  ngram: Natural = 13  # words in a row shared with a held-out text; 0: no check

  def __post_init__(self):
    if self.shortest > self.longest:
      raise ValueError(f"filters.shortest {self.shortest} is more than longest {self.longest}")


def prose(text: str) -> str:
  """The text without code and quotations, whose style is not its writer's."""
  return _QUOTED.sub(" ", _CODE.sub(" ", text))


def reason(entry: Entry, config: FilterConfig) -> str:
  """Why an entry is dropped by itself; "" for one that is not.

  >>> from xwinjax.data.records import Message
  >>> told = (Message("user", "Why?"), Message("assistant", "As mentioned above, it is so."))
  >>> reason(Entry("1", told, "se", "", 12.0), FilterConfig(shortest=1))
  'refers to other answers'
  """
  answer, words = entry.answer, prose(entry.answer)
  if config.need_score and entry.score is None:
    return "no score"
  if entry.score is not None and entry.score < config.least_score:
    return f"score under {config.least_score:g}"
  if len(answer) < config.shortest:
    return f"answer under {config.shortest} characters"
  if len(answer) > config.longest:
    return f"answer over {config.longest} characters"
  if len(entry.prompt) > config.longest_prompt:
    return f"prompt over {config.longest_prompt} characters"
  if config.elsewhere and _ELSEWHERE.search(words):
    return "refers to other answers"
  if config.first_person and _FIRST.search(words):
    return "first person"
  if config.links and _LINK.search(words):
    return "links"
  return ""


class Heldout:
  """Held-out texts, to tell what of them an example holds.

  An example is contaminated when it shares `n` words in a row with one of them, or holds the whole
  of one that is shorter (but not of one under 4 words: "Why is that?" is nobody's).
  Source: the 13-grams are GPT-3's (Brown et al. 2020, appendix C).
  """

  SHORTEST = 4

  def __init__(self, texts: Iterable[str], n: int):
    if n and n < self.SHORTEST:
      raise UserError(f"config.filters.ngram is {n}; expected 0 or at least {self.SHORTEST}")
    self.by_length: dict[int, set[tuple[str, ...]]] = {}
    for text in texts if n else ():
      words = rouge.words(text)
      size = min(n, len(words))
      if size >= self.SHORTEST:
        grams = (tuple(words[i : i + size]) for i in range(len(words) - size + 1))
        self.by_length.setdefault(size, set()).update(grams)

  def shared(self, text: str) -> str:
    """The first run of words that a text shares with a held-out one; "" where it shares none."""
    words = rouge.words(text)
    runs = (
      words[i : i + size]
      for size, grams in self.by_length.items()
      for i in range(len(words) - size + 1)
      if tuple(words[i : i + size]) in grams
    )
    return " ".join(next(runs, ()))
