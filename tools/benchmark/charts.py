"""Pictures of measurements: loss curves of two programs, and how time grows. PNG, for the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from xwinjax.report.charts import COLOURS, STYLE

NAMES = {"train_sft": "SFT", "train_reward": "reward model", "train_dpo_cached": "DPO"}


def _save(figure: Figure, path: Path) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=130, metadata={"Software": None})


def loss_curves(path: Path, losses: dict[str, Any], device: str) -> None:
  """One panel a stage, ours over the peer's: the same rows in the same order."""
  with rc_context({**STYLE, "font.size": 9}):
    figure = Figure(figsize=(3.4 * len(losses), 3.0), layout="constrained")
    panels = figure.subplots(1, len(losses), squeeze=False)[0]
    for axes, (name, both) in zip(panels, losses.items(), strict=True):
      steps = range(1, both["steps"] + 1)
      axes.plot(
        steps,
        both["peer"]["losses"][: both["steps"]],
        color=COLOURS["two"],
        lw=4,
        alpha=0.45,
        label="peer",
      )
      axes.plot(
        steps, both["ours"]["losses"][: both["steps"]], color=COLOURS["one"], lw=1.4, label="ours"
      )
      axes.set_title(f"{NAMES.get(name, name)}: {both['apart']:.1e} apart at most", fontsize=9)
      axes.set_xlabel("step")
      axes.set_ylabel("loss")
    panels[0].legend()
    figure.suptitle(f"Same weights, rows and optimizer, f32, on {device}", fontsize=9)
    _save(figure, path)


def growth(path: Path, series: dict[str, list[dict[str, Any]]], device: str) -> None:
  """Time over size, both in multiples of the first; the dotted line is proportional growth."""
  with rc_context({**STYLE, "font.size": 9}):
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (what, rows), marker in zip(series.items(), "os^D", strict=False):
      sizes = [r["size"] / rows[0]["size"] for r in rows]
      axes.plot(sizes, [r["times"] for r in rows], marker=marker, label=what)
    axes.plot([1, 4], [1, 4], ":", color=COLOURS["base"], label="proportional")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    ticks = [1, 2, 4]
    axes.set_xticks(ticks, [f"{t}×" for t in ticks])
    axes.set_yticks(ticks, [f"{t}×" for t in ticks])
    axes.set_xlabel("size")
    axes.set_ylabel("time")
    axes.legend()
    axes.set_title(f"How time grows, on {device}", fontsize=9)
    _save(figure, path)
