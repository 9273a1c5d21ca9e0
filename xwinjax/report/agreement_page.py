"""The page of votes: one file, made from what xwinjax.eval.agreement found and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from xwinjax.data import jsonl
from xwinjax.report import agreement_tables as tables
from xwinjax.report import charts
from xwinjax.report.tables import Row, percent

MOST_DISAGREEMENTS = 50


def bar_chart(s: Row) -> list[charts.Chart]:
  shares = {
    f"{c['a']}\nvs {c['b']}": tuple(c[k]["value"] for k in ("win", "tie", "lose"))
    for c in s["comparisons"]
  }
  made = charts.win_tie_lose(
    "Votes for the first system, for neither, for the second",
    shares,
    "Each vote counts once. The table below has the intervals.",
  )
  return [made] if made else []


def content(s: Row, title: str) -> dict[str, Any]:
  """All that the template shows."""
  return {
    "title": title,
    "facts": tables.facts(s),
    "bars": bar_chart(s),
    "comparisons": tables.comparisons(s),
    "first_shown": tables.first_shown(s),
    "agreement": tables.agreement(s),
    "groups": tables.groups(s),
    "pairs": tables.pairs(s),
    "more_pairs": max(0, len(s["pairs"]) - tables.MOST_PAIRS),
    "judges": s["judges"],
    "usefulness": tables.usefulness(s),
    "grades": tables.grades(s),
    "people": tables.people(s),
    "disagreements": s["disagreements"][:MOST_DISAGREEMENTS],
    "all_disagreements": len(s["disagreements"]),
    "percent": percent,
    "json": json.dumps(
      {k: v for k, v in s.items() if k != "disagreements"}, indent=1, ensure_ascii=False
    ),
  }


def render(s: Row, title: str, *, escape: bool = True) -> str:
  """The page's HTML. Every text is escaped by the template; only the charts are markup."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=escape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template("agreement.html.j2").render(content(s, title))


def write(s: Row, title: str, path: str | Path) -> Path:
  return jsonl.write_atomic(path, render(s, title))
