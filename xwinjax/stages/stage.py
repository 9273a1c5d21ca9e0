"""What a stage is: named inputs, hyper-parameters and a context in; files and figures out.

A stage runs alone from its command, or in a recipe beside others. Either way model settings, mesh
and seed come from one `Context`, inputs are arguments, and the config holds hyper-parameters only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from xwinjax.core import machine, processes
from xwinjax.core.bounds import Seed
from xwinjax.core.errors import UserError
from xwinjax.data.preflight import Settings
from xwinjax.data.rows import BAD_ROWS
from xwinjax.sharding.mesh import own_part
from xwinjax.stages import common, look, manifest
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import check_bounds, identity
from xwinjax.stages.lora import LoRAConfig

C = TypeVar("C")
BITS = ("scan_layers", "remat", "attention")  # of a model's settings: the same but for rounding


@dataclasses.dataclass(frozen=True)
class Context:
  """What every stage of a run shares."""

  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)  # how models are computed
  mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
  seed: Seed = 0
  redo: bool = False  # do again what was made with other settings or inputs
  bad_rows: str = "stop"  # what malformed rows of data do: stop the run, or be skipped
  preflight: bool = False  # whether a stage says first what it finds in its data

  def __post_init__(self) -> None:
    if self.bad_rows not in BAD_ROWS:
      raise UserError(f"config.bad_rows {self.bad_rows!r} is not one of {', '.join(BAD_ROWS)}")

  def with_model(self, **changes: Any) -> Context:
    """The same with other model settings."""
    return dataclasses.replace(self, model=dataclasses.replace(self.model, **changes))


@dataclasses.dataclass(frozen=True)
class Stage(Generic[C]):
  """One step of a recipe.

  `make(context, config, folder, **inputs)` does the work in the stage's own folder and returns
  figures (JSON). It gets every input as a Path, None for one that was not given, and the options
  that `run` was called with.
  """

  name: str
  config: type[C]
  make: Callable[..., dict[str, Any]]
  reads: Mapping[str, str]  # input -> what it is; a name that ends in "?" may be left out
  writes: tuple[str, ...]  # relative to the folder; a name that ends in "?" need not be there
  # Of the context; without mesh: one process; dtype: of the model's settings that alone.
  uses: tuple[str, ...] = ("model", "mesh", "seed")
  # Of data in any format: config -> how each input is read, so that its command takes bad_rows.
  rows: Callable[[C], Mapping[str, Settings]] | None = None
  check: Callable[..., None] | None = None  # check(config, **inputs), before anything is written

  def inputs(self, given: Mapping[str, str | Path | None]) -> dict[str, Path | None]:
    """Every input of the stage as a path. Raises UserError for one that is missing."""
    paths: dict[str, Path | None] = {}
    for role in self.reads:
      name, optional = role.removesuffix("?"), role.endswith("?")
      value = str(given.get(name) or "")
      field = "model.path" if name == "model" else name
      paths[name] = None if optional and not value else common.input_file(value, field)
    unknown = sorted(set(given) - set(paths))
    assert not unknown, f"{self.name} has no input {unknown[0]!r}"
    return paths

  def run(
    self,
    context: Context,
    folder: Path,
    config: C,
    inputs: Mapping[str, str | Path | None],
    *,
    name: str = "",
    like: Path | None = None,
    **options: Any,
  ) -> dict[str, Any]:
    """Runs the stage once and records it; returns its figures.

    Args:
      folder: the stage's own.
      inputs: as in `reads`; "" and None leave out an optional one.
      name: what it calls itself, where a recipe runs it several times.
      like: another run's folder of it, whose result is taken if it was made of the same.
      options: what a recipe decides beyond hyper-parameters; they go to `make` and into the
        identity. One with `inputs` and `config`, as a judge, adds its files to the inputs.
        Functions do not count in the identity.

    Raises: UserError as `manifest.run_stage` does, and for inputs or settings that do not fit.
    """
    paths = self.inputs(inputs)
    check_bounds(context, "context.")
    check_bounds(config)
    if self.check is not None:
      self.check(config, **paths)
    what: dict[str, Any] = identity(config)
    what |= {f: identity(context.model) for f in ("model",) if f in self.uses}
    what |= {"seed": context.seed} if "seed" in self.uses else {}
    if "dtype" in self.uses and context.model.dtype != "auto":
      what["dtype"] = context.model.dtype
    files = {role: path for role, path in paths.items() if path is not None}
    for option, value in options.items():
      if callable(value):
        continue  # how, not what: code is not part of a run's identity
      what[option] = identity(value.config) if hasattr(value, "config") else value
      for role, path in getattr(value, "inputs", {}).items():
        files[f"{option}_{role}"] = path

    chosen = processes.on_lead(lambda: self.chosen(context, folder))
    settled = context if chosen is None else context.with_model(dtype=chosen["dtype"])

    def body() -> dict[str, Any]:
      if context.preflight:
        processes.on_lead(lambda: self.look(settled, config, paths))
      return self.make(settled, config, folder, **paths, **options)

    return manifest.run_stage(
      folder,
      name or self.name,
      what,
      files,
      self.writes,
      body,
      redo=context.redo,
      alone="mesh" not in self.uses,
      like=like,
      chosen=chosen,
      computed=self.computed(context),
    )

  def chosen(self, context: Context, folder: Path) -> dict[str, Any] | None:
    """The precision where the settings leave it open, and why; as before, where it was begun."""
    if not {"model", "dtype"} & set(self.uses) or context.model.dtype != "auto":
      return None
    return manifest.chosen_before(folder) or dataclasses.asdict(machine.choose())

  def computed(self, context: Context) -> dict[str, Any]:
    """What of a context may change bits, and is no part of the stage's identity."""
    model = {name: getattr(context.model, name) for name in BITS} if "model" in self.uses else {}
    mesh = {"mesh": dataclasses.asdict(context.mesh)} if "mesh" in self.uses else {}
    return model | mesh

  def look(self, context: Context, config: C, paths: Mapping[str, Path | None]) -> None:
    """Says what is found in the data that the stage will read."""
    model, rows = paths.get("model"), self.rows(config) if self.rows is not None else {}
    if model is None or not rows:
      return
    eye = look.open_eye(model, context.model)
    looks = {
      role: eye.look(path, dataclasses.replace(settings, bad_rows=context.bad_rows))
      for role, settings in rows.items()
      if (path := paths[role]) is not None
    }
    trained = {"data": config} if hasattr(config, "train") else {}
    for line in look.report(looks, eye, trained, context.mesh):
      common.say(line)


def open_model(
  context: Context,
  path: Path,
  *,
  reward: bool | None = False,
  to_sample: bool = False,
  lora: LoRAConfig | None = None,
  **changes: Any,
) -> common.Model:
  """The model in a folder as the context says; `changes` replace fields of its ModelConfig.

  With adapters to train, its config knows of them and its matrices are held in their `base_dtype`.

  Several processes hold it together; with `to_sample` each for itself, so that they share prompts.
  """
  config = dataclasses.replace(context.model, path=str(path), **changes)
  mesh = common.make_mesh(context.mesh)
  mesh = own_part(mesh) if to_sample else mesh
  if lora is None or not lora.rank:
    return common.open_model(config, mesh, reward=reward)
  opened = common.open_model(config, mesh, reward=reward, held_in=lora.base_dtype)
  return dataclasses.replace(opened, config=lora.adapted(opened.config))
