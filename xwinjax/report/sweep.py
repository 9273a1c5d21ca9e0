"""The report of a sweep: a row's mean over seeds with its interval, and the paper's claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from xwinjax.eval import statistics
from xwinjax.report import charts, overoptimisation, pages
from xwinjax.report.charts import Chart, Series
from xwinjax.report.tables import NONE, Row, Table, columns, lines, number, seconds, signed


def over_seeds(by_seed: dict[str, float]) -> Row:
  """What a figure is over runs: mean, interval, standard deviation; and how often it is above 0.

  A run has its own world, prompts, models and samples, so its value varies by all of them: an
  interval over runs holds what one over a run's prompts leaves out. `effect` is mean / sd
  (Cohen's d of a difference from 0); `sign_p` is the sign test's, two-sided.
  """
  values = np.array(list(by_seed.values()))
  sd = float(values.std(ddof=1)) if len(values) > 1 else None
  above, below = int((values > 0).sum()), int((values < 0).sum())
  return {
    "mean": float(values.mean()) if len(values) else None,
    "ci": statistics.t_interval(values.tolist()),
    "sd": sd,
    "effect": float(values.mean()) / sd if sd else None,
    "above_0": above,
    "sign_p": float(scipy.stats.binomtest(above, above + below).pvalue) if above + below else None,
    "seeds": by_seed,
  }


def difference(ours: dict[str, float], theirs: dict[str, float]) -> Row | None:
  """ours - theirs over the seeds that both have, in pairs; None where there are none."""
  both = [seed for seed in ours if seed in theirs]
  if not both:
    return None
  gaps = [ours[s] - theirs[s] for s in both]
  return {"mean": float(np.mean(gaps)), "ci": statistics.t_interval(gaps), "seeds": len(both)}


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


def summarise(ablation: Any, runs: Row) -> Row:
  """One ablation's part of sweep.json; `ablation` is a `stages.sweep.Ablation`."""
  main = next(iter(ablation.figures))
  first = ablation.rows[0]
  rows = []
  for row in ablation.rows:
    rows.append(
      {
        "row": row,
        "figures": {name: over_seeds(runs[row][name]) for name in ablation.figures},
        "against_first": difference(runs[row][main], runs[first][main]) if row != first else None,
        "paper": ablation.paper.get(row),
        "at": (ablation.axis or ("", {}))[1].get(row),
      }
    )
  claims = []
  for ours, relation, theirs in ablation.expects:
    if ours in runs and theirs in runs:
      d = difference(runs[ours][main], runs[theirs][main])
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
  names = list(a["rows"][0]["figures"]) if a["rows"] else []
  if len(a["rows"]) == 1:
    return by_figure(a["rows"][0]["figures"])
  gap = lambda d: signed(d["mean"], d["ci"]) if d else NONE
  figure = lambda f: number(f["mean"], 3, f["ci"])
  cells = {
    a["axis"] or "row": lambda r: r["row"],
    **{name: lambda r, name=name: figure(r["figures"][name]) for name in names},
    f"{a['main']} − {a['first']}": lambda r: gap(r["against_first"]),
    "seeds": lambda r: str(len(r["figures"][a["main"]]["seeds"])),
    "paper": lambda r: NONE if r["paper"] is None else str(r["paper"]),
  }
  return columns(a["rows"], cells, "summary").without_empty()


def by_figure(figures: dict[str, Row]) -> Table:
  """A figure of a single row a line, with its value for every seed; a difference's sign test."""
  seeds = list(dict.fromkeys(seed for f in figures.values() for seed in f["seeds"]))
  at = lambda f, seed: number(f["seeds"][seed], 3) if seed in f["seeds"] else NONE
  signs = lambda f: f"{f['above_0']} of {len(f['seeds'])} > 0, p = {f['sign_p']:.2g}"
  difference = lambda name, f: "−" in name and f["sign_p"] is not None
  cells = {
    "figure": lambda row: row[0],
    "mean over runs (95 %)": lambda row: number(row[1]["mean"], 3, row[1]["ci"]),
    "sd": lambda row: number(row[1]["sd"], 3),
    "signs": lambda row: signs(row[1]) if difference(*row) else NONE,
    **{f"seed {seed}": lambda row, seed=seed: at(row[1], seed) for seed in seeds},
  }
  known = [(name, f) for name, f in figures.items() if f["mean"] is not None]
  return columns(known, cells, "summary").without_empty()


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


def picture(a: Row, figure: str) -> Chart | None:
  """Every row's mean with its interval over seeds, and each seed's value."""
  rows = [r for r in a["rows"] if r["figures"][figure]["mean"] is not None]
  numeric = a["axis"] is not None and all(r["at"] is not None for r in rows)
  at = [float(r["at"]) if numeric else float(i) for i, r in enumerate(rows)]
  cells = [r["figures"][figure] for r in rows]
  description = "; ".join(f"{r['row']} {number(r['figures'][figure]['mean'], 3)}" for r in rows)
  seeds = [(x, v) for x, c in zip(at, cells, strict=True) for v in c["seeds"].values()]
  means = [(c["mean"], c["ci"]) for c in cells]
  line, single = "-" if numeric else "", {"alpha": 0.6, "markersize": 4}
  series = charts.by_row("", means, at, description, line=line, marker="o")
  if series and seeds:
    series.insert(
      0, Series("", *zip(*seeds, strict=True), colour="base", line="", marker="o", options=single)
    )
  names = [
    f"{x:g}" if numeric else r["row"].replace("_", " ") for x, r in zip(at, rows, strict=True)
  ]
  note = "Grey: single seeds. Blue: their mean"
  note += " with a 95 % t interval over seeds." if any(c["ci"] for c in cells) else "."
  how: Any = {"ticks": dict(zip(at, names, strict=True)), "log": "x" if numeric else ""}
  title, x = f"{a['title']}: {figure}", str(a["axis"]) if numeric else ""
  return charts.plot(title, series, x, figure, note, **how)


def section(a: Row) -> pages.Section:
  """One ablation: its claims, a picture and a table."""
  figures = list(a["rows"][0]["figures"]) if a["rows"] else []
  drawn = [p for figure in figures if (p := picture(a, figure))]
  note = (
    "Means over seeds; brackets hold 95 % t intervals over seeds. Differences are of runs with the "
    "same seed. The paper's numbers are on its own scales."
  )
  more = [pages.Details("Other figures", [pages.Pictures(drawn[1:])])] if drawn[1:] else []
  claims = pages.Says([claim(c) for c in a["claims"]])
  stop = overoptimisation.of_rows(a.get("overoptimisation", {}))
  parts = [claims, pages.Pictures(drawn[:1]), table(a), pages.Words(note), *more, *stop]
  return pages.Section(a["name"], a["title"], parts)


def page(s: Row) -> pages.Page:
  """A picture and a table for every ablation."""
  seeds = f"seeds {', '.join(map(str, s['seeds']))}"
  facts = [seeds, s["device"] or "", f"{seconds(s['seconds'])} of runs"]
  failed = [pages.Section("failed", "Failed", [pages.Says(s["failed"])])] if s["failed"] else []
  parts = [section(a) for a in s["ablations"]]
  sections = [*failed, *parts, pages.Section("json", "JSON", [pages.dump("sweep.json", s)])]
  return pages.Page("Ablations", [fact for fact in facts if fact], sections)
