"""The page that compares systems: what xwinjax.eval.comparison found, and every answer."""

from __future__ import annotations

from collections.abc import Sequence

from xwinjax.report import charts, pages
from xwinjax.report.tables import NONE, Row, Table, columns, lines, number, percent

MOST_LINES = 20  # of a table in the terminal


def _rate(figure: Row) -> str:
  return percent(figure["value"], figure["ci"])


def matrix(view: Row) -> Table:
  """How often the row's system beats the column's; a tie is half a win."""
  order = [s["system"] for s in view["strengths"]]
  cells = {}
  for c in view["comparisons"]:
    rate = c["win_rate"]
    turned = {
      "value": 1 - rate["value"],
      "ci": rate["ci"] and [1 - rate["ci"][1], 1 - rate["ci"][0]],
    }
    cells[c["a"], c["b"]], cells[c["b"], c["a"]] = _rate(rate), _rate(turned)
  rows = [(a, *("" if a == b else cells.get((a, b), NONE) for b in order)) for a in order]
  return Table(("wins of the row over", *order), rows, "summary")


def strength_table(view: Row) -> Table:
  parts = len({s["group"] for s in view["strengths"]}) > 1
  cells = {
    "system": lambda s: s["system"],
    "strength": lambda s: number(s["strength"], 0, s["ci"]),
    "comparisons": lambda s: str(s["comparisons"]),
    "group": lambda s: str(s["group"] + 1) if parts else NONE,
  }
  return columns(view["strengths"], cells).without_empty()


def category_table(view: Row) -> Table:
  """Each system's strength within each category."""
  by = {k: {s["system"]: s for s in rows} for k, rows in view["categories"].items()}
  if not by:
    return Table()
  order = [s["system"] for s in view["strengths"]]
  cell = lambda s: number(s["strength"], 0, s["ci"]) if s else NONE
  rows = [(name, *(cell(by[k].get(name)) for k in by)) for name in order]
  return Table(("system", *by), rows, "summary")


def system_table(summary: Row) -> Table:
  """What each system answered: how much, how long, with what scores."""
  rows = [{**row, "name": name} for name, row in summary["systems"].items()]
  scores = sorted({s for row in rows for s in row["scores"]})
  score = lambda name: (
    lambda row: number(f["value"], ci=f["ci"]) if (f := row["scores"].get(name)) else NONE
  )
  cells = {
    "system": lambda r: r["name"],
    "prompts": lambda r: str(r["answers"]),
    "empty": lambda r: str(r["empty"]) if r["empty"] else NONE,
    "characters": lambda r: number(r["characters"], 0),
    "tokens": lambda r: number(r["tokens"], 0),
    **{f"score {name}": score(name) for name in scores},
  }
  return columns(rows, cells, "summary").without_empty()


def length_table(view: Row) -> Table:
  cells = {
    "system": lambda r: r["name"],
    "wins where longer": lambda r: _rate(r["longer"]),
    "of": lambda r: str(r["longer"]["n"]),
    "wins where shorter": lambda r: _rate(r["shorter"]),
    "of ": lambda r: str(r["shorter"]["n"]),
  }
  rows = [{**row, "name": name} for name, row in view["length"]["systems"].items()]
  return columns(rows, cells, "summary")


def longer_wins(view: Row) -> str:
  figure = view["length"]["longer_wins"]
  if figure["value"] is None:
    return ""
  return f"The longer answer wins {_rate(figure)} of {figure['n']} comparisons."


def strength_chart(name: str, view: Row) -> charts.Chart | None:
  rows = view["strengths"]
  y = [s["strength"] for s in rows]
  ends = [[(s["ci"] or [s["strength"]] * 2)[i] for s in rows] for i in (0, 1)]
  said = ", ".join(f"{s['system']} {number(s['strength'], 0)}" for s in rows)
  line = charts.Series("", range(len(rows)), y, line="", marker="o", ends=ends, description=said)
  ticks = {float(i): s["system"] for i, s in enumerate(rows)}
  note = "400 points are odds of 10 to 1. Bars are 95 % intervals over prompts."
  return charts.plot(f"Strength by {name}", [line], "", "points", note, ticks=ticks)


def _view_parts(name: str, view: Row) -> list[pages.Part]:
  table = category_table(view)
  by_category = [pages.Words("Strength by category", "heading"), table] if table else []
  parts = len({s["group"] for s in view["strengths"]}) > 1
  apart = "Systems of different groups were never compared, not by way of others either."
  return [
    pages.Words("Win rates", "heading"),
    matrix(view),
    pages.Words("Strengths", "heading"),
    pages.Beside([strength_table(view), pages.Pictures([strength_chart(name, view)])]),
    *([apart] if parts else []),
    *by_category,
    *(
      [pages.Words("Length", "heading"), longer_wins(view), length_table(view)]
      if longer_wins(view)
      else []
    ),
  ]


def facts(summary: Row) -> list[str]:
  counts = {"system": len(summary["names"]), "prompt": summary["prompts"]}
  judged = {name: sum(c["votes"] for c in v["comparisons"]) for name, v in summary["views"].items()}
  said = [f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items()]
  said += [f"{n} comparisons by {name}" for name, n in judged.items()]
  return said + [f"{n} {what}" for what, n in summary["counts"].items() if "left out" in what]


def page(summary: Row, samples: Row, title: str) -> pages.Page:
  """All of it as a page; `samples` are eval.comparison's, as many as the page is to hold."""
  views = summary["views"]
  many = len(views) > 1
  how = (
    "A tie is half a win. Strengths are Bradley-Terry's, with mean 0: 400 points more are odds of "
    "10 to 1. Brackets hold 95 % intervals that resample prompts."
  )
  sections = [
    pages.Section(
      f"view{i}",
      f"By {name}" if many else "Win rates and strengths",
      [*([pages.Words(how)] if not i else []), *_view_parts(name, view)],
    )
    for i, (name, view) in enumerate(views.items())
  ]
  about = pages.Section("systems", "Systems", [system_table(summary)])
  shown = len(samples["items"])
  some = f"{shown} of {samples['of']} prompts, spread evenly." if shown < samples["of"] else ""
  answers = pages.Section("answers", "Answers", [some, pages.Explorer(samples)])
  figures = pages.Section("json", "JSON", [pages.dump("All figures", summary)])
  return pages.Page(f"Comparison: {title}", facts(summary), [about, *sections, answers, figures])


def text(summary: Row) -> str:
  """Win rates and strengths for a terminal."""
  screen = [", ".join(facts(summary)), "", lines(system_table(summary), MOST_LINES)]
  for name, view in summary["views"].items():
    screen += ["", f"By {name}: strengths in points, 95 % intervals over prompts"]
    screen += [lines(strength_table(view), MOST_LINES), ""]
    shown: Sequence[Row] = view["comparisons"][:MOST_LINES]
    screen += [f"{c['a']} vs {c['b']}: {_rate(c['win_rate'])} of {c['votes']}" for c in shown]
    screen += [f"… and {n} more" for n in [len(view["comparisons"]) - len(shown)] if n]
    screen += [longer_wins(view)]
  return "\n".join(screen).strip()
