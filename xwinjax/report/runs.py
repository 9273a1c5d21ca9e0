"""Runs as a terminal shows them: a list, one, the difference of two."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from xwinjax.report.tables import NONE, Row, columns, lines, number, seconds

_FIGURES = 3  # of a run in the list


def listed(rows: Sequence[Row]) -> str:
  """A line a run, the oldest first."""
  if not rows:
    return "no runs"
  state = lambda r: "done" if r["done"] else f"{r['stages']} stages done"
  cells = {
    "run": lambda r: r["run"],
    "of": lambda r: r["of"],
    "seed": lambda r: NONE if r["seed"] is None else str(r["seed"]),
    "state": state,
    "finished": lambda r: r["finished"] or NONE,
    "took": lambda r: seconds(r["seconds"]),
    "figures": lambda r: _few(r["figures"]) or NONE,
  }
  return lines(columns(rows, cells).without_empty())


def _few(figures: Mapping[str, float]) -> str:
  return " · ".join(f"{name} {number(x)}" for name, x in list(figures.items())[:_FIGURES])


def one(run: Row, manifests: Mapping[str, Row]) -> str:
  """A run's origin, stages, figures, and every setting as a flag."""
  stages = columns(
    list(manifests.items()),
    {
      "stage": lambda item: item[0] or run["of"],
      "finished": lambda item: item[1].get("finished", NONE),
      "took": lambda item: seconds(item[1].get("seconds") or 0.0),
    },
  )
  figures = columns(
    list(run["figures"].items()),
    {"figure": lambda item: item[0], "value": lambda item: number(item[1], 4)},
  )
  head = f"{run['run']}: {run['of']}, {'done' if run['done'] else 'not done'}"
  origin = " · ".join(f"{k} {run[k]}" for k in ("seed", "device", "code") if run[k] is not None)
  parts = [f"{head}\n{origin}".rstrip(), lines(stages), lines(figures)]
  return "\n\n".join([*parts, "\n".join(_flags(run["config"]))])


def _flags(values: Mapping[str, Any], at: str = "--config") -> list[str]:
  made = []
  for name, value in values.items():
    path = f"{at}.{name}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    made += _flags(value, path) if isinstance(value, Mapping) else [f"{path}={shlex.quote(text)}"]
  return made


def differences(parts: Mapping[str, Sequence[str]]) -> str:
  """What is not the same, under headings; one line where nothing is."""
  found = [f"{name}:\n" + "\n".join(f"  {x}" for x in said) for name, said in parts.items() if said]
  return "\n".join(found) or "nothing differs"
