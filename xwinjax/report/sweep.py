"""What a sweep came to: a row's mean over seeds with its interval, and the paper's claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from xwinjax.report.tables import NONE, Row, Table, lines, number, signed


def interval(values: Sequence[float], level: float = 0.95) -> list[float] | None:
  """Student's t interval of a mean over seeds; None for fewer than two.

  >>> interval([1.0, 2.0, 3.0])
  [-0.484138, 4.484138]
  """
  if len(values) < 2:
    return None
  mean, error = float(np.mean(values)), float(stats.sem(values))
  half = error * float(stats.t.ppf((1 + level) / 2, len(values) - 1))
  return [round(mean - half, 6), round(mean + half, 6)]


def over_seeds(by_seed: dict[str, float]) -> Row:
  values = list(by_seed.values())
  return {
    "mean": float(np.mean(values)) if values else None,
    "ci": interval(values),
    "seeds": by_seed,
  }


def difference(ours: dict[str, float], theirs: dict[str, float]) -> Row | None:
  """ours - theirs over the seeds that both have, in pairs; None where there are none."""
  both = [seed for seed in ours if seed in theirs]
  if not both:
    return None
  gaps = [ours[s] - theirs[s] for s in both]
  return {"mean": float(np.mean(gaps)), "ci": interval(gaps), "seeds": len(both)}


def verdict(d: Row | None, relation: str) -> str:
  """What a difference says of a finding: ">" is that it is more than 0, "~" that it is about 0."""
  if d is None:
    return "not run"
  if d["ci"] is None:
    return "one seed: no verdict"
  low, high = d["ci"]
  if relation == ">":
    return "as in the paper" if low > 0 else "against the paper" if high < 0 else "not shown"
  return "as in the paper" if low <= 0 <= high else "against the paper"


def summarise(ablation: Any, found: Row) -> Row:
  """One ablation's part of sweep.json; `ablation` is a `stages.sweep.Ablation`."""
  main = next(iter(ablation.figures))
  first = ablation.rows[0]
  rows = []
  for row in ablation.rows:
    rows.append(
      {
        "row": row,
        "figures": {name: over_seeds(found[row][name]) for name in ablation.figures},
        "against_first": difference(found[row][main], found[first][main]) if row != first else None,
        "paper": ablation.paper.get(row),
        "at": (ablation.axis or ("", {}))[1].get(row),
      }
    )
  claims = []
  for ours, relation, theirs in ablation.expects:
    if ours in found and theirs in found:
      d = difference(found[ours][main], found[theirs][main])
      claims.append(
        {
          "ours": ours,
          "relation": relation,
          "theirs": theirs,
          "difference": d,
          "verdict": verdict(d, relation),
        }
      )
  return {
    "name": ablation.name,
    "title": ablation.title,
    "main": main,
    "first": first,
    "axis": ablation.axis[0] if ablation.axis else None,
    "rows": rows,
    "claims": claims,
  }


def table(a: Row) -> Table:
  """A row of the ablation a line: every figure over seeds, the gap to the first row, the paper."""
  rows = []
  for r in a["rows"]:
    figures = [number(f["mean"], 3, f["ci"]) for f in r["figures"].values()]
    d = r["against_first"]
    rows.append(
      (
        r["row"],
        *figures,
        signed(d["mean"], d["ci"]) if d else NONE,
        str(len(r["figures"][a["main"]]["seeds"])),
        NONE if r["paper"] is None else str(r["paper"]),
      )
    )
  names = list(a["rows"][0]["figures"]) if a["rows"] else []
  head = (a["axis"] or "row", *names, f"{a['main']} − {a['first']}", "seeds", "paper")
  return Table(head, rows).without_empty()


def claim(c: Row) -> str:
  """A finding of the paper, and what came out here."""
  says = {">": "is better than", "~": "is about as good as"}[c["relation"]]
  d = c["difference"]
  gap = f" ({signed(d['mean'], d['ci'])})" if d else ""
  return f"The paper: {c['ours']} {says} {c['theirs']}. Here: {c['verdict']}{gap}."


def text(s: Row) -> str:
  """All tables and claims, for a terminal."""
  parts = []
  for a in s["ablations"]:
    parts.append("\n".join([a["title"], "", lines(table(a)), *map(claim, a["claims"])]))
  return "\n\n".join(parts)
