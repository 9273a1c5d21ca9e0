"""A plan on the terminal and as a picture."""

from __future__ import annotations

from typing import Any

COLUMNS = (
  ("stage", 10),
  ("mesh", 26),
  ("rows×tokens", 11),
  ("peak GiB", 14),
  ("left", 5),
  ("step s", 8),
  ("MFU", 5),
  ("at least", 8),
  ("again", 6),
  ("links GiB in, out of the loop", 29),
  ("most rows", 9),
  ("compiled", 9),
)


def print_row(row: dict[str, Any], *, first: bool) -> None:
  """A row; before the first, what the columns are."""
  if first:
    print("  ".join(name.ljust(width) for name, width in COLUMNS).rstrip(), flush=True)
  print("  ".join(str(x).ljust(w) for x, (_, w) in zip(cells(row), COLUMNS, strict=True)).rstrip())
  if row.get("recommended"):
    print(f"  {row['stage']}: {row['recommended']} is the fastest that fits")
  if "error" in row:
    print(f"  {row['stage']}: {row['error']}", flush=True)


def cells(row: dict[str, Any]) -> list[str]:
  mesh = " ".join(f"{a}{n}" for a, n in row.get("mesh", {}).items() if n > 1)
  if row.get("microbatches", 1) > 1:
    mesh += f" /{row['microbatches']}"
  size = f"{row['batch']}×{row['seq']}" if "batch" in row else ""
  if "peak_gib" not in row:
    return [row["stage"], mesh, size, "–", *["–"] * 7, seconds(row.get("compile_seconds"))]
  moved = row.get("collectives", {})
  links = [sum(moved.get(side, {}).values()) / 2**30 for side in ("inside", "outside")]
  return [
    row["stage"],
    mesh,
    size,
    f"{row['peak_gib']:.1f} of {row['hbm_gib']:.1f}",
    f"{row['left']:.0%}",
    f"{row['step_seconds']:.3g}",
    f"{row['mfu']:.0%}",
    f"{row['mfu_at_least']:.0%}",
    f"{row['again']:.2f}",
    ", ".join(f"{x:.1f}" for x in links) if moved else "–",
    str(row.get("largest_batch", "–")),
    seconds(row.get("compile_seconds")),
  ]


def seconds(x: float | None) -> str:
  return "no" if not x else f"{x:.0f} s"


def plot(rows: list[dict[str, Any]], path: str) -> None:
  """Memory beside what a chip has, and the three times of each row."""
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  rows = [row for row in rows if "peak_gib" in row]
  names = [f"{row['stage']}\n{row['topology']}" for row in rows]
  figure, (left, right) = plt.subplots(1, 2, figsize=(max(8, 1.6 * len(rows) + 4), 4))
  left.bar(names, [row["peak_gib"] for row in rows], color="#4477aa")
  for i, row in enumerate(rows):
    left.plot([i - 0.4, i + 0.4], [row["hbm_gib"]] * 2, color="#cc3311")
  left.set_ylabel("peak GiB a chip; red: what it has")
  for i, (kind, colour) in enumerate(
    (("matmul", "#4477aa"), ("memory", "#ddaa33"), ("link", "#228833"))
  ):
    places = [x + (i - 1) * 0.27 for x in range(len(rows))]
    right.bar(places, [row[f"{kind}_seconds"] for row in rows], 0.27, color=colour, label=kind)
  right.set_xticks(range(len(rows)), names)
  right.set_yscale("log")
  right.set_ylabel("seconds a step")
  right.legend()
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)
