"""How votes came out, and how far those who voted agree.

Agreement discounted for ties: a pair of votes on an item scores 1 where both say the same, 1/2
where exactly one says tie, else 0. Source: LIMA (arXiv 2305.11206), section 4.3.

Chance-corrected: Cohen's kappa (two annotators) and Fleiss' (many) are computed by statsmodels,
Krippendorff's alpha by krippendorff. Intervals are percentile bootstraps by SciPy that resample
prompts: what several people say of several systems on one prompt is not independent.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs
from xwinjax.eval import statistics
from xwinjax.eval.votes import GRADES, LABELS, Ballot, Vote

Row = dict[str, Any]
RESAMPLES = 1000
_NUMBERED = re.compile(r"(.*[^\W\d_])[\W_]*\d+")


def discounted(x: str, y: str) -> float:
  """Agreement of two labels, ties discounted.

  >>> discounted("A", "A"), discounted("A", "tie"), discounted("A", "B"), discounted("tie", "tie")
  (1.0, 0.5, 0.0, 1.0)
  """
  return 1.0 if x == y else 0.5 if "tie" in (x, y) else 0.0


def mean(values: Mapping[str, Sequence[float]], seed: int, *, share: bool = True) -> Row:
  """The mean of all values, by prompt, with a 95 % interval over prompts.

  Each value weighs the same, so a prompt weighs what it has values. Resampling a share of 0 or 1
  gives nothing but itself: it gets Wilson's interval of that many prompts. One prompt that is
  neither gets none.
  """
  total = np.array([sum(v) for v in values.values()], np.float64)
  count = np.array([len(v) for v in values.values()], np.float64)
  if not count.sum():
    return {"value": None, "ci": None, "n": 0, "prompts": 0}
  value = float(total.sum() / count.sum())
  ci = None
  if share and value in (0, 1):
    ci = list(statistics.share_interval(round(value * len(count)), len(count)))
  elif len(count) > 1:
    ci = _interval(lambda t, n, axis=-1: t.sum(axis) / n.sum(axis), (total, count), seed)
  return {"value": value, "ci": ci, "n": int(count.sum()), "prompts": len(count)}


def _interval(
  statistic: Callable, data: tuple[np.ndarray, ...], seed: int, vectorized: bool = True
) -> list[float] | None:
  """SciPy's percentile interval; resamples in which the statistic is undefined are left out."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", stats.DegenerateDataWarning)
    drawn = stats.bootstrap(
      data,
      statistic,
      paired=True,
      vectorized=vectorized,
      n_resamples=RESAMPLES,
      method="percentile",
      rng=np.random.default_rng(seed),
    ).bootstrap_distribution
  drawn = drawn[np.isfinite(drawn)]
  return np.quantile(drawn, (0.025, 0.975)).tolist() if len(drawn) else None


def _libraries() -> tuple[Any, Any]:
  with needs("annotate"):
    import krippendorff
    from statsmodels.stats import inter_rater
  return inter_rater, krippendorff


def cohen_kappa(x: Sequence[str], y: Sequence[str], labels: Sequence[str] = LABELS) -> float | None:
  """(p_o - p_e) / (1 - p_e) of two annotators' labels of the same items; None where p_e is 1."""
  table = np.zeros((len(labels), len(labels)))
  for a, b in zip(x, y, strict=True):
    table[labels.index(a), labels.index(b)] += 1
  with np.errstate(all="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    return _finite(_libraries()[0].cohens_kappa(table, return_results=False))


def fleiss_kappa(counts_NC: np.ndarray) -> float | None:
  """Of items with equally many votes; counts_NC: votes for each category."""
  with np.errstate(all="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    return _finite(_libraries()[0].fleiss_kappa(counts_NC))


def krippendorff_alpha(counts_NC: np.ndarray, level: str = "nominal") -> float | None:
  """1 - D_o / D_e; items may have different numbers of votes. None where all votes are one label.

  Args:
    level: "nominal", "ordinal" (categories in their order) or "interval" (as 0, 1, 2, …).
  """
  if (counts_NC.sum(0) > 0).sum() < 2 or not (counts_NC.sum(1) > 1).any():
    return None
  with np.errstate(all="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    alpha = _libraries()[1].alpha(
      value_counts=counts_NC,
      value_domain=list(range(counts_NC.shape[1])),
      level_of_measurement=level,
    )
  return _finite(alpha)


def _finite(x: float) -> float | None:
  return float(x) if np.isfinite(x) else None


def coefficient(
  f: Callable[[np.ndarray], float | None], counts_by_prompt: Mapping[str, Sequence], seed: int
) -> Row:
  """f of all items' label counts, with a 95 % interval over prompts."""
  tables = [np.array(rows, np.float64) for rows in counts_by_prompt.values() if len(rows)]
  items = sum(len(t) for t in tables)
  value = f(np.concatenate(tables)) if tables else None
  ci = None
  if value is not None and len(tables) > 1:

    def resampled(places: np.ndarray) -> float:
      estimate = f(np.concatenate([tables[int(i)] for i in places]))
      return np.nan if estimate is None else estimate

    ci = _interval(resampled, (np.arange(len(tables)),), seed, vectorized=False)
  return {"value": value, "ci": ci, "items": items, "prompts": len(tables)}


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
        "win_rate": share({"A": 1, "tie": 0.5}),
        "equal_or_better": share({"A": 1, "tie": 1}),
      }
    )
  return rows


def _by_prompt(votes: Iterable[Vote], worth: Mapping[str, float]) -> dict[str, list[float]]:
  values = defaultdict(list)
  for v in votes:
    values[v.prompt].append(float(worth.get(v.label, 0)))
  return values


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
    "groups": between(items, judged, lambda who: group_of(who), seed),
    "pairs": between(items, judged, lambda who: who, seed, kappa=True),
    "judges": sorted({v.annotator for v in ballot.judges}),
    "usefulness": usefulness(votes, seed),
    "grades": grades(votes, seed),
    "disagreements": disagreements(items),
  }
  return figures
