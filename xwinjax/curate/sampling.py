"""Diversity by source: how many examples of each part, and which."""

from __future__ import annotations

import random
from collections.abc import Sequence

from xwinjax.curate.entries import Entry

Group = tuple[str, str]  # (source, domain)


def shares(sizes: dict[Group, int], count: int, temperature: float) -> dict[Group, int]:
  """How many of `count` each group gets: in proportion to size^(1/temperature), at most its size.

  What a small group cannot give is shared among the others, by the same rule.
  Source: LIMA, section 2.1, with temperature 3.

  >>> shares({("a", ""): 1000, ("b", ""): 8}, 22, 3.0)
  {('a', ''): 18, ('b', ''): 4}
  """
  given = dict.fromkeys(sizes, 0)
  left = min(count, sum(sizes.values()))
  while left:
    open_ = [g for g in sizes if given[g] < sizes[g]]
    weights = {g: sizes[g] ** (1 / temperature) for g in open_}
    total = sum(weights.values())
    exact = {g: min(left * weights[g] / total, sizes[g] - given[g]) for g in open_}
    whole = {g: int(exact[g] + 1e-9) for g in open_}
    if not any(whole.values()):  # fewer left than groups: the largest remainders get one each
      for g in sorted(open_, key=lambda g: (-exact[g], g))[:left]:
        whole[g] = 1
    for g, n in whole.items():
      given[g] += n
    left -= sum(whole.values())
  return given


def choose(
  entries: Sequence[Entry], count: int, temperature: float, best_first: bool, seed: int
) -> list[Entry]:
  """`count` entries, spread over sources and domains; of a group those with the highest scores,
  or any where scores are equal, unknown, or not to be looked at."""
  groups: dict[Group, list[Entry]] = {}
  for e in entries:
    groups.setdefault((e.source, e.domain), []).append(e)
  wanted = shares({g: len(es) for g, es in groups.items()}, count, temperature)
  chosen = []
  for g, es in groups.items():
    rng = random.Random(f"choose-{g}-{seed}")
    order = rng.sample(es, len(es))
    if best_first:
      order.sort(key=lambda e: -(e.score if e.score is not None else float("-inf")))
    chosen += order[: wanted[g]]
  random.Random(f"shuffle-{seed}").shuffle(chosen)
  return chosen
