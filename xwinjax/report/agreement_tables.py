"""The figures of xwinjax.eval.agreement as tables, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from xwinjax.report.tables import NONE, Row, Table, number, percent

MOST_PAIRS = 40  # pairs of annotators that are shown; JSON has all
BAR = 30  # characters


def _share(figure: Row | None, n: bool = False) -> str:
  if not figure or figure["value"] is None:
    return NONE
  return percent(figure["value"], figure["ci"]) + (f" of {figure['n']}" if n else "")


def _coefficient(figure: Row) -> str:
  return number(figure["value"], ci=figure["ci"])


def facts(s: Row) -> list[str]:
  counted = {
    "vote": s["votes"],
    "item": s["items"],
    "prompt": s["prompts"],
    "annotator": len(s["people"]),
  }
  found = [f"{n} {what}{'' if n == 1 else 's'}" for what, n in counted.items()]
  if s["left_out_by_checks"]:
    found.append(f"{s['left_out_by_checks']} votes left out: too few attention checks passed")
  return found + [f"{n} {what}" for what, n in s["counts"].items() if what.startswith("left out")]


def comparisons(s: Row) -> Table:
  head = ("systems", "wins", "ties", "loses", "equal or better", "win rate, ties half", "votes")
  return Table(
    head,
    [
      (
        f"{c['a']} vs {c['b']}",
        _share(c["win"]),
        _share(c["tie"]),
        _share(c["lose"]),
        _share(c["equal_or_better"]),
        _share(c["win_rate"]),
        str(c["votes"]),
      )
      for c in s["comparisons"]
    ],
  )


def agreement(s: Row) -> Table:
  """How far people agree, over all their pairs of votes on an item."""
  a = s["agreement"]
  if not a["tie_discounted"]["n"]:
    return Table((), [])
  shares = [("agreement, ties discounted", a["tie_discounted"]), ("exact agreement", a["exact"])]
  fleiss = a["fleiss_kappa"]
  others = [
    (f"Fleiss' κ, items with {fleiss['raters']} votes", fleiss),
    ("Krippendorff's α, nominal", a["krippendorff_alpha_nominal"]),
    ("Krippendorff's α, ordinal", a["krippendorff_alpha_ordinal"]),
  ]
  rows = [(name, _share(f), f"{f['n']} pairs of votes", str(f["prompts"])) for name, f in shares]
  rows += [(name, _coefficient(f), f"{f['items']} items", str(f["prompts"])) for name, f in others]
  return Table(("measure", "value", "over", "prompts"), rows)


def groups(s: Row) -> Table:
  """Agreement of groups of annotators, and of judges with them."""
  head = ("between", "agreement, ties discounted", "exact", "pairs of votes", "prompts")
  return Table(
    head,
    [
      (" – ".join(g["between"]), _share(g), percent(g["exact"]), str(g["n"]), str(g["prompts"]))
      for g in s["groups"]
    ],
  )


def pairs(s: Row) -> Table:
  head = ("between", "agreement, ties discounted", "exact", "Cohen's κ", "items")
  return Table(
    head,
    [
      (
        " – ".join(p["between"]),
        _share(p),
        percent(p["exact"]),
        number(p["cohen_kappa"]),
        str(p["n"]),
      )
      for p in s["pairs"][:MOST_PAIRS]
    ],
  )


def people(s: Row) -> Table:
  rows = []
  for name, p in s["people"].items():
    checks = f"{p['passed']} of {p['checks']}" if p["checks"] else NONE
    rows.append((name, str(p["votes"]), checks, number(p["median_seconds"], 1)))
  return Table(("annotator", "votes", "checks passed", "median seconds"), rows).without_empty()


def usefulness(s: Row) -> Table:
  rows = [(name, _coefficient(f), str(f["n"])) for name, f in s["usefulness"]["systems"].items()]
  alpha = s["usefulness"]["krippendorff_alpha_interval"]
  if alpha["value"] is not None:
    rows.append(("Krippendorff's α, interval", _coefficient(alpha), str(alpha["items"])))
  return Table(("system", "usefulness, 1 to 6", "grades"), rows)


def grades(s: Row) -> Table:
  """Excellent, pass and fail by system, as LIMA tells its dialogues."""
  rows = [
    (name, *(_share(g[k]) for k in ("excellent", "pass", "fail")), str(g["pass"]["n"]))
    for name, g in s["grades"]["systems"].items()
  ]
  alpha = s["grades"]["krippendorff_alpha_ordinal"]
  if alpha["value"] is not None:
    rows.append(("Krippendorff's α, ordinal", _coefficient(alpha), "", "", str(alpha["items"])))
  return Table(("system", "excellent", "pass", "fail", "turns"), rows)


def first_shown(s: Row) -> str:
  """Whether the place on the page moved the votes."""
  figure = s["chosen_first_shown"]
  if not figure:
    return ""
  return f"Where one was better, it was the answer shown first in {_share(figure, n=True)} votes."


def bars(s: Row) -> Iterator[str]:
  """Win, tie and lose shares as lines of text."""
  width = max((len(f"{c['a']} vs {c['b']}") for c in s["comparisons"]), default=0)
  for c in s["comparisons"]:
    win, lose = (round(BAR * c[k]["value"]) for k in ("win", "lose"))
    bar = "█" * win + "▒" * (BAR - win - lose) + "░" * lose
    name = f"{c['a']} vs {c['b']}"
    yield (
      f"{name:{width}}  {bar}  wins {c['win']['value']:.0%}, ties {c['tie']['value']:.0%}, "
      f"loses {c['lose']['value']:.0%} of {c['votes']}"
    )


def plain(table: Table, most: int = 12) -> Iterator[str]:
  """A table's first rows as aligned lines of text."""
  cells = [table.head, *table.rows[:most]]
  widths = [max(len(row[i]) for row in cells) for i in range(len(table.head))]
  for row in cells if table.rows else []:
    yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
  if len(table.rows) > most:
    yield f"… and {len(table.rows) - most} more; the page and --json have them"


def text(s: Row, disagreements: int = 5) -> str:
  """All of it for a terminal."""
  lines = [", ".join(facts(s)), "95 % intervals in brackets resample prompts", ""]
  lines += [*bars(s), first_shown(s), ""]
  for table in (agreement(s), groups(s), pairs(s), usefulness(s), grades(s), people(s)):
    lines += [*plain(table), ""]
  rows = s["disagreements"]
  if rows:
    lines.append(f"{len(rows)} items without full agreement; those agreed on least:")
  for row in rows[:disagreements]:
    said = ", ".join(f"{who}: {label}" for who, label in row["votes"].items())
    words = " ".join(row["prompt"].split())
    lines.append(f"  {row['agreement']:.0%}  {row['a']} vs {row['b']}  {words[:60]}  ({said})")
  kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
  return "\n".join(kept).strip()
