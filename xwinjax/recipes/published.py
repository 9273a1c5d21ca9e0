"""What a sweep came to, put where people read it: the tables of README.md and docs/."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.report import overoptimisation, sweep, tables
from xwinjax.report.workdir import read_json
from xwinjax.stages import manifest
from xwinjax.stages.config import identity

ROOT = Path(__file__).parents[2]
PLACE = "docs/results"
MOST = 12  # figures beside a run's own; all of them are in the file


def _where(summary: dict[str, Any]) -> str:
  """Which runs, and where they were made: a figure is true of those."""
  seeds = ", ".join(map(str, summary["seeds"]))
  return f"Means over runs of seeds {seeds}, each with a world of its own; {summary['device']}."


def markdown(summary: dict[str, Any]) -> str:
  """Every ablation's table, and where it comes from."""
  parts = [_where(summary)]
  for a in summary["ablations"]:
    parts += [tables.markdown(sweep.table(a)), *(f"- {sweep.claim(c)}" for c in a["claims"])]
    for title, table in overoptimisation.tables_of(a.get("overoptimisation", {})).items():
      parts += [f"**{title}**", tables.markdown(table)]
  return "\n\n".join(parts)


def short(a: dict[str, Any]) -> tables.Table:
  """The first figures of a single row, without those of each run."""
  table = sweep.by_figure(dict(list(a["rows"][0]["figures"].items())[:MOST]))
  return tables.Table(table.head[:3], [row[:3] for row in table.rows])


def into(text: str, name: str, made: str) -> str:
  """The text with what stands between the marks of this name replaced.

  >>> into("<!-- results: a -->old<!-- end of results -->", "a", "new")
  '<!-- results: a -->\\nnew\\n<!-- end of results -->'
  """
  mark = re.escape(f"<!-- results: {name} -->")
  return re.sub(
    rf"({mark}).*?(<!-- end of results -->)",
    lambda found: f"{found[1]}\n{made}\n{found[2]}",
    text,
    flags=re.DOTALL,
  )


def publish(summary: dict[str, Any], name: str, root: Path = ROOT) -> Sequence[Path]:
  """Writes docs/results/NAME.json and .txt, and NAME's tables in all Markdown files; which.

  Raises: UserError where this is no checkout, or a run failed.
  """
  if not (root / "README.md").exists() or not (root / "docs").is_dir():
    raise UserError(f"--publish {name}: {root} is no checkout of xwinjax with README.md and docs")
  if summary["failed"]:
    raise UserError(f"--publish {name}: {len(summary['failed'])} runs failed; run them again first")
  (root / PLACE).mkdir(exist_ok=True)
  written = [root / PLACE / f"{name}.json", root / PLACE / f"{name}.txt"]
  jsonl.write_json(written[0], summary)
  jsonl.write_atomic(written[1], f"{_where(summary)}\n\n{sweep.text(summary)}\n")
  for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
    text = path.read_text(encoding="utf-8")
    made = into(text, name, markdown(summary))
    if len(summary["ablations"]) == 1 == len(summary["ablations"][0]["rows"]):
      few = tables.markdown(short(summary["ablations"][0]))
      made = into(made, f"{name}, short", f"{_where(summary)}\n\n{few}")
    if made != text:
      jsonl.write_atomic(path, made)
      written.append(path)
  return written


def _same(then: Any, now: Any, default: Any) -> bool:
  """Whether settings are those of a run of then; fields that did not exist have their default.

  A field that came later is among the settings only where it is not at its default.
  """
  if not isinstance(now, dict):
    return now == then
  return isinstance(then, dict) and all(
    _same(then[name], value, default.get(name, {}))
    if name in then
    else name in default and value == default[name]
    for name, value in now.items()
  )


def beside(config: Any, root: Path = ROOT) -> str:
  """What is published of runs of a recipe with this config, whatever their seed; "" if nothing is.

  A single run cannot say how much another seed would change it. Runs on a device of this kind come
  before others: bits differ between kinds, and so do figures within their spread.
  """
  mine, default = (json.loads(json.dumps(identity(c))) for c in (config, type(config)()))
  mine.pop("seed", None)
  paths = sorted((root / PLACE).glob("*.json"))
  found = [read_json(path, "publish it again, or restore it") for path in paths]
  kind = manifest.device().split(" of ")[-1]  # however many cores
  for summary in sorted(found, key=lambda s: kind not in (s["device"] or "")):
    for a in summary["ablations"]:
      if a.get("config") and _same(a["config"], mine, default):
        return f"{_where(summary)}\n\n{tables.lines(short(a))}"
  return ""
