"""Several systems side by side: win rates, strengths, categories, lengths.

Whoever judged has a view of their own: each judge, each kind of scores, and all people together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.eval import agreement, votes
from xwinjax.eval.answers import Answer, Answers, Item
from xwinjax.eval.ballot import Row, Vote
from xwinjax.eval.coefficients import mean
from xwinjax.eval.strengths import strengths

PEOPLE = "people"


def views(found: Answers) -> dict[str, list[Vote]]:
  """Whoever judged -> the comparisons of two systems."""
  by: dict[str, list[Vote]] = {}
  for name, some in ((PEOPLE, found.ballot.votes), ("", found.ballot.judges)):
    for v in some:
      if v.b and v.label:
        by.setdefault(name or v.annotator, []).append(v)
  return by


def _lengths(found: Answers, vote: Vote) -> tuple[float, float] | None:
  """Characters of the two answers of a comparison, where both were read."""
  item: Item = (vote.prompt, vote.turn)
  a, b = (found.systems.get(s, {}).get(item, Answer()) for s in (vote.a, vote.b))
  return None if a.text is None or b.text is None else (a.characters, b.characters)


def by_length(found: Answers, some: Sequence[Vote], seed: int) -> Row:
  """How often the longer answer wins, and each system where its answer is longer or shorter."""
  longer = defaultdict(list)
  each: dict[str, dict[str, dict[str, list[float]]]] = {}
  for v in some:
    lengths = _lengths(found, v)
    if lengths is None or lengths[0] == lengths[1]:
      continue
    first = lengths[0] > lengths[1]
    longer[v.prompt].append(v.credit if first else 1 - v.credit)
    for system, credit, is_longer in ((v.a, v.credit, first), (v.b, 1 - v.credit, not first)):
      kind = each.setdefault(system, {"longer": defaultdict(list), "shorter": defaultdict(list)})
      kind["longer" if is_longer else "shorter"][v.prompt].append(credit)
  systems = {
    name: {which: mean(values, seed) for which, values in kinds.items()}
    for name, kinds in sorted(each.items())
  }
  return {"longer_wins": mean(longer, seed), "systems": systems}


def by_category(found: Answers, some: Sequence[Vote], seed: int) -> dict[str, list[Row]]:
  """Strengths within each category; nothing where there is but one."""
  parts: dict[str, list[Vote]] = {}
  for v in some:
    parts.setdefault(found.categories.get(v.prompt, "none"), []).append(v)
  return {k: strengths(parts[k], seed) for k in sorted(parts)} if len(parts) > 1 else {}


def view(found: Answers, some: Sequence[Vote], seed: int) -> Row:
  """What one judge, or people, say of all systems."""
  return {
    "comparisons": agreement.comparisons(some, None, seed),
    "strengths": strengths(some, seed),
    "categories": by_category(found, some, seed),
    "length": by_length(found, some, seed),
  }


def systems(found: Answers) -> dict[str, Row]:
  """How much each system answered, and at what length."""
  rows = {}
  for name, held in found.systems.items():
    given = [a for a in held.values() if a.text is not None]
    tokens = [a.tokens for a in given if a.tokens is not None]
    rows[name] = {
      "answers": len(given),
      "empty": sum(not (a.text or "").strip() for a in given),
      "characters": float(np.mean([a.characters for a in given])) if given else None,
      "tokens": float(np.mean(tokens)) if tokens else None,
      "scores": {
        score: mean(_by_prompt(held, score), 0)
        for score in sorted({s for a in held.values() for s in a.scores})
      },
    }
  return rows


def _by_prompt(held: dict[Item, Answer], score: str) -> dict[str, list[float]]:
  """A system's scores by this name, those of all turns of a prompt together."""
  by: defaultdict[str, list[float]] = defaultdict(list)
  for (prompt, _), a in held.items():
    by[prompt] += a.scores.get(score, [])
  return {prompt: values for prompt, values in by.items() if values}


def summary(found: Answers, seed: int = 0) -> Row:
  """All figures, ready for JSON. Raises UserError where fewer than two systems can be compared."""
  if lost := votes.unknown(found.ballot):
    raise UserError(lost)
  by = views(found)
  if not by and len(found.systems) < 2:
    read = ", ".join(found.systems) or "none"
    raise UserError(f"there is nothing to compare; systems: {read}; give another run or file")
  return {
    "names": names(found),
    "systems": systems(found),
    "views": {name: view(found, some, seed) for name, some in by.items()},
    "prompts": len(_items(found)),
    "counts": dict(found.ballot.counts),
  }


def _items(found: Answers) -> list[Item]:
  """Everything that was asked, in the order read, those that two systems answered first."""
  met = [(v.prompt, v.turn) for v in found.ballot.votes + found.ballot.judges]
  every = dict.fromkeys([*(item for held in found.systems.values() for item in held), *met])
  shared = lambda item: sum(item in held for held in found.systems.values()) > 1
  return sorted(every, key=lambda item: not shared(item))


def names(found: Answers) -> list[str]:
  """All systems, those whose answers were read first."""
  votes = [v for some in views(found).values() for v in some]
  return list(dict.fromkeys([*found.systems, *(name for v in votes for name in (v.a, v.b))]))


def samples(found: Answers, places: Sequence[int] | None = None) -> Row:
  """Every item with all answers and verdicts, as the page in the browser reads it.

  Args:
    places: which of the items; None takes all.
  """
  every = _items(found)
  items = every if places is None else [every[i] for i in places]
  said: dict[Item, dict[str, list[tuple[str, str, float]]]] = {}
  for name, some in views(found).items():
    for v in some:
      row = said.setdefault((v.prompt, v.turn), {}).setdefault(name, [])
      row.append((v.a, v.b, round(v.credit, 4)))
  rows = []
  for item in items:
    held = {name: of[item] for name, of in found.systems.items() if item in of}
    rows.append(
      {
        "prompt": found.prompts.get(item) or [{"role": "user", "content": item[0]}],
        "category": found.categories.get(item[0], ""),
        "answers": {
          name: {
            "text": a.text,
            "tokens": a.tokens,
            "scores": {k: round(float(np.mean(v)), 4) for k, v in a.scores.items()},
          }
          for name, a in held.items()
        },
        "said": said.get(item, {}),
      }
    )
  return {
    "systems": names(found),
    "views": list(views(found)),
    "categories": sorted({r["category"] for r in rows} - {""}),
    "items": rows,
    "of": len(every),
  }
