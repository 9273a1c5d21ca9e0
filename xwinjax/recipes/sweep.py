"""Every row of an ablation's config, for several seeds: each a run of its own, skipped when done.

An ablation is a config file with ROWS (name -> what it changes); `get_config` takes a row's name,
or VARIANT/ROW. What else it may say is listed in `Ablation`. Any other config is a single row. Rows
take the stages that are the same from a run of the same seed: that of a row with the same settings,
of whichever ablation, or the first row's.
"""

from __future__ import annotations

import dataclasses
import json
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.recipes import cli, commands, stored
from xwinjax.stages import common, manifest
from xwinjax.stages.config import nearest

DONE = "sweep.json"  # in a run's folder: with what command it was made
ALONE = "run"  # the row of a config that has no rows
REUSE = "--config.reuse="
# experiment -> figure -> where it lies in that experiment's summary.json; the first is the main one
FIGURES: dict[str, dict[str, tuple[str | int, ...]]] = {
  "lima": {
    "quality": ("score",),
    "tokens": ("mean_length",),
    "false claims": ("hallucination",),
    "ended": ("ended_share",),
    "epoch": ("epoch",),
  },
  "self_rewarding": {
    "gold, last model": ("models", -1, "gold_mean"),
    "gold, M1": ("models", 1, "gold_mean"),
    "tokens, last model": ("models", -1, "mean_length"),
    "judge accuracy, last model": ("models", -1, "judge", "written", "pairwise_accuracy"),
  },
  "xwin": {
    "gold, DPO": ("stages", -1, "gold_mean"),
    "gold, RS": ("stages", 2, "gold_mean"),
    "gold, SFT": ("stages", 1, "gold_mean"),
    "gold, base": ("stages", 0, "gold_mean"),
    "SFT − base": ("stages", 1, "gain_vs_previous", "mean"),
    "RS − SFT": ("stages", 2, "gain_vs_previous", "mean"),
    "DPO − RS": ("stages", 3, "gain_vs_previous", "mean"),
    "false claims, SFT": ("stages", 1, "hallucination"),
    "false claims, RS": ("stages", 2, "hallucination"),
    "false claims, DPO": ("stages", 3, "hallucination"),
    "false claims, RS − SFT": ("stages", 2, "false_claims_gain"),
    "false claims, DPO − RS": ("stages", 3, "false_claims_gain"),
    "SFT, best of 16 − of 4": ("stages", 1, "best_of_gain", "16"),
    "SFT, best of 64 − of 16": ("stages", 1, "best_of_gain", "64"),
    "RM accuracy": ("reward_model", "heldout_accuracy"),
    "RM on truth": ("reward_model", "card", "truth", "accuracy"),
    "RM on truth, never compared": ("reward_model", "card", "truth, never compared", "accuracy"),
    "KL, RS": ("stages", 2, "kl"),
    "KL, DPO": ("stages", 3, "kl"),
    "tokens, DPO": ("stages", 3, "mean_length"),
    "RM score, DPO": ("stages", 3, "rm_mean"),
    "seconds": ("seconds",),
  },
  "alpaca_eval": {
    "win rate": ("win_rate",),
    "LC win rate": ("length_controlled_winrate",),
    "unparsed": ("unparsed_share",),
    "length": ("avg_length",),
  },
  "mt_bench": {
    "score": ("score",),
    "turn 1": ("by_turn", "1"),
    "turn 2": ("by_turn", "2"),
    "unparsed": ("unparsed_share",),
  },
  "reward_bench": {"accuracy": ("accuracy",)},
  "multiple_choice": {"accuracy": ("accuracy",), "accuracy_norm": ("accuracy_norm",)},
}


def figures(experiment: str, *names: str) -> dict[str, tuple[str | int, ...]]:
  """Some of an experiment's figures, for an ablation's FIGURES; the first is the main one."""
  return {name: FIGURES[experiment][name] for name in names}


@dataclasses.dataclass(frozen=True)
class Ablation:
  """What a config file says of its rows."""

  name: str
  spec: str  # FILE or FILE:VARIANT
  title: str
  rows: tuple[str, ...]
  experiment: str  # EXPERIMENT, or the name of the module of configs/ that it builds on
  figures: Mapping[str, tuple[str | int, ...]]  # FIGURES: name -> path in summary.json
  axis: tuple[str, Mapping[str, float]] | None = None  # AXIS: (label, row -> number)
  paper: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # PAPER: row -> its number
  # EXPECTS: (row, ">" or "~", row): the paper's finding, to be set against what came out
  expects: tuple[tuple[str, str, str], ...] = ()

  def command(self, row: str, seed: int, folder: Path, flags: Sequence[str]) -> list[str]:
    """What runs one row; {row} and {seed} in the flags are filled in."""
    spec = spec_of(self.spec, row)
    filled = [f.replace("{row}", row).replace("{seed}", str(seed)) for f in flags]
    return [
      sys.executable,
      "-m",
      f"experiments.{self.experiment}",
      f"--config={spec}",
      f"--workdir={folder}",
      f"--config.seed={seed}",
      *filled,
    ]


def spec_of(spec: str, row: str) -> str:
  """The config of a row of FILE or FILE:VARIANT."""
  return spec if row == ALONE else f"{spec}/{row}" if ":" in spec else f"{spec}:{row}"


def read(spec: str, rows: Sequence[str] = (), experiment: str = "") -> Ablation:
  """The ablation of FILE or FILE:VARIANT; a run's config.json is one row, as it ran.

  Args:
    rows: some of its rows; () takes all.
    experiment: which command runs it, where the file does not say.

  Raises: UserError for a file without ROWS, a row it lacks, or a row whose config is wrong.
  """
  file = spec.partition(":")[0]
  path = next((p for p in (Path(file), Path(__file__).parents[2] / file) if p.is_file()), None)
  if path is None:
    raise UserError(f"--config={spec}: no such file")
  if path.suffix == ".json":  # of a run: the sweep's runs have another working directory
    namespace: dict[str, Any] = {"EXPERIMENT": stored.read(path).command}
    spec, name = str(path.absolute()), path.absolute().parent.name
  else:
    namespace, name = runpy.run_path(str(path)), path.stem
  known = tuple(namespace.get("ROWS", (ALONE,)))
  unknown = [r for r in rows if r not in known]
  if unknown:
    raise UserError(f"--rows {unknown[0]}: {file} has no such row{nearest(unknown[0], known)}")
  what = experiment or namespace.get("EXPERIMENT") or namespace.get("STAGE") or name
  runs = "evaluate" if what in commands.BENCHMARKS else what
  if not (Path(__file__).parents[2] / "experiments" / f"{runs}.py").is_file():
    raise UserError(f"{file}: no command experiments.{runs}; name one with --experiment")
  for row in rows or known:
    cli.load(spec_of(spec, row))  # a wrong row is told before any runs
  figures = namespace.get("FIGURES") or FIGURES.get(what)
  if not figures:
    raise UserError(f"{file}: says no FIGURES, and none are known of experiments.{runs}")
  return Ablation(
    name,
    spec,
    (namespace.get("__doc__") or name).strip().split("\n")[0].rstrip("."),
    tuple(rows or known),
    runs,
    figures,
    namespace.get("AXIS"),
    namespace.get("PAPER", {}),
    tuple(namespace.get("EXPECTS", ())),
  )


def find(summary: Any, path: Sequence[str | int]) -> float | None:
  """The number at a path of keys and places; None where there is none."""
  for key in path:
    try:
      summary = summary[key]
    except (KeyError, IndexError, TypeError):
      return None
  good = isinstance(summary, (int, float)) and not isinstance(summary, bool)
  return float(summary) if good else None


def done_with(folder: Path) -> list[str] | None:
  """The flags with which a finished run was made; None where there is none."""
  if not (folder / DONE).exists() or summary_of(folder) is None:
    return None
  record = _record(folder / DONE)
  command = record.get("command")
  if not isinstance(command, list):
    raise UserError(f"{folder / DONE}: damaged; delete {folder} to make the run again")
  return command


def summary_of(folder: Path) -> dict[str, Any] | None:
  """The summary.json of a run that is done, or a stage's figures; None where there is none yet."""
  path, stage = folder / "summary.json", folder / manifest.NAME
  if path.exists() or not stage.exists():
    return _record(path) if path.exists() else None
  return _record(stage).get("figures")


def _record(path: Path) -> dict[str, Any]:
  try:
    record = jsonl.read_json(path)
  except ValueError:
    record = None
  if not isinstance(record, dict):
    raise UserError(f"{path}: damaged; delete {path.parent} to make the run again")
  return record


def run_row(command: list[str], folder: Path, label: str) -> str:
  """Runs one row unless it is done; returns what went wrong, "" for nothing."""
  # Not the interpreter, which may move, nor where finished stages came from.
  flags = [f for f in command[2:] if not f.startswith(REUSE)]
  if done_with(folder) == flags:
    common.say(f"{label}: done before")
    return ""
  folder.mkdir(parents=True, exist_ok=True)
  log = folder.with_name(f"{folder.name}.log")
  common.say(f"{label}: {shlex.join(command[1:])}")
  with log.open("w", encoding="utf-8") as out:
    status = subprocess.run(
      command, cwd=Path(__file__).parents[2], stdout=out, stderr=subprocess.STDOUT, check=False
    ).returncode
  if status in (130, 143, -2, -15):
    raise KeyboardInterrupt
  if status:
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return f"{label}: failed ({log}): {lines[-1] if lines else f'status {status}'}"
  jsonl.write_json(folder / DONE, {"command": flags})
  return ""


def collect(ablation: Ablation, seeds: Sequence[int], workdir: Path) -> dict[str, Any]:
  """row -> figure -> seed -> value, from the runs that are done."""
  values: dict[str, Any] = {}
  for row in ablation.rows:
    values[row] = {figure: {} for figure in ablation.figures}
    for seed in seeds:
      summary = summary_of(workdir / ablation.name / row / f"seed{seed}")
      if summary is None:
        continue
      for figure, place in ablation.figures.items():
        value = find(summary, place)
        if value is not None:
          values[row][figure][str(seed)] = value
  return values


def alike(
  ablation: Ablation, row: str, folder: Path, done: dict[str, Path], flags: Sequence[str]
) -> Path | None:
  """The finished run that has most stages in common with this row; None where there is none.

  That is one of the same settings, in this ablation or another, of which `done` keeps record; else
  the ablation's first row.
  """
  config = cli.load(spec_of(ablation.spec, row))
  if "reuse" not in config:  # a stage alone
    return None
  told = [f.replace("{row}", row) for f in flags]
  key = json.dumps([ablation.experiment, config.to_dict(), told], sort_keys=True, default=str)
  same = done.setdefault(key, folder)
  first = folder.parents[1] / ablation.rows[0] / folder.name
  return next((p for p in (same, first) if p != folder and done_with(p) is not None), None)


def run(
  ablations: Sequence[Ablation],
  seeds: Sequence[int],
  workdir: Path,
  flags: Sequence[str] = (),
  on_row: Callable[[], object] | None = None,
) -> list[str]:
  """Runs every row for every seed, seed after seed; returns what failed.

  A whole seed of all ablations is there before the next begins, so that a study that is stopped
  has something to show. `on_row` is called after each run.
  """
  failed = []
  for seed in seeds:
    done: dict[str, Path] = {}  # settings -> the run that has them
    for ablation in ablations:
      for row in ablation.rows:
        folder = workdir.absolute() / ablation.name / row / f"seed{seed}"
        label = f"{ablation.name} {row} seed {seed}"
        like = alike(ablation, row, folder, done, flags)
        reuse = [f"{REUSE}{like}"] if like is not None else []
        problem = run_row(ablation.command(row, seed, folder, [*flags, *reuse]), folder, label)
        if problem:
          common.say(problem)
          failed.append(problem)
        if on_row is not None:
          on_row()
  return failed
