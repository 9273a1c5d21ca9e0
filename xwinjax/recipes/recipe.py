"""A recipe: a short list of stages, and what each reads from which earlier one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from xwinjax import report
from xwinjax.core import processes, system
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.recipes import stored
from xwinjax.report import workdir
from xwinjax.stages import common, manifest
from xwinjax.stages.config import check_bounds, identity
from xwinjax.stages.stage import Context, Stage

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Step:
  """A stage in its place."""

  place: str  # its folder, under the run's
  stage: Stage
  config: Any
  reads: Mapping[str, str | Path | None]
  name: str = ""  # what it calls itself; empty: the stage's name
  context: Context | None = None  # where it is another than the run's
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  spare: str = ""  # a folder of an earlier stage that nobody needs once this one is done


Steps = Callable[[C, Context, Path], Iterable[Step]]  # (config, context, the run's folder)


@dataclasses.dataclass(frozen=True)
class Recipe(Generic[C]):
  """What makes a run; `config` has model, mesh and seed besides the stages' groups."""

  name: str  # of the command, and of the report
  config: type[C]
  check: Callable[[C], None]  # refuses, before anything starts, what cannot work
  steps: Steps[C]


def run(recipe: Recipe[C], config: Any, place: str | Path, *, redo: bool = False) -> Any:
  """Every step in order, with the folder locked; returns the summary.

  A step that is done is skipped, one that was killed continues. Several processes go through the
  steps together; the first holds the lock and decides. Writes recipe.json, which says
  whose folder it is, and at the end summary.json and report.html. From the folder of another run
  that `config.reuse` names, stages are taken that were made of the same settings and inputs.
  """
  folder, reuse = Path(place), getattr(config, "reuse", "")
  model = dataclasses.replace(config.model, path="")
  bad_rows = getattr(config, "bad_rows", "stop")
  context = Context(model, config.mesh, config.seed, redo, bad_rows)
  if reuse and not Path(reuse).is_dir():
    raise UserError(f"config.reuse={reuse}: no such folder; it names the workdir of another run")
  processes.on_lead(lambda: recipe.check(config))
  check_bounds(config)
  with manifest.lock(folder):
    processes.on_lead(lambda: begin(recipe, config, folder))
    for step in recipe.steps(config, context, folder):
      step.stage.run(
        step.context or context,
        folder / step.place,
        step.config,
        step.reads,
        name=step.name,
        like=Path(reuse) / step.place if reuse else None,
        **step.options,
      )
      if step.spare and system.leads():
        shutil.rmtree(folder / step.spare, ignore_errors=True)
    return processes.on_lead(lambda: summary(folder))


def begin(recipe: Recipe[C], config: Any, folder: Path) -> None:
  """Writes recipe.json. Raises UserError for a folder of another recipe's."""
  other = workdir.recipe(folder) if (folder / workdir.RECIPE).exists() else recipe.name
  if other != recipe.name:
    raise UserError(f"{folder}: holds a run of experiments.{other}; use another workdir")
  record = {"recipe": recipe.name, "config": identity(config)}
  jsonl.write_json(folder / workdir.RECIPE, seal.sealed(json.loads(jsonl.dumps(record))))
  stored.write(folder, recipe.name, config)


def summary(folder: Path) -> dict[str, Any]:
  """Writes summary.json, and report.html where its libraries are there; returns the summary."""
  made = report.summary(folder)
  jsonl.write_json(folder / "summary.json", made)
  try:
    report.write(folder)
  except UserError as e:
    common.say(str(e))
  return made
