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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, ScalarFormatter

from xwinjax.eval import statistics
from xwinjax.report.tables import number, powers, seconds
from xwinjax.report.workdir import NAMES, Row

INK, GRID, PAPER = "#333333", "#dcdcdc", "#fefefe"
COLOURS = {
  "base": "#767676",
  "sft": "#0072b2",
  "rs": "#d55e00",
  "dpo": "#009e73",
  "one": "#0072b2",
  "two": "#d55e00",
}
MARKERS = {"base": "o", "sft": "s", "rs": "^", "dpo": "D"}
LINES = {"base": ":", "sft": "--", "rs": "-.", "dpo": "-"}
_VARIABLES = {
  INK: "ink",
  GRID: "grid",
  PAPER: "page",
  **{c: name for name, c in COLOURS.items() if name not in ("one", "two")},
}
_STYLE: Any = {
  "svg.fonttype": "none",
  "font.family": ["DejaVu Sans"],
  "font.size": 10,
  "text.color": INK,
  "axes.edgecolor": INK,
  "axes.labelcolor": INK,
  "xtick.color": INK,
  "ytick.color": INK,
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


@dataclasses.dataclass(frozen=True)
class Chart:
  """A picture, its title, and a sentence on how to read it."""

  title: str
  note: str
  svg: str


@contextlib.contextmanager
def _drawing(
  x: str, y: str, size: tuple[float, float] = (5.4, 3.5)
) -> Iterator[tuple[Figure, Axes]]:
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    yield figure, axes


def _chart(figure: Figure, title: str, note: str, said: str) -> Chart:
  """The figure as SVG for inside a page; `said` is what it shows, for those who do not see it."""
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
    f"<desc>{html.escape(said)}</desc>"
  )
  return Chart(title, note, re.sub(r"^.*?<svg[^>]*>", lambda _: head, svg, flags=re.DOTALL))


def _legend(axes: Axes) -> None:
  """Above the picture, where it covers nothing."""
  axes.legend(
    loc="lower left",
    bbox_to_anchor=(-0.02, 1.0),
    ncols=4,
    borderaxespad=0.1,
    handlelength=2.4,
    columnspacing=1.2,
  )


def _log2(axes: Axes, most: int) -> None:
  axes.set_xscale("log", base=2)
  ticks = [k for k in powers(most) if k == most or 1.3 * k < most]  # room for the last one
  axes.xaxis.set_major_locator(FixedLocator(ticks))
  axes.xaxis.set_major_formatter(ScalarFormatter())
  axes.xaxis.set_minor_formatter(NullFormatter())


def windows(values: np.ndarray, most: int = 80) -> list[np.ndarray]:
  """The values in at most `most` equal windows, in order."""
  return np.array_split(values, min(most, len(values))) if len(values) else []


def steps(
  title: str,
  rows: Sequence[Row],
  series: Mapping[str, str],
  y: str,
  note: str,
  *,
  level: tuple[float, str] | None = None,
  points: Mapping[int, float] | None = None,
  limits: tuple[float, float] | None = None,
  log: bool = False,
) -> Chart | None:
  """Logged values against the step, as means of windows with each window's range.

  Args:
    series: label -> key of metrics.jsonl; keys that were not logged are left out.
    level: a value to compare with, and its name.
    points: step -> a value measured apart, such as the held-out loss.
    limits: of the y axis.
    log: a logarithmic y axis, where the means differ by more than a factor of 5.
  """
  said, means = [], []
  with _drawing("step", y) as (figure, axes):
    for (label, key), colour in zip(series.items(), ("one", "two"), strict=False):
      logged = [(r["step"], r[key]) for r in rows if r.get(key) is not None]
      if not logged:
        continue
      at, values = (windows(np.array(column, float)) for column in zip(*logged, strict=True))
      middle, mean = [a.mean() for a in at], [v.mean() for v in values]
      means += mean
      axes.fill_between(
        middle,
        [v.min() for v in values],
        [v.max() for v in values],
        color=COLOURS[colour],
        alpha=0.2,
        linewidth=0,
      )
      axes.plot(
        middle, mean, color=COLOURS[colour], label=label, linestyle="-" if colour == "one" else "--"
      )
      said.append(f"{label}: {number(mean[0], 3)} at first, {number(mean[-1], 3)} at last")
    if not said:
      return None
    if points:
      axes.plot(list(points), list(points.values()), "D", color=COLOURS["two"], label="held-out")
      said += [f"held-out: {number(v, 3)} at step {k}" for k, v in points.items()]
    if level:
      axes.axhline(level[0], color=INK, linewidth=0.9, linestyle=":", label=level[1])
    if limits:
      axes.set_ylim(*limits)
    elif log and 0 < 5 * min(means) < max(means):
      axes.set_yscale("log")
      axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
      axes.yaxis.set_major_formatter(ScalarFormatter())
      axes.yaxis.set_minor_formatter(NullFormatter())
    if len(axes.get_legend_handles_labels()[1]) > 1:
      _legend(axes)
    return _chart(figure, title, note, "; ".join(said))


def best_of_k(title: str, curves: Mapping[str, Sequence[float]], y: str, note: str) -> Chart | None:
  """A curve a model; k on a scale of powers of two."""
  if not curves:
    return None
  most = max(map(len, curves.values()))
  with _drawing("k candidates to pick from", y) as (figure, axes):
    for name, curve in curves.items():
      axes.plot(
        range(1, len(curve) + 1),
        curve,
        LINES[name],
        color=COLOURS[name],
        marker=MARKERS[name],
        markevery=[k - 1 for k in powers(len(curve))],
        label=NAMES[name],
      )
    _log2(axes, most)
    _legend(axes)
    said = [
      f"{NAMES[n]}: {number(c[0])} at k = 1, {number(c[-1])} at k = {len(c)}"
      for n, c in curves.items()
    ]
    return _chart(figure, title, note, "; ".join(said))


@dataclasses.dataclass(frozen=True)
class Point:
  """A model in the picture of KL against score: prompts, and their mean with its interval."""

  kl_P: np.ndarray
  score_P: np.ndarray
  kl_ci: Sequence[float]
  score_ci: Sequence[float]


def best_of_n_kl(n: np.ndarray) -> np.ndarray:
  """KL of best-of-n to the model sampled from: at most log n - (n - 1) / n nats.

  Source: Stiennon et al. 2020, appendix G.3; Beirami et al. 2024 show that it is a bound.
  """
  return np.log(n) - (n - 1) / n


def kl_score(
  title: str, points: Mapping[str, Point], best_of_n: Sequence[float], y: str, note: str
) -> Chart | None:
  """Where each model lies, beside what picking the best of n from the reference would give."""
  if not points:
    return None
  said = []
  with _drawing("KL to SFT, nats an answer", y) as (figure, axes):
    if len(best_of_n) > 1:
      n = np.arange(1, len(best_of_n) + 1)
      axes.plot(best_of_n_kl(n), best_of_n, color=INK, linewidth=1, label="best of n, SFT")
    for name, p in points.items():
      kl, score = float(p.kl_P.mean()), float(p.score_P.mean())
      axes.plot(p.kl_P, p.score_P, ".", color=COLOURS[name], alpha=0.35, markersize=4)
      axes.errorbar(
        kl,
        score,
        xerr=[[kl - p.kl_ci[0]], [p.kl_ci[1] - kl]],
        yerr=[[score - p.score_ci[0]], [p.score_ci[1] - score]],
        color=COLOURS[name],
        marker=MARKERS[name],
        markersize=8,
        markeredgecolor="white",
        markeredgewidth=0.6,
        label=NAMES[name],
        capsize=2,
        linestyle="none",
      )
      said.append(f"{NAMES[name]}: KL {number(kl)}, score {number(score)}")
    _legend(axes)
    return _chart(figure, title, note, "; ".join(said))


def histogram(title: str, values: Mapping[str, np.ndarray], x: str, note: str) -> Chart | None:
  """Shares of answers by score, as an outline a model; what lies beyond goes to the end bins."""
  if not values:
    return None
  low, high = np.percentile(np.concatenate([v.ravel() for v in values.values()]), (0.2, 99.8))
  edges = np.linspace(low, high if high > low else low + 1, 31)
  with _drawing(x, "share of answers") as (figure, axes):
    for name, v in values.items():
      counts, _ = np.histogram(v.clip(edges[0], edges[-1]), edges)
      axes.stairs(
        counts / v.size,
        edges,
        color=COLOURS[name],
        linestyle=LINES[name],
        linewidth=1.6,
        label=NAMES[name],
      )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _legend(axes)
    said = [f"{NAMES[n]}: median {number(float(np.median(v)))}" for n, v in values.items()]
    return _chart(figure, title, note, "; ".join(said))


def calibration(title: str, rows: Row, note: str) -> Chart | None:
  """Said against seen shares, with Wilson's interval of each."""
  said, seen = np.array(rows["said"]), np.array(rows["seen"])
  ci = np.array(
    [statistics.share_interval(round(s * n), n) for s, n in zip(seen, rows["pairs"], strict=True)]
  )
  with _drawing("P(preferred answer is the chosen one), said", "share seen") as (figure, axes):
    axes.plot([0.5, 1], [0.5, 1], color=INK, linewidth=0.9, linestyle=":", label="said = seen")
    # Rounding may leave the end of an interval of 0 or 1 on its wrong side.
    axes.errorbar(
      said,
      seen,
      yerr=np.abs([seen - ci[:, 0], ci[:, 1] - seen]),
      fmt="o",
      color=COLOURS["one"],
      capsize=2,
      linewidth=1.2,
      label="pairs, in equal parts",
    )
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(min(0.45, float(ci.min()) - 0.02), 1.03)
    _legend(axes)
    words = [
      f"said {number(a)}, seen {number(b)} of {n} pairs"
      for a, b, n in zip(said, seen, rows["pairs"], strict=True)
    ]
    return _chart(figure, title, note, "; ".join(words))


def spreads(title: str, values: Mapping[str, np.ndarray], x: str, note: str) -> Chart | None:
  """Median, middle half and middle 90 % of each model's values."""
  if not values:
    return None
  said = []
  with _drawing(x, "", (5.4, 0.9 + 0.45 * len(values))) as (figure, axes):
    for i, (name, v) in enumerate(values.items()):
      p5, p25, p50, p75, p95 = np.percentile(v, (5, 25, 50, 75, 95))
      axes.hlines(i, p5, p95, color=COLOURS[name], linewidth=1.5)
      axes.hlines(i, p25, p75, color=COLOURS[name], linewidth=8, alpha=0.45)
      axes.plot(p50, i, MARKERS[name], color=COLOURS[name], markersize=7)
      said.append(f"{NAMES[name]}: median {number(p50, 1)}, middle 90 % {p5:.0f} to {p95:.0f}")
    axes.set_yticks(range(len(values)), [NAMES[name] for name in values])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return _chart(figure, title, note, "; ".join(said))


def bars(title: str, values: Mapping[str, float], x: str, note: str, show=seconds) -> Chart | None:
  """A bar a stage, with its value behind it."""
  if not values:
    return None
  with _drawing(x, "", (5.4, 0.8 + 0.26 * len(values))) as (figure, axes):
    places = axes.barh(list(values), list(values.values()), color=COLOURS["one"], height=0.65)
    axes.bar_label(places, [show(v) for v in values.values()], padding=3, fontsize=9)
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return _chart(figure, title, note, "; ".join(f"{n}: {show(v)}" for n, v in values.items()))


def ranks(title: str, ranked_PS: np.ndarray, marked: Mapping[str, int], note: str) -> Chart | None:
  """Scores by rank within a prompt: the mean and the middle 80 % of prompts; marked ranks.

  Args:
    ranked_PS: each prompt's scores, best first; NaN where it has fewer candidates than others.
    marked: what a rank was taken for -> the rank, from 1.
  """
  S = ranked_PS.shape[1]
  if not S:
    return None
  at, mean = np.arange(1, S + 1), np.nanmean(ranked_PS, 0)
  low, high = np.nanpercentile(ranked_PS, (10, 90), axis=0)
  with _drawing("rank of a candidate within its prompt", "RM score") as (figure, axes):
    axes.fill_between(at, low, high, color=COLOURS["one"], alpha=0.2, linewidth=0)
    axes.plot(at, mean, color=COLOURS["one"], label="mean")
    for (label, rank), marker in zip(marked.items(), "D^sv<>", strict=False):
      axes.plot(rank, mean[rank - 1], marker, color=COLOURS["two"], markersize=8, label=label)
    _log2(axes, S)
    _legend(axes)
    said = [f"rank {k}: {number(float(mean[k - 1]))}" for k in powers(S)]
    return _chart(figure, title, note, "; ".join(said))


def win_tie_lose(
  title: str, shares: Mapping[str, tuple[float, float, float]], note: str
) -> Chart | None:
  """A bar a comparison, parted into the shares won, tied and lost, as papers draw them."""
  if not shares:
    return None
  with _drawing("share of votes", "", (5.4, 1.0 + 0.45 * len(shares))) as (figure, axes):
    left = np.zeros(len(shares))
    for i, (name, colour) in enumerate(
      {"wins": COLOURS["one"], "ties": COLOURS["base"], "loses": COLOURS["two"]}.items()
    ):
      width = np.array([three[i] for three in shares.values()])
      places = axes.barh(list(shares), width, left=left, color=colour, height=0.7, label=name)
      axes.bar_label(
        places,
        [f"{w:.0%}" if w >= 0.07 else "" for w in width],
        label_type="center",
        fontsize=9,
        color=PAPER,
      )
      left += width
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.grid(visible=False)
    _legend(axes)
    said = [
      f"{' '.join(name.split())}: wins {win:.0%}, ties {tie:.0%}, loses {lose:.0%}"
      for name, (win, tie, lose) in shares.items()
    ]
    return _chart(figure, title, note, "; ".join(said))
