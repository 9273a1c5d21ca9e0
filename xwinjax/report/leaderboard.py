"""AlpacaEval's leaderboard rows for the terminal, and as the official tool's CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from xwinjax.report.tables import NONE, Row, columns, lines, number

CONTROLLED = "length_controlled_winrate"
COLUMNS = (
  *("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total"),
  *("discrete_win_rate", "avg_length", CONTROLLED, "lc_standard_error"),
)
WITHOUT_GAMED = (
  "LC knows lengths alone: for the published figure give --gamed df_gamed.csv; --help says where "
  "it is"
)


def _lengths_alone(rows: Sequence[Row]) -> bool:
  return any(row.get("glm") == "length_controlled_minimal" for row in rows)


def text(rows: Sequence[Row]) -> str:
  """A line a model, and what there is to note of each."""
  alone = _lengths_alone(rows)
  cells = {
    "model": lambda r: r["model"],
    "baseline": lambda r: r["baseline"],
    "annotator": lambda r: r["annotator"] or NONE,
    "win rate": lambda r: number(r["win_rate"]),
    "s.e.": lambda r: number(r["standard_error"]),
    "LC, lengths alone" if alone else "LC": lambda r: number(r[CONTROLLED], ci=r.get("lc_ci")),
    "discrete": lambda r: number(r["discrete_win_rate"]),
    "wins": lambda r: str(r["n_wins"]),
    "losses": lambda r: str(r["n_wins_base"]),
    "draws": lambda r: str(r["n_draws"]),
    "of": lambda r: str(r["n_total"]),
    "length": lambda r: number(r["avg_length"], 0),
  }
  notes = [f"{r['model']}: {note}" for r in rows for note in r["notes"]]
  table = lines(columns(rows, cells).without_empty())
  return "\n".join([table, *notes, *[WITHOUT_GAMED] * alone])


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
  """As alpaca_eval's leaderboard.csv; length control by another variant has another head."""
  alone = _lengths_alone(rows)
  with Path(path).open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file)
    names = ["length_controlled_minimal" if alone and c == CONTROLLED else c for c in COLUMNS]
    writer.writerow(["", *names])
    writer.writerows([row["model"], *(row[c] for c in COLUMNS)] for row in rows)
