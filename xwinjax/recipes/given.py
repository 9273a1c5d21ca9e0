"""What a recipe is given, checked before the first of its stages starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data.preflight import Look, Settings
from xwinjax.recipes.recipe import Step
from xwinjax.sandbox import stages as sandbox
from xwinjax.stages import common, look
from xwinjax.stages.stage import Stage

Reader = Callable[[Path], Iterable[Any]]  # of a file in a format of ours


@dataclasses.dataclass(frozen=True)
class Use:
  """A stage of the recipe that reads a data set, and as which of its inputs."""

  stage: Stage
  config: Any
  role: str

  def settings(self) -> Settings:
    assert self.stage.rows is not None
    return self.stage.rows(self.config)[self.role]

  def trains(self) -> bool:
    return hasattr(self.config, "train") and self.role == "data"


def check_no_data(data: Any) -> None:
  """Refuses files beside the sandbox, which makes its own."""
  if any(dataclasses.astuple(data)):
    raise UserError(
      "config.sandbox.on makes the data itself; leave config.data empty, or turn it off"
    )


def check_files(
  config: Any, uses: Mapping[str, Use | Reader], needed: Collection[str], *, adds: str = ""
) -> None:
  """Reads every file once, so that a bad row of the last is found before the first is used.

  Says what it finds in them, unless the config's `preflight` is off.

  Args:
    config: the recipe's.
    uses: field of config.data -> who reads it.
    needed: the fields that must not be empty.
    adds: a template whose tokens the run adds to the model.
  """
  model = Path(config.model.path)
  eye = look.open_eye(model, config.model, adds=adds) if config.preflight else None
  looks: dict[str, Look] = {}
  trained: dict[str, Any] = {}
  for name, use in uses.items():
    value = getattr(config.data, name)
    if not value and name not in needed:
      continue
    file = common.input_file(value, f"data.{name}")
    if isinstance(use, Use):
      settings = dataclasses.replace(use.settings(), bad_rows=config.bad_rows)
      looks[name] = eye.look(file, settings, rows=0) if eye else Look(file, settings, None)
      kept = looks[name].rows["kept"]
      if use.trains():
        trained[name] = use.config
    else:
      kept = sum(1 for _ in use(file))
    if not kept:
      raise UserError(f"config.data.{name}={value}: no row of it is of use")
  if eye is not None:
    for line in look.report(looks, eye, trained, config.mesh):
      common.say(line)


def sandbox_steps(world: Stage, config: Any, model: str, folder: Path) -> Iterator[Step]:
  """The world's files and, where no model was given, a base model that knows its facts."""
  yield Step("world", world, config.world, {})
  if not model:
    texts = {
      "documents": folder / "world" / "documents.jsonl",
      "tokenizer": folder / "world" / "tokenizer",
      "world": folder / "world" / "world.json",
    }
    yield Step("pretrain", sandbox.PRETRAIN, config.pretrain, texts)
