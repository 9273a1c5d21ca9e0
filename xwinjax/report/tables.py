"""Figures as people read them: numbers with intervals, and tables for a page or a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

NONE = "–"
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Text:
  """What somebody wrote: the turns of a prompt or an answer, and a line about it."""

  words: str = ""
  turns: Sequence[Row] = ()  # role, content and perhaps a grade
  note: str = ""
  shape: ClassVar[str] = "text"


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells are strings, or a `Text` each. The first column names the row."""

  head: tuple[str, ...] = ()
  rows: Sequence[tuple[Any, ...]] = ()
  style: str = ""  # summary, mono or texts
  shape: ClassVar[str] = "table"

  def __bool__(self) -> bool:
    return bool(self.rows)

  def without_empty(self) -> Table:
    """Leaves out columns that say nothing in any row."""
    keep = [i for i in range(len(self.head)) if any(row[i] != NONE for row in self.rows)]
    pick = lambda cells: tuple(cells[i] for i in keep)
    return Table(pick(self.head), [pick(row) for row in self.rows], self.style)


def columns(
  rows: Iterable[Any], cells: Mapping[str, Callable[[Any], Any]], style: str = ""
) -> Table:
  """A line for each of `rows`; a column is its head and what makes a cell of a row."""
  return Table(tuple(cells), [tuple(cell(row) for cell in cells.values()) for row in rows], style)


def figures(rows: Iterable[tuple[str, Any]]) -> Table:
  """A line a figure, those left out that there are not."""
  return Table(("figure", "value"), [(name, str(v)) for name, v in rows if v not in (None, NONE)])


def lines(table: Table, most: int | None = None) -> str:
  """The table's first rows for a terminal: columns as wide as their widest cell."""
  cells = [table.head, *table.rows[:most]]
  widths = [max(len(row[i]) for row in cells) for i in range(len(table.head))]
  return "\n".join(
    "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
  )


def markdown(table: Table) -> str:
  """The table as Markdown has it."""
  rows = [table.head, ("---",) * len(table.head), *table.rows]
  return "\n".join(f"| {' | '.join(str(c).replace('|', chr(92) + '|') for c in r)} |" for r in rows)


def _with_ci(show: Callable[[float], str], x: float, ci: Sequence[float] | None) -> str:
  text = lambda v: show(v).replace("-", "−")
  return text(x) + (f" [{text(ci[0])}, {text(ci[1])}]" if ci else "")


def number(x: float | None, digits: int = 2, ci: Sequence[float] | None = None) -> str:
  """A figure with its interval: 3.89 [3.80, 3.98]. A true minus, and no minus before zero."""
  return NONE if x is None else _with_ci(lambda v: f"{round(v, digits) + 0.0:.{digits}f}", x, ci)


def percent(x: float | None, ci: Sequence[float] | None = None) -> str:
  """A share with its interval: 76.5% [74.6%, 78.4%]."""
  if x is None:
    return NONE
  return f"{x:.1%}" + (f" [{ci[0]:.1%}, {ci[1]:.1%}]" if ci else "")


def signed(x: float, ci: Sequence[float] | None = None) -> str:
  """A gain with its interval: +1.18 [+1.08, +1.28]; three digits where two would say nothing."""
  digits = 2 if abs(x) >= 0.05 else 3
  return _with_ci(lambda v: f"{round(v, digits) + 0.0:+.{digits}f}", x, ci)


def seconds(x: float) -> str:
  """75 as 1 min 15 s."""
  if x < 60:
    return f"{x:.1f} s"
  minutes, rest = divmod(round(x), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def powers(n: int) -> list[int]:
  """The powers of two up to n, and n.

  >>> powers(10)
  [1, 2, 4, 8, 10]
  """
  return sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | {n})


def gained(ours: str, theirs: str, gain: Row, points: str) -> str:
  """What the interval of a gain says, in words."""
  by = f"{signed(gain['mean'], gain['ci'])} {points} points"
  if not gain["significant"]:
    return f"{ours} and {theirs}: no significant difference, {by}"
  return f"{ours} {'beats' if gain['mean'] > 0 else 'is worse than'} {theirs}: {by}"
