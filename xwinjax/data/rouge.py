"""ROUGE-L of short texts against many others, exactly and fast.

ROUGE-L's F1 of two texts of m and n words is 2·LCS / (m + n), with LCS the length of their longest
common subsequence of words (Lin 2004). rapidfuzz computes just that, as the normalised Indel
similarity, on strings: each word becomes one character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs

_WORD = re.compile(r"[a-z0-9]+")
_SURROGATES = range(0xD800, 0xE000)  # code points that no string may hold alone


def words(text: str) -> list[str]:
  """A text's words as the rouge-score package sees them, without its stemmer.

  >>> words("What's it? 3 plums!")
  ['what', 's', 'it', '3', 'plums']
  """
  return _WORD.findall(text.lower()) or text.split()  # a text without Latin letters has words, too


def _rapidfuzz() -> tuple[Any, Any]:
  with needs("self-rewarding"):
    from rapidfuzz import process
    from rapidfuzz.distance import Indel
  return process, Indel.normalized_similarity


class Pool:
  """Texts, and the ROUGE-L of a new one with the nearest of them."""

  def __init__(self, texts: Sequence[str] = ()):
    self._process, self._similarity = _rapidfuzz()
    self._codes: dict[str, str] = {}
    self._texts: list[str] = []
    for text in texts:
      self.add(text)

  def __len__(self) -> int:
    return len(self._texts)

  def _encode(self, text: str) -> str:
    out = []
    for word in words(text):
      code = self._codes.get(word)
      if code is None:
        number = len(self._codes) + 0x100
        if number >= _SURROGATES.start:
          number += len(_SURROGATES)
        if number > 0x10FFFF:
          raise UserError("more than a million different words; compare fewer prompts")
        code = self._codes[word] = chr(number)
      out.append(code)
    return "".join(out)

  def add(self, text: str) -> None:
    self._texts.append(self._encode(text))

  def nearest(self, texts: Sequence[str], at_least: float = 0.0) -> list[float]:
    """For each text the highest ROUGE-L F1 with one of the pool; 0 where none reaches `at_least`.

    Many at once take a third of the time each that one alone takes.
    """
    similarities: list[float] = []
    for start in range(0, len(texts) if self._texts else 0, 64):
      rows = self._process.cdist(
        [self._encode(t) for t in texts[start : start + 64]],
        self._texts,
        scorer=self._similarity,
        score_cutoff=at_least or None,
        dtype=np.float32,
      )
      similarities += rows.max(1).tolist()
    return similarities or [0.0] * len(texts)

  def matrix(self) -> np.ndarray:
    """ROUGE-L F1 of every two texts of the pool, [n, n]."""
    return self._process.cdist(self._texts, self._texts, scorer=self._similarity, dtype=np.float32)
