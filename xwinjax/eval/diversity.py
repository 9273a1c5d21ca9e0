"""How diverse a set of prompts is: ROUGE-L to the nearest other, and groups by verb and noun."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from xwinjax.data import rouge

_SMALL = frozenset(
  (
    "a",
    "an",
    "the",
    "this",
    "that",
    "these",
    "those",
    "my",
    "your",
    "his",
    "her",
    "its",
    "our",
    "their",
    "some",
    "any",
    "all",
    "each",
    "every",
    "no",
    "of",
    "to",
    "in",
    "on",
    "at",
    "by",
    "for",
    "from",
    "with",
    "about",
    "into",
    "over",
    "as",
    "and",
    "or",
    "but",
    "if",
    "so",
    "than",
    "then",
    "there",
    "here",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "do",
    "does",
    "did",
    "can",
    "could",
    "will",
    "would",
    "should",
    "may",
    "might",
    "must",
    "have",
    "has",
    "had",
    "i",
    "you",
    "he",
    "she",
    "it",
    "we",
    "they",
    "me",
    "him",
    "them",
    "us",
    "one",
    "two",
    "three",
    "four",
    "five",
    "following",
    "given",
    "new",
    "short",
    "simple",
    "list",
  )
)
_OPENING = frozenset(
  (
    "please",
    "kindly",
    "now",
    "can",
    "could",
    "would",
    "you",
    "i",
    "want",
    "need",
    "to",
    "help",
    "me",
    "let",
    "s",
  )
)


def verb_noun(text: str) -> tuple[str, str]:
  """The verb a prompt opens with and the first noun behind it, as far as words alone tell.

  No parser: the first word that is no politeness, and the next that is no small word.

  >>> verb_noun("Could you please write a short poem about the sea?")
  ('write', 'poem')
  """
  rest = rouge.words(text)
  while len(rest) > 1 and rest[0] in _OPENING:
    rest = rest[1:]
  noun = next((w for w in rest[1:] if w not in _SMALL and not w.isdigit()), "")
  return (rest[0] if rest else "", noun)


def summary(texts: Sequence[str], *, most: int = 2000, seed: int = 0) -> dict[str, Any]:
  """Figures of a set of prompts.

  `nearest` is the mean ROUGE-L F1 of a prompt with the nearest other (of `most` drawn at random
  where there are more), `groups` the number of distinct (verb, noun), `group_entropy` the entropy
  of their shares in nats, `distinct_2` the share of word pairs that differ.
  """
  if len(texts) > most:
    texts = random.Random(seed).sample(list(texts), most)
  if not texts:
    return {"prompts": 0}
  groups = Counter(verb_noun(t) for t in texts)
  shares = np.array(list(groups.values())) / len(texts)
  pairs = [pair for words in map(rouge.words, texts) for pair in itertools.pairwise(words)]
  figures: dict[str, Any] = {
    "prompts": len(texts),
    "groups": len(groups),
    "group_entropy": round(float(-(shares * np.log(shares)).sum()) + 0.0, 5),
    "top_groups": [[" ".join(g).strip(), n] for g, n in groups.most_common(10)],
    "distinct_2": round(len(set(pairs)) / len(pairs), 5) if pairs else None,
    "mean_words": round(float(np.mean([len(rouge.words(t)) for t in texts])), 3),
  }
  nearest = math.nan
  if len(texts) > 1:
    matrix = rouge.Pool(texts).matrix()
    np.fill_diagonal(matrix, 0)
    nearest = float(matrix.max(1).mean())
  return figures | {"nearest": None if math.isnan(nearest) else round(nearest, 5)}
