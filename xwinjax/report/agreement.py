"""The report of votes: what xwinjax.eval.agreement found, for the terminal and as a page."""

from __future__ import annotations

from collections.abc import Iterator

from xwinjax.report import charts, pages
from xwinjax.report.tables import NONE, Row, Table, Text, columns, lines, number, percent

MOST_PAIRS = 40  # pairs of annotators that are shown; JSON has all
MOST_DISAGREEMENTS = 50
MOST_LINES = 12  # of a table in the terminal
BAR = 30  # characters
SHARES = {  # head -> figure of a comparison
  **{"wins": "win", "ties": "tie", "loses": "lose"},
  **{"equal or better": "equal_or_better", "win rate, ties half": "win_rate"},
}


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
  parts = [f"{n} {what}{'' if n == 1 else 's'}" for what, n in counted.items()]
  if s["left_out_by_checks"]:
    parts.append(f"{s['left_out_by_checks']} votes left out: too few attention checks passed")
  return parts + [f"{n} {what}" for what, n in s["counts"].items() if what.startswith("left out")]


def _names(c: Row) -> str:
  return f"{c['a']} vs {c['b']}"


def _between(pair: Row) -> str:
  return " – ".join(pair["between"])


def comparisons(s: Row) -> Table:
  cells = {
    "systems": _names,
    **{head: lambda c, key=key: _share(c[key]) for head, key in SHARES.items()},
    "votes": lambda c: str(c["votes"]),
  }
  return columns(s["comparisons"], cells, "summary")


def agreement(s: Row) -> Table:
  """How far people agree, over all their pairs of votes on an item."""
  a = s["agreement"]
  if not a["tie_discounted"]["n"]:
    return Table()
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


def majority(s: Row) -> Table:
  """How far judges agree with the majority of people."""
  cells = {
    "judge": lambda j: j["name"],
    "agrees with people's majority": lambda j: _share(j["exact"]),
    "ties discounted": lambda j: _share(j["tie_discounted"]),
    "Cohen's κ": lambda j: number(j["cohen_kappa"]),
    "items": lambda j: str(j["exact"]["n"]),
  }
  return columns([{**j, "name": n} for n, j in s["majority"]["judges"].items()], cells)


def majority_line(s: Row) -> str:
  """Who wins by the majority on items with several votes."""
  m = s["majority"]
  if not m["items"]:
    return ""
  rates = [f"{_names(c)} {_share(c['win_rate'])} of {c['votes']}" for c in m["comparisons"]]
  more = f"; and {len(rates) - 6} more pairs" if len(rates) > 6 else ""
  none = f", none on {m['without']} more" if m["without"] else ""
  return (
    f"People's majority on {m['items']} items with several votes{none}; win rates by it: "
    f"{'; '.join(rates[:6])}{more}"
  )


def groups(s: Row) -> Table:
  """Agreement of groups of annotators, and of judges with them."""
  cells = {
    "between": _between,
    "agreement, ties discounted": _share,
    "exact": lambda g: percent(g["exact"]),
    "pairs of votes": lambda g: str(g["n"]),
    "prompts": lambda g: str(g["prompts"]),
  }
  return columns(s["groups"], cells)


def pairs(s: Row) -> Table:
  cells = {
    "between": _between,
    "agreement, ties discounted": _share,
    "exact": lambda p: percent(p["exact"]),
    "Cohen's κ": lambda p: number(p["cohen_kappa"]),
    "items": lambda p: str(p["n"]),
  }
  return columns(s["pairs"][:MOST_PAIRS], cells)


def people(s: Row) -> Table:
  cells = {
    "annotator": lambda p: p["name"],
    "votes": lambda p: str(p["votes"]),
    "checks passed": lambda p: f"{p['passed']} of {p['checks']}" if p["checks"] else NONE,
    "median seconds": lambda p: number(p["median_seconds"], 1),
  }
  rows = [{**p, "name": name} for name, p in s["people"].items()]
  return columns(rows, cells).without_empty()


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
  width = max((len(_names(c)) for c in s["comparisons"]), default=0)
  for c in s["comparisons"]:
    win, lose = (round(BAR * c[k]["value"]) for k in ("win", "lose"))
    bar = "█" * win + "▒" * (BAR - win - lose) + "░" * lose
    yield (
      f"{_names(c):{width}}  {bar}  wins {c['win']['value']:.0%}, ties {c['tie']['value']:.0%}, "
      f"loses {c['lose']['value']:.0%} of {c['votes']}; win rate {_share(c['win_rate'])}"
    )


def text(s: Row, disagreements: int = 5) -> str:
  """All of it for a terminal."""
  screen = [", ".join(facts(s)), "95 % intervals in brackets resample prompts", ""]
  screen += [*bars(s), first_shown(s), majority_line(s), ""]
  for table in (
    agreement(s),
    majority(s),
    groups(s),
    pairs(s),
    usefulness(s),
    grades(s),
    people(s),
  ):
    screen += lines(table, MOST_LINES).split("\n") if table else []
    if (more := len(table.rows) - MOST_LINES) > 0:
      screen.append(f"… and {more} more; the page and --json have them")
    screen.append("")
  rows = s["disagreements"]
  if rows:
    screen.append(f"{len(rows)} items without full agreement; those agreed on least:")
  for row in rows[:disagreements]:
    votes = ", ".join(f"{who}: {label}" for who, label in row["votes"].items())
    words = " ".join(row["prompt"].split())
    screen.append(f"  {row['agreement']:.0%}  {_names(row)}  {words[:60]}  ({votes})")
  kept = [line for line, before in zip(screen, ["", *screen], strict=False) if line or before]
  return "\n".join(kept).strip()


def disagreements(s: Row) -> Table:
  """The items that people agree on least, with their votes."""
  short = lambda text: text if len(text) <= 400 else text[:397] + "..."
  turn = lambda r: f"\nturn {r['turn']}" if r["turn"] > 1 else ""
  cells = {
    "prompt": lambda r: Text(short(r["prompt"])),
    "systems": lambda r: Text(f"{r['a']} (A)\n{r['b']} (B){turn(r)}"),
    "votes": lambda r: Text("\n".join(f"{who}: {label}" for who, label in r["votes"].items())),
    "agreement": lambda r: percent(r["agreement"]),
  }
  return columns(s["disagreements"][:MOST_DISAGREEMENTS], cells, "texts")


def _agreement_parts(s: Row) -> list[pages.Part]:
  parts: list[pages.Part] = ["No item was compared by two people."]
  if table := agreement(s):
    note = (
      "With ties discounted, two votes on an item score 1 where they say the same, ½ where exactly "
      "one says tie, else 0. κ and α are 1 for full agreement and 0 for what chance would give."
    )
    parts = [table, pages.Words(note)]
  if line := majority_line(s):
    parts.append(line)
  if table := majority(s):
    parts.append(table)
  if table := groups(s):
    note = "Annotators whose names differ in a number alone are one group."
    if s["judges"]:
      note += f" Judges ({', '.join(s['judges'])}) meet people, and not each other."
    parts += [pages.Words("By group", "heading"), table, pages.Words(note)]
  if table := pairs(s):
    more = len(s["pairs"]) - MOST_PAIRS
    rest = f"{more} more with fewer items in common; --json has them."
    inside = [table, *([pages.Words(rest)] if more > 0 else [])]
    parts.append(pages.Details("Pair by pair", inside, open=len(table.rows) <= 12))
  return parts


def _disagreement_parts(s: Row) -> list[pages.Part]:
  table, all_ = disagreements(s), len(s["disagreements"])
  if not table:
    return ["None."]
  left = f": {len(table.rows)} of {all_}; --json has them all" if all_ > len(table.rows) else ""
  return [
    pages.Words(f"Items on which people do not all agree, least agreement first{left}."),
    table,
  ]


def page(s: Row, title: str) -> pages.Page:
  """All of it as a page; `title` says whose votes they are."""
  shares = {
    f"{c['a']}\nvs {c['b']}": [c[k]["value"] for k in ("win", "tie", "lose")]
    for c in s["comparisons"]
  }
  bars = charts.win_tie_lose(
    "Votes for the first system, for neither, for the second",
    shares,
    "Each vote counts once. The table below has the intervals.",
  )
  won = (
    "Brackets hold 95 % intervals that resample prompts. “Equal or better” is wins and ties "
    "together, as LIMA tells it."
  )
  drawn = pages.Pictures([bars], wide=True)
  compared, used, graded = comparisons(s), usefulness(s), grades(s)
  figures = {k: v for k, v in s.items() if k != "disagreements"}
  parts = {
    ("comparisons", "Wins, ties, losses"): compared
    and [drawn, compared, first_shown(s), pages.Words(won)],
    ("usefulness", "Usefulness"): used and [used],
    ("grades", "Grades of each turn"): graded and [graded],
    ("agreement", "Agreement"): _agreement_parts(s),
    ("people", "Annotators"): [people(s)],
    ("disagreements", "Disagreements"): _disagreement_parts(s),
    ("json", "JSON"): [pages.dump("All figures", figures)],
  }
  sections = [pages.Section(*name, contents) for name, contents in parts.items() if contents]
  return pages.Page(f"Votes: {title}", facts(s), sections)
