"""How votes came out, and how far those who voted agree.

Intervals resample prompts: what several people say of several systems on one prompt is not
independent.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.eval.ballot import GRADES, LABELS, Ballot, Vote
from xwinjax.eval.coefficients import (
  coefficient,
  cohen_kappa,
  discounted,
  fleiss_kappa,
  krippendorff_alpha,
  mean,
)
from xwinjax.eval.votes import unknown

Row = dict[str, Any]
_NUMBERED = re.compile(r"(.*[^\W\d_])[\W_]*\d+")


def group_of(annotator: str) -> str:
  """Annotators numbered alike are a group: author_1 is an "author", anna an "annotator"."""
  numbered = _NUMBERED.fullmatch(annotator)
  return numbered[1] if numbered else "annotator"


Items = dict[tuple, dict[str, str]]  # (prompt, turn, a, b) -> annotator -> label


def by_item(votes: Iterable[Vote]) -> Items:
  items: Items = {}
  for v in votes:
    if v.label:
      items.setdefault(v.item, {})[v.annotator] = v.label
  return items


def _counts(items: Items, raters: int | None = None) -> dict[str, list[list[int]]]:
  """prompt -> a row of label counts for each item with two votes or more (or exactly `raters`)."""
  rows: dict[str, list[list[int]]] = {}
  for (prompt, *_), labels in items.items():
    if len(labels) == raters or (raters is None and len(labels) > 1):
      rows.setdefault(prompt, []).append([list(labels.values()).count(x) for x in LABELS])
  return rows


def overall(items: Items, seed: int) -> Row:
  """Agreement of all pairs of votes on an item."""
  points, exact = defaultdict(list), defaultdict(list)
  for (prompt, *_), labels in items.items():
    for x, y in itertools.combinations(labels.values(), 2):
      points[prompt].append(discounted(x, y))
      exact[prompt].append(float(x == y))
  sizes = Counter(len(labels) for labels in items.values() if len(labels) > 1)
  raters = sizes.most_common(1)[0][0] if sizes else 0
  shared = _counts(items)
  return {
    "tie_discounted": mean(points, seed),
    "exact": mean(exact, seed),
    "fleiss_kappa": {"raters": raters, **coefficient(fleiss_kappa, _counts(items, raters), seed)},
    "krippendorff_alpha_nominal": coefficient(krippendorff_alpha, shared, seed),
    "krippendorff_alpha_ordinal": coefficient(
      lambda table: krippendorff_alpha(table, "ordinal"), shared, seed
    ),
  }


def between(
  items: Items, judged: Items, key: Callable[[str], str], seed: int, kappa: bool = False
) -> list[Row]:
  """Agreement between every two annotators, or groups of them, and of judges with them.

  Args:
    items, judged: what people and what judges said. Judges meet people, and not each other.
    key: annotator -> the name agreement is told by.
    kappa: also Cohen's, of pairs that meet on items once each.
  """
  met: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
  for item, votes in items.items():
    named = [(key(who), label) for who, label in sorted(votes.items())]
    pairs = list(itertools.combinations(named, 2))
    pairs += [(person, judge) for judge in judged.get(item, {}).items() for person in named]
    for (who, x), (other, y) in pairs:
      (who, x), (other, y) = ((who, x), (other, y)) if who <= other else ((other, y), (who, x))
      met[who, other].append((item[0], x, y))
  rows = []
  for (who, other), labels in met.items():
    points, exact = defaultdict(list), defaultdict(list)
    for prompt, x, y in labels:
      points[prompt].append(discounted(x, y))
      exact[prompt].append(float(x == y))
    row = {"between": [who, other], **mean(points, seed)}
    row["exact"] = mean(exact, seed)["value"]
    if kappa:
      x, y = [x for _, x, _ in labels], [y for *_, y in labels]
      row["cohen_kappa"] = cohen_kappa(x, y) if len(labels) > 1 else None
    rows.append(row)
  return sorted(rows, key=lambda row: (-row["n"], row["between"]))


def comparisons(votes: Sequence[Vote], system: str | None, seed: int) -> list[Row]:
  """Win, tie and lose shares of each pair of systems, `system` first where it takes part."""
  pairs: dict[tuple[str, str], list[Vote]] = {}
  for v in votes:
    if v.label:
      v = v.swapped() if system and v.b == system else v
      pairs.setdefault((v.a, v.b), []).append(v)
  rows = []
  for (a, b), mine in pairs.items():
    share = lambda worth, mine=mine: mean(_by_prompt(mine, worth), seed)
    rows.append(
      {
        "a": a,
        "b": b,
        "votes": len(mine),
        "prompts": len({v.prompt for v in mine}),
        "win": share({"A": 1}),
        "tie": share({"tie": 1}),
        "lose": share({"B": 1}),
        "win_rate": mean(_credits(mine), seed),
        "equal_or_better": share({"A": 1, "tie": 1}),
      }
    )
  return rows


def _by_prompt(votes: Iterable[Vote], worth: Mapping[str, float]) -> dict[str, list[float]]:
  values = defaultdict(list)
  for v in votes:
    values[v.prompt].append(float(worth.get(v.label, 0)))
  return values


def _credits(votes: Iterable[Vote]) -> dict[str, list[float]]:
  values = defaultdict(list)
  for v in votes:
    values[v.prompt].append(v.credit)
  return values


def majority(labels: Mapping[str, str]) -> str:
  """The label that most annotators give; "" where two labels have equally many.

  >>> majority({"x": "A", "y": "A", "z": "tie"}), majority({"x": "A", "y": "B"})
  ('A', '')
  """
  (first, most), *rest = Counter(labels.values()).most_common(2)
  return "" if rest and rest[0][1] == most else first


def against_majority(items: Items, judged: Items, seed: int) -> Row:
  """People's majority on items with several votes: who wins, and how far each judge agrees."""
  several = {item: majority(labels) for item, labels in items.items() if len(labels) > 1}
  decided = {item: label for item, label in several.items() if label}
  votes = [Vote(p, "majority", a, b, label, turn) for (p, turn, a, b), label in decided.items()]
  met: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
  for item, label in ((i, label) for i in judged for label in judged[i].items()):
    if item in decided:
      met[label[0]].append((item[0], label[1], decided[item]))
  judges = {}
  for name, pairs in sorted(met.items()):
    exact, points = defaultdict(list), defaultdict(list)
    for prompt, x, y in pairs:
      exact[prompt].append(float(x == y))
      points[prompt].append(discounted(x, y))
    judges[name] = {"exact": mean(exact, seed), "tie_discounted": mean(points, seed)}
    judges[name]["cohen_kappa"] = cohen_kappa([x for _, x, _ in pairs], [y for *_, y in pairs])
  return {
    "items": len(decided),
    "without": len(several) - len(decided),
    "comparisons": comparisons(votes, None, seed),
    "judges": judges,
  }


def usefulness(votes: Iterable[Vote], seed: int) -> Row:
  """Mean grade of each system from 1 to 6, and how far those who graded agree."""
  by_system: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
  given: dict[tuple, list[int]] = defaultdict(lambda: [0] * 6)
  for v in votes:
    for system, grade in v.usefulness.items():
      by_system[system][v.prompt].append(grade)
      given[v.prompt, v.turn, system][grade - 1] += 1
  return {
    "systems": {s: mean(values, seed, share=False) for s, values in by_system.items()},
    "krippendorff_alpha_interval": _alpha_of(given, "interval", seed),
  }


def grades(votes: Iterable[Vote], seed: int) -> Row:
  """Shares of turns graded fail, pass and excellent, and how far those who graded agree."""
  by_system: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
  given: dict[tuple, list[int]] = defaultdict(lambda: [0] * len(GRADES))
  for v in votes:
    for system, turns in v.grades.items():
      by_system[system][v.prompt] += turns
      for n, grade in enumerate(turns):
        given[v.prompt, n, system][GRADES.index(grade)] += 1
  systems = {
    system: {
      grade: mean({p: [float(g == grade) for g in marks] for p, marks in turns.items()}, seed)
      for grade in GRADES
    }
    for system, turns in by_system.items()
  }
  return {"systems": systems, "krippendorff_alpha_ordinal": _alpha_of(given, "ordinal", seed)}


def _alpha_of(given: Mapping[tuple, list[int]], level: str, seed: int) -> Row:
  counts: dict[str, list[list[int]]] = {}
  for (prompt, *_), row in given.items():
    if sum(row) > 1:
      counts.setdefault(prompt, []).append(row)
  return coefficient(lambda table: krippendorff_alpha(table, level), counts, seed)


def disagreements(items: Items) -> list[Row]:
  """Items on which two people or more do not all agree, those they agree on least first."""
  rows = []
  for (prompt, turn, a, b), labels in items.items():
    points = [discounted(x, y) for x, y in itertools.combinations(labels.values(), 2)]
    if points and min(points) < 1:
      rows.append(
        {
          "prompt": prompt,
          "turn": turn,
          "a": a,
          "b": b,
          "votes": labels,
          "agreement": sum(points) / len(points),
        }
      )
  return sorted(rows, key=lambda row: (row["agreement"], -len(row["votes"])))


def people(ballot: Ballot) -> dict[str, Row]:
  """What each annotator did: votes, attention checks, median seconds a vote."""
  rows = {}
  for name in dict.fromkeys([v.annotator for v in ballot.votes] + list(ballot.checks)):
    mine = [v for v in ballot.votes if v.annotator == name]
    spent = [v.seconds for v in mine if v.seconds is not None]
    passed = ballot.checks.get(name, [])
    rows[name] = {
      "votes": len(mine),
      "checks": len(passed),
      "passed": sum(passed),
      "median_seconds": float(np.median(spent)) if spent else None,
    }
  return rows


def careful(ballot: Ballot, least: float) -> list[Vote]:
  """Votes of those who passed at least this share of their attention checks."""
  passed = {name: np.mean(checks) for name, checks in ballot.checks.items()}
  return [v for v in ballot.votes if passed.get(v.annotator, 1.0) >= least]


def summary(
  ballot: Ballot, *, system: str | None = None, least_checks: float = 0.0, seed: int = 0
) -> Row:
  """All figures, ready for JSON.

  Args:
    system: comparisons are told from its side.
    least_checks: share of attention checks below which an annotator's votes are left out.

  Raises: UserError where nothing is left.
  """
  votes = careful(ballot, least_checks)
  if not votes:
    raise UserError("no votes" + (" of those who passed the checks" if ballot.votes else ""))
  if lost := unknown(ballot):
    raise UserError(lost)
  if system and not any(system in (v.a, v.b) for v in votes):
    names = sorted({name for v in votes for name in (v.a, v.b) if name})
    raise UserError(f"--system={system}: not among {', '.join(names)}")
  items, judged = by_item(votes), by_item(ballot.judges)
  left = defaultdict(list)
  for v in votes:
    if v.shown and v.label in ("A", "B"):
      left[v.prompt].append(float((v.label == "A") == (v.shown == "a")))
  figures = {
    "votes": len(votes),
    "items": len({v.item for v in votes}),
    "prompts": len({v.prompt for v in votes}),
    "counts": dict(ballot.counts),
    "left_out_by_checks": len(ballot.votes) - len(votes),
    "people": people(ballot),
    "comparisons": comparisons(votes, system, seed),
    "chosen_first_shown": mean(left, seed) if left else None,
    "agreement": overall(items, seed),
    "majority": against_majority(items, judged, seed),
    "groups": between(items, judged, lambda who: group_of(who), seed),
    "pairs": between(items, judged, lambda who: who, seed, kappa=True),
    "judges": sorted({v.annotator for v in ballot.judges}),
    "usefulness": usefulness(votes, seed),
    "grades": grades(votes, seed),
    "disagreements": disagreements(items),
  }
  return figures
