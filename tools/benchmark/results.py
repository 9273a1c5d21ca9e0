"""Rows of figures: medians, ratios, a table, and two files laid side by side."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError

Row = dict[str, Any]
UNITS = {
  "train_sft": "supervised tok/s",
  "train_reward": "pairs/s",
  "train_dpo": "pairs/s",
  "train_dpo_cached": "pairs/s",
  "sample_64": "tok/s",
  "sample_1": "tok/s",
  "serve": "tok/s",
  "load": "tok/s",
  "start": "s",
}
NONE = "–"
LESS_IS_BETTER = ("s",)


def speedup(ours: float, other: float, unit: str) -> float:
  """How many times better `ours` is; for seconds, how many times shorter.

  >>> speedup(30.0, 10.0, "tok/s"), speedup(2.0, 6.0, "s")
  (3.0, 3.0)
  """
  return other / ours if unit in LESS_IS_BETTER else ours / other


def best_setting(runs: dict[str, list[float]], unit: str) -> str:
  """The setting of the best median.

  >>> best_setting({"f32": [4.0, 5.0, 9.0], "bf16": [6.0, 6.0, 1.0]}, "tok/s")
  'bf16'
  """
  pick = min if unit in LESS_IS_BETTER else max
  return pick(runs, key=lambda name: statistics.median(runs[name]))


def make_row(
  name: str,
  runs: list[float],
  facts: Row,
  *,
  roofline_share: float | None = None,
  peer_runs: dict[str, list[float]] | None = None,
  stock_runs: list[float] | None = None,
) -> Row:
  """A row of the result: medians over the runs, and their ratio to the peer's best setting."""
  unit = UNITS[name]
  ours = statistics.median(runs)
  row: Row = {
    "name": name,
    "ours": ours,
    "peer": None,
    "ratio": None,
    "unit": unit,
    "runs": runs,
    "roofline_share": roofline_share,
    **facts,
  }
  if peer_runs:
    setting = best_setting(peer_runs, unit)
    row["peer"] = statistics.median(peer_runs[setting])
    row["ratio"] = speedup(ours, row["peer"], unit)
    row |= {"peer_setting": setting, "peer_runs": peer_runs}
  if stock_runs:
    row["stock"] = statistics.median(stock_runs)
    row |= {"stock_ratio": speedup(ours, row["stock"], unit), "stock_runs": stock_runs}
  return row


def engine_facts(runs: dict[str, list[float]], ours: list[Any], name: str) -> Row:
  """Fields of a sampling row beside an engine's, in tokens a second: its best setting counts."""
  setting = best_setting(runs, "tok/s")
  theirs = statistics.median(runs[setting])
  return {
    "engine": theirs,
    "engine_ratio": speedup(statistics.median(s.value for s in ours), theirs, "tok/s"),
    "engine_setting": f"{name}, {setting}",
    "engine_runs": runs,
  }


def read(path: Path) -> dict[str, Any]:
  """A file that --json wrote. Raises UserError for any other."""
  try:
    report = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["name"]: float(row["ours"]) for row in report["rows"]}
  except OSError as e:
    raise UserError(f"{path}: {e.strerror}") from None
  except (ValueError, TypeError, KeyError):
    raise UserError(f"{path}: is not what tools/bench --json printed") from None
  if not rows:
    raise UserError(f"{path}: holds no rows")
  return report


def compare(new: dict[str, Any], old: dict[str, Any]) -> list[Row]:
  """Rows that both hold, with how many times better the new one is."""
  before = {row["name"]: row for row in old["rows"]}
  return [
    {
      "name": row["name"],
      "old": before[row["name"]]["ours"],
      "new": row["ours"],
      "ratio": speedup(row["ours"], before[row["name"]]["ours"], row["unit"]),
      "unit": row["unit"],
    }
    for row in new["rows"]
    if row["name"] in before
  ]


def figure(x: float | None) -> str:
  """Three digits: 4622 as 4,620, 17.61 as 17.6."""
  if x is None:
    return NONE
  if abs(x) >= 1000:
    return f"{float(f'{x:.3g}'):,.0f}"
  return f"{x:.3g}"


def share(x: float | None) -> str:
  return NONE if x is None else f"{x:.0%}"


def times(x: float | None) -> str:
  return NONE if x is None else f"{x:.2f}×"


def lines(cells: list[tuple[str, ...]]) -> str:
  """Columns of equal width."""
  width = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
  return "\n".join(
    "  ".join(c.ljust(w) for c, w in zip(row, width, strict=True)).rstrip() for row in cells
  )


def table(result: dict[str, Any]) -> str:
  """The rows for people."""
  head = (
    "row",
    "ours",
    "peer",
    "ratio",
    "stock",
    "ratio",
    "engine",
    "ratio",
    "unit",
    "roofline",
    "MFU",
    "padding",
    "wait",
    "compiled",
    "in s",
    "peak MB",
    "others",
  )
  cells: list[tuple[str, ...]] = [head]
  for r in result["rows"]:
    memory = r.get("peak_memory")
    cells.append(
      (
        r["name"],
        figure(r["ours"]),
        figure(r["peer"]),
        times(r["ratio"]),
        figure(r.get("stock")),
        times(r.get("stock_ratio")),
        figure(r.get("engine")),
        times(r.get("engine_ratio")),
        r["unit"],
        share(r["roofline_share"]),
        share(r.get("mfu")),
        share(r.get("padding_share")),
        share(r.get("wait_share")),
        str(r["compiles"]),
        figure(r.get("compile_seconds")),
        NONE if memory is None else f"{memory / 2**20:,.0f}",
        figure(r.get("others")),
      )
    )
  keep = [i for i in range(len(head)) if any(row[i] != NONE for row in cells[1:])]
  return lines([tuple(row[i] for i in keep) for row in cells])


def comparison(rows: list[Row]) -> str:
  cells = [("row", "old", "new", "ratio", "unit")]
  cells += [
    (r["name"], figure(r["old"]), figure(r["new"]), times(r["ratio"]), r["unit"]) for r in rows
  ]
  return lines(cells)


def machine_line(machine: dict[str, Any]) -> str:
  rate = f"{machine['matmul_f32'] / 1e9:,.0f} f32 and {machine['matmul_bf16'] / 1e9:,.0f} bf16"
  return (
    f"{machine['device']}, {machine['cores']} cores, jax {machine['jax']} on "
    f"{machine['backend']}; matmul {rate} GFLOP/s, {machine['bandwidth'] / 1e9:,.0f} GB/s; "
    f"load before {machine['load_before']}"
  )


def machine_lines(machine: dict[str, Any]) -> str:
  """What `tools/bench machine` prints."""
  chosen = machine["chosen"]
  lines = [machine_line(machine), f"dtype=auto is {chosen['dtype']}: {chosen['because']}"]
  if "products" in machine:
    rates = machine["products"]
    lines.append(
      f"measured again in {machine['measured_in_s']} s: rounded operands "
      f"{rates['rounded'] / 1e9:,.0f} GFLOP/s, float32 {rates['float32'] / 1e9:,.0f}: "
      f"{machine['now']}"
    )
  return "\n".join(lines)


def agreement(ours: Row, theirs: Row, *, tolerance: float = 0.02) -> Row:
  """Two loss curves over the same rows: how far apart, and whether that is near enough.

  `apart` is the largest difference over the largest loss; the two must also have seen as many
  tokens, supervised and in all.
  """
  a, b = ours["losses"], theirs["losses"]
  n = min(len(a), len(b))
  apart = max(abs(x - y) for x, y in zip(a[:n], b[:n], strict=True)) / max(map(abs, a[:n]))
  same_tokens = ours["tokens"] == theirs["tokens"]
  same_targets = not theirs["targets"] or ours["targets"] == theirs["targets"]
  return {
    "steps": n,
    "apart": apart,
    "tolerance": tolerance,
    "tokens": [ours["tokens"], theirs["tokens"]],
    "targets": [ours["targets"], theirs["targets"]],
    "agree": len(a) == len(b) and apart <= tolerance and same_tokens and same_targets,
  }
