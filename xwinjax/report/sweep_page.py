"""The page of a sweep: a picture and a table for every ablation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.data import jsonl
from xwinjax.report import charts, sweep
from xwinjax.report.charts import Chart
from xwinjax.report.lima_page import environment
from xwinjax.report.tables import Row, number, seconds


def picture(a: Row, figure: str) -> Chart | None:
  """Every row's mean with its interval over seeds, and each seed's value."""
  rows = [r for r in a["rows"] if r["figures"][figure]["mean"] is not None]
  if not rows:
    return None
  numeric = a["axis"] is not None and all(r["at"] is not None for r in rows)
  at = [float(r["at"]) if numeric else float(i) for i, r in enumerate(rows)]
  cells = [r["figures"][figure] for r in rows]
  mean = np.array([c["mean"] for c in cells])
  ends = np.array([c["ci"] or (c["mean"], c["mean"]) for c in cells])
  said = [f"{r['row']} {number(c['mean'], 3)}" for r, c in zip(rows, cells, strict=True)]
  with charts._drawing(str(a["axis"]) if numeric else "", figure) as (drawn, axes):
    for x, c in zip(at, cells, strict=True):
      values = list(c["seeds"].values())
      axes.plot(
        [x] * len(values), values, "o", color=charts.COLOURS["base"], alpha=0.6, markersize=4
      )
    axes.errorbar(
      at,
      mean,
      yerr=np.abs([mean - ends[:, 0], ends[:, 1] - mean]),
      capsize=3,
      fmt="o-" if numeric else "o",
      color=charts.COLOURS["one"],
    )
    if numeric:
      axes.set_xscale("log", base=2)
      axes.set_xticks(at, [f"{x:g}" for x in at])
      axes.minorticks_off()
    else:
      axes.set_xticks(
        at,
        [r["row"].replace("_", " ") for r in rows],
        rotation=0 if len(rows) < 5 else 40,
        ha="center" if len(rows) < 5 else "right",
      )
      axes.set_xlim(-0.5, len(rows) - 0.5)
    note = "Grey: single seeds. Blue: their mean"
    note += " with a 95 % t interval over seeds." if any(c["ci"] for c in cells) else "."
    return charts._chart(drawn, f"{a['title']}: {figure}", note, "; ".join(said))


def content(s: Row) -> dict[str, Any]:
  """All that the template shows."""
  parts = []
  for a in s["ablations"]:
    figures = list(a["rows"][0]["figures"]) if a["rows"] else []
    pictures = [p for p in (picture(a, f) for f in figures) if p]
    parts.append(
      {
        "name": a["name"],
        "title": a["title"],
        "table": sweep.table(a),
        "claims": [sweep.claim(c) for c in a["claims"]],
        "main": pictures[:1],
        "others": pictures[1:],
      }
    )
  return {
    "ablations": parts,
    "failed": s["failed"],
    "facts": [
      f"seeds {', '.join(map(str, s['seeds']))}",
      s["device"] or "",
      f"{seconds(s['seconds'])} of runs",
    ],
    "json": json.dumps(s, indent=1, ensure_ascii=False),
  }


def render(s: Row, *, escape: bool = True) -> str:
  """The page's HTML. Every text is escaped by the template; only the charts are markup."""
  return environment(escape=escape).get_template("sweep.html.j2").render(content(s))


def write(s: Row, path: str | Path) -> Path:
  return jsonl.write_atomic(path, render(s))
