"""sweep.json and sweep.html, from the runs that are done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.recipes.sweep import ALONE, Ablation, collect, summary_of
from xwinjax.report.workdir import read_json
from xwinjax.stages import common, manifest


def summarise(
  ablations: Sequence[Ablation], seeds: Sequence[int], workdir: Path, failed: Sequence[str]
) -> dict[str, Any]:
  """What sweep.json holds."""
  from xwinjax.report import sweep

  runs = [p for a in ablations for p in sorted((workdir / a.name).glob("*/seed*")) if p.is_dir()]
  found = [(summary_of(run) or {}).get("device") for run in runs]
  devices = {device for device in found if isinstance(device, str)}
  return {
    "seeds": list(seeds),
    "device": ", ".join(sorted(devices)) or None,
    "seconds": round(spent(runs), 1),
    "failed": list(failed),
    "ablations": [
      {
        **sweep.summarise(a, collect(a, seeds, workdir)),
        **alone(a, seeds, workdir),
        **ways(a, seeds, workdir),
      }
      for a in ablations
    ],
  }


def spent(runs: Sequence[Path]) -> float:
  """Seconds of all stages that are done; what a run took from another is counted once."""
  made = {path.read_bytes(): path.parent for run in runs for path in run.rglob(manifest.NAME)}
  stages = map(manifest.read, made.values())
  return sum(stage["seconds"] for stage in stages if stage is not None)


def alone(a: Ablation, seeds: Sequence[int], workdir: Path) -> dict[str, Any]:
  """The settings of a config that has no rows, but for the seed: what its runs have in common."""
  path = workdir / a.name / ALONE / f"seed{seeds[0]}" / "recipe.json"
  if a.rows != (ALONE,) or not path.exists():
    return {}
  config = read_json(path, "run its recipe's command again").get("config", {})
  return {"config": {name: value for name, value in config.items() if name != "seed"}}


def ways(a: Ablation, seeds: Sequence[int], workdir: Path) -> dict[str, Any]:
  """row -> the over-optimisation of each of its runs, where DPO's steps were measured."""
  folders = {row: [workdir / a.name / row / f"seed{seed}" for seed in seeds] for row in a.rows}
  found = {
    row: [s["overoptimisation"] for f in fs if "overoptimisation" in (s := summary_of(f) or {})]
    for row, fs in folders.items()
  }
  known = {row: runs for row, runs in found.items() if runs}
  return {"overoptimisation": known} if known else {}


def write(
  ablations: Sequence[Ablation], seeds: Sequence[int], workdir: Path, failed: Sequence[str]
) -> dict[str, Any]:
  """Writes both files; without the report's libraries, only the first."""
  from xwinjax import report

  summary = summarise(ablations, seeds, workdir, failed)
  jsonl.write_json(workdir / "sweep.json", summary)
  try:
    report.write_sweep(summary, workdir / "sweep.html")
  except UserError as e:
    common.say(str(e))
  return summary


def text(summary: dict[str, Any]) -> str:
  """The tables as the lines a person reads at the end."""
  from xwinjax.report import sweep

  return sweep.text(summary)
