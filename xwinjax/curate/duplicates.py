"""Near-duplicates by MinHash: the library's index proposes, exact Jaccard similarity decides.

Source: Broder 1997; Lee et al. 2022 on what duplicates do to language models.
"""

from __future__ import annotations

from typing import Any

from xwinjax.core.extras import needs
from xwinjax.data import rouge


def shingles(text: str, n: int = 3) -> frozenset[str]:
  """The text's runs of n words; the whole of a shorter one.

  >>> sorted(shingles("What is a plum made of?"))
  ['a plum made', 'is a plum', 'plum made of', 'what is a']
  """
  words = rouge.words(text)
  if len(words) <= n:
    return frozenset([" ".join(words)])
  return frozenset(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
  return len(a & b) / max(len(a | b), 1)


class Seen:
  """Texts met so far, to find those that a new one nearly is."""

  PERMUTATIONS = 128

  def __init__(self, threshold: float, seed: int = 1):
    """`threshold` is the Jaccard similarity from which two texts are one. Raises UserError."""
    with needs("curate"):
      import datasketch
    self._minhash: Any = datasketch.MinHash
    self.threshold, self.seed = threshold, seed
    # A lower threshold for the index: it misses fewer, and what it proposes is checked.
    self._index: Any = datasketch.MinHashLSH(
      threshold=max(threshold - 0.15, 0.05), num_perm=self.PERMUTATIONS
    )
    self._sets: dict[str, frozenset[str]] = {}

  def nearest(self, id: str, text: str) -> str | None:
    """The id of a text met before that this one nearly is; else None, and it is kept in mind."""
    pieces = shingles(text)
    sketch = self._minhash(num_perm=self.PERMUTATIONS, seed=self.seed)
    sketch.update_batch([s.encode() for s in sorted(pieces)])
    near = [(jaccard(pieces, self._sets[other]), other) for other in self._index.query(sketch)]
    best = max(near, default=(0.0, ""))
    if best[0] >= self.threshold:
      return best[1]
    self._index.insert(id, sketch)
    self._sets[id] = pieces
    return None
