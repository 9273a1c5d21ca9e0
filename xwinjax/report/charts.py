"""Pictures as SVG text: the same bytes for the same figures, readable on light and dark pages.

Text and lines take their colours from CSS variables of the page, with a colour for a white page
where there is none. The palette is Okabe and Ito's (2008), told apart by the colour-blind; models
differ in marker and line style too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xwinjax.core.extras import needs
from xwinjax.report.tables import Row, number, powers, seconds

INK, GRID, PAPER = "#333333", "#dcdcdc", "#fefefe"
COLOURS = {
  "base": "#767676",
  "sft": "#0072b2",
  "rs": "#d55e00",
  "dpo": "#009e73",
  "one": "#0072b2",
  "two": "#d55e00",
  "ink": INK,
}
STYLE: Any = {
  "svg.fonttype": "none",
  "font.family": ["DejaVu Sans"],
  "font.size": 10,
  **dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
  ),
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "grid.color": GRID,
  "grid.linewidth": 0.7,
  "axes.axisbelow": True,
  "legend.frameon": False,
  "lines.markersize": 5,
  "axes.linewidth": 0.8,
  "lines.linewidth": 1.8,
  "axes.formatter.useoffset": False,
}
_VARIABLES = {INK: "ink", GRID: "grid", PAPER: "page"} | {
  COLOURS[name]: name for name in ("base", "sft", "rs", "dpo")
}


@dataclasses.dataclass(frozen=True)
class Chart:
  """A picture, its title, and a sentence on how to read it."""

  title: str
  note: str
  svg: str


@contextlib.contextmanager
def drawing(x: str, y: str, size: tuple[float, float] = (5.4, 3.5)) -> Iterator[tuple[Any, Any]]:
  """A figure and its axes, with their labels. Raises UserError where matplotlib is missing."""
  with needs("report"):
    import matplotlib
    from matplotlib.figure import Figure

  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    yield figure, axes


def finish(figure: Any, title: str, note: str, description: str) -> Chart:
  """The figure as SVG for inside a page; `description` is for those who do not see it."""
  import matplotlib

  out = io.StringIO()
  with matplotlib.rc_context({"svg.hashsalt": title}):
    figure.savefig(out, format="svg", transparent=True)
  svg = out.getvalue()
  svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)  # holds the date
  svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # figure_1, axes_1: the same in every picture
  svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
  svg = svg.replace("'DejaVu Sans'", "system-ui, sans-serif")
  for colour, name in _VARIABLES.items():
    svg = svg.replace(colour, f"var(--{name}, {colour})")
  box = re.search(r'viewBox="[^"]*"', svg)
  assert box is not None
  head = (
    f'<svg {box[0]} xmlns="http://www.w3.org/2000/svg" '
    f'xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
    f'aria-label="{html.escape(title)}"><title>{html.escape(title)}</title>'
    f"<desc>{html.escape(description)}</desc>"
  )
  return Chart(title, note, re.sub(r"^.*?<svg[^>]*>", lambda _: head, svg, flags=re.DOTALL))


def legend(axes: Any) -> None:
  """Above the picture, where it covers nothing; none where nothing has a name."""
  if names := axes.get_legend_handles_labels()[1]:
    wide = sum(sorted(map(len, names))[-4:]) > 52  # characters of four side by side
    axes.legend(
      loc="lower left",
      bbox_to_anchor=(-0.02, 1.0),
      ncols=2 if wide and len(names) > 1 else 4,
      borderaxespad=0.1,
      handlelength=2.4,
      columnspacing=1.2,
    )


@dataclasses.dataclass(frozen=True)
class Series:
  """A line or marks. `ends` are those of each value's interval, a bar or (`band`) an area."""

  label: str  # "": not in the legend
  x: Any
  y: Any
  colour: str = "one"
  line: str = "-"  # as matplotlib writes it; "" for marks alone
  marker: str = ""
  ends: Any = None  # (low, high)
  band: bool = False
  description: str = ""
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def draw(self, axes: Any) -> None:
    how = {"color": COLOURS[self.colour], "label": self.label, **self.options}
    how |= {"linestyle": self.line, "marker": self.marker}
    if self.ends is None or self.band:
      axes.plot(self.x, self.y, **how)
    if self.ends is not None and self.band:
      axes.fill_between(self.x, *self.ends, color=how["color"], alpha=0.2, linewidth=0)
    elif self.ends is not None:
      # Rounding may leave the end of an interval on the wrong side of its value.
      bars = np.abs(np.array(self.ends) - np.array(self.y))
      axes.errorbar(self.x, self.y, yerr=bars, capsize=3, **how)


def plot(
  title: str,
  series: Sequence[Series],
  x: str,
  y: str,
  note: str,
  *,
  level: tuple[float, str] | None = None,
  ticks: Mapping[float, str] | None = None,
  log: str = "",
  shares: bool = False,
  limits: tuple[float, float] | None = None,
) -> Chart | None:
  """Series over one pair of axes; None without any.

  Args:
    level: a value to compare with, and its name.
    ticks: places on the x axis and what is written there.
    log: the axes whose scale is logarithmic, "x" or "y".
    shares: whether y is in percent.
    limits: of the y axis.
  """
  if not series:
    return None
  with drawing(x, y) as (figure, axes):
    for s in series:
      s.draw(axes)
    if level:
      axes.axhline(level[0], color=INK, linewidth=0.9, linestyle=":", label=level[1])
    if "x" in log:
      axes.set_xscale("log", base=2)
    if ticks:
      wide = sum(map(len, ticks.values())) > 40  # characters, side by side
      slanted = "x" not in log and (len(ticks) > 4 or wide)
      slant: Any = {"rotation": 40, "ha": "right"} if slanted else {}
      axes.set_xticks(list(ticks), list(ticks.values()), **slant)
      axes.minorticks_off()
      if "x" not in log:
        axes.set_xlim(min(ticks) - 0.4, max(ticks) + 0.4)
    if "y" in log:
      _log_y(axes)
    if shares:
      axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if limits:
      axes.set_ylim(*limits)
    legend(axes)
    return finish(figure, title, note, "; ".join(s.description for s in series if s.description))


def _log_y(axes: Any) -> None:
  from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

  axes.set_yscale("log")
  axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
  axes.yaxis.set_major_formatter(ScalarFormatter())
  axes.yaxis.set_minor_formatter(NullFormatter())


def doublings(most: int) -> dict[float, str]:
  """Ticks at the powers of two, with room for the last one."""
  return {k: str(k) for k in powers(most) if k == most or 1.3 * k < most}


def windows(values: np.ndarray, most: int = 80) -> list[np.ndarray]:
  """The values in at most `most` equal windows, in order."""
  return np.array_split(values, min(most, len(values))) if len(values) else []


def steps(
  title: str,
  rows: Sequence[Row],
  keys: Mapping[str, str],
  y: str,
  note: str,
  *,
  points: Mapping[int, float] | None = None,
  log: bool = False,
  **how: Any,
) -> Chart | None:
  """Logged values against the step, as means of windows with each window's range.

  Args:
    keys: label -> key of metrics.jsonl; keys that were not logged are left out.
    points: step -> a value measured apart, such as the held-out loss.
    log: a logarithmic y axis, where the means differ by more than a factor of 5.
    how: of `plot`.
  """
  series, means = [], []
  for (label, key), (colour, line) in zip(
    keys.items(), (("one", "-"), ("two", "--")), strict=False
  ):
    logged = [(r["step"], r[key]) for r in rows if r.get(key) is not None]
    if not logged:
      continue
    at, values = (windows(np.array(column, float)) for column in zip(*logged, strict=True))
    x, mean = [a.mean() for a in at], [v.mean() for v in values]
    means += mean
    ends = [v.min() for v in values], [v.max() for v in values]
    description = f"{label}: {number(mean[0], 3)} at first, {number(mean[-1], 3)} at last"
    series.append(
      Series(label, x, mean, colour, line, ends=ends, band=True, description=description)
    )
  if series and points:
    description = "; ".join(f"held-out: {number(v, 3)} at step {k}" for k, v in points.items())
    series.append(
      Series(
        "held-out", list(points), list(points.values()), "two", "", "D", description=description
      )
    )
  wide = log and bool(means) and 0 < 5 * min(means) < max(means)
  return plot(title, series, "step", y, note, log="y" if wide else "", **how)


def bars(
  title: str,
  values: Mapping[str, Sequence[float]],
  x: str,
  note: str,
  *,
  parts: Sequence[str] = ("",),
  show: Callable[[float], str] = seconds,
) -> Chart | None:
  """A bar each with its value behind it, or parted into shares with theirs inside."""
  if not values:
    return None
  whole = len(parts) == 1
  with drawing(x, "", (5.4, 0.9 + (0.26 if whole else 0.45) * len(values))) as (figure, axes):
    left = np.zeros(len(values))
    for i, (part, colour) in enumerate(zip(parts, ("one", "base", "two"), strict=False)):
      width = np.array([v[i] for v in values.values()])
      container = axes.barh(
        list(values), width, left=left, color=COLOURS[colour], height=0.68, label=part
      )
      labels = [show(w) if whole or w >= 0.07 else "" for w in width]
      inside: Any = {} if whole else {"label_type": "center", "color": PAPER}
      axes.bar_label(container, labels, fontsize=9, padding=3 if whole else 0, **inside)
      left += width
    if whole:
      axes.margins(x=0.2)
      axes.grid(axis="y", visible=False)
    else:
      axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
      axes.set_xlim(0, 1)
      axes.grid(visible=False)
    axes.invert_yaxis()
    legend(axes)
    descriptions = [
      f"{' '.join(name.split())}: "
      + ", ".join(f"{part} {show(w)}".strip() for part, w in zip(parts, v, strict=True))
      for name, v in values.items()
    ]
    return finish(figure, title, note, "; ".join(descriptions))


def win_tie_lose(title: str, shares: Mapping[str, Sequence[float]], note: str) -> Chart | None:
  """A bar a comparison, parted into the shares won, tied and lost, as papers draw them."""
  show = lambda share: f"{share:.0%}"
  return bars(title, shares, "share of votes", note, parts=("wins", "ties", "loses"), show=show)


def by_row(
  label: str,
  values: Sequence[tuple[float | None, Any]],
  at: Sequence[float],
  description: str,
  **how: Any,
) -> list[Series]:
  """Values with their intervals at the places that have any, as no series or one."""
  there = [(x, v, ci or (v, v)) for x, (v, ci) in zip(at, values, strict=True) if v is not None]
  if not there:
    return []
  x, y, ends = zip(*there, strict=True)
  return [Series(label, x, y, ends=tuple(zip(*ends, strict=True)), description=description, **how)]
