"""Near-duplicates: what MinHash proposes, exact similarity decides."""

import itertools
import random

from xwinjax.curate.duplicates import Seen, jaccard, shingles
from xwinjax.sandbox.world import World

BASE = "Plums are sweet fruits that grow on trees in the garden behind the old red house."


def test_hand_worked_similarity():
  a, b = shingles("a b c d e"), shingles("a b c d x")
  assert jaccard(a, b) == 2 / 4  # abc, bcd of abc, bcd, cde, cdx
  assert jaccard(a, a) == 1
  assert shingles("Hi!") == {"hi"}


def test_a_word_changed_is_a_near_duplicate_and_another_text_is_not():
  seen = Seen(0.7)
  assert seen.nearest("a", BASE) is None
  assert seen.nearest("b", BASE.replace("red", "blue").upper()) == "a"
  assert seen.nearest("c", "Trains are late when it snows in the hills behind the town.") is None
  assert seen.nearest("d", BASE) == "a"


def test_what_the_index_proposes_is_checked():
  one = " ".join(f"word{i}" for i in range(100))
  two = " ".join(f"word{i}" if i not in (20, 40, 60, 80, 90, 95) else "x" for i in range(100))
  similarity = jaccard(shingles(one), shingles(two))
  assert 0.65 < similarity < 0.75
  for threshold, near in ((similarity + 0.01, None), (similarity, "one")):
    seen = Seen(threshold)
    seen.nearest("one", one)
    assert seen.nearest("two", two) == near


def test_it_finds_what_comparing_all_pairs_finds():
  rng = random.Random(0)
  texts = list(World(0, 16).documents(150))
  texts += [" ".join(w for w in t.split() if rng.random() > 0.05) for t in texts[:60]]
  threshold, kept, dropped = 0.6, [], {}
  for i, text in enumerate(texts):  # brute force, by the same rule
    mine = shingles(text)
    near = [(jaccard(mine, shingles(texts[j])), j) for j in kept]
    best = max(near, default=(0.0, -1))
    if best[0] >= threshold:
      dropped[i] = best[0]
    else:
      kept.append(i)
  seen = Seen(threshold)
  found = {i for i, text in enumerate(texts) if seen.nearest(str(i), text) is not None}
  assert len(dropped) > 20
  missed = set(dropped) - found
  assert len(missed) <= 0.05 * len(dropped)  # the index is probabilistic …
  for a, b in itertools.combinations([str(i) for i in range(len(texts)) if i not in found], 2):
    if jaccard(seen._sets[a], seen._sets[b]) >= threshold:
      assert int(b) in missed  # … and what it lets through is only that
  strict = Seen(0.99)
  assert len({i for i, t in enumerate(texts) if strict.nearest(str(i), t)}) < len(found)  # the twin
