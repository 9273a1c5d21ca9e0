"""A stage run alone: one config that holds its inputs, its context and its hyper-parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ml_collections import ConfigDict

from xwinjax.core.bounds import Seed
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.config import comment, to_config_dict
from xwinjax.stages.stage import Context, Stage


@dataclasses.dataclass(frozen=True)
class Alone:
  """What the command of a single stage takes, and what it makes of that."""

  stage: Stage
  hyper: type | None = None  # whose fields are flags, where it is not the stage's own config
  reads: Mapping[str, str] = dataclasses.field(default_factory=dict)  # further inputs
  groups: Mapping[str, type] = dataclasses.field(default_factory=dict)  # further groups of fields
  options: Callable[[Any, Any], dict[str, Any]] | None = None  # (config, hyper) -> of Stage.run

  @cached_property
  def config(self) -> type:
    """The dataclass of the command's fields."""
    fields: list[Any] = []

    def add(name: str, kind: Any, default: Any, meaning: str, *, plumbing: bool = True) -> None:
      how: dict[str, Any] = (
        {"default_factory": default} if isinstance(default, type) else {"default": default}
      )
      about = {"help": meaning} | ({"plumbing": True} if plumbing else {})
      fields.append((name, kind, dataclasses.field(metadata=about, **how)))

    inputs = {r.removesuffix("?"): text for r, text in {**self.stage.reads, **self.reads}.items()}
    model = inputs.pop("model", None)
    if model is not None:
      add("model", ModelConfig, ModelConfig, model, plumbing=False)
    for role, meaning in inputs.items():
      add(role, str, "", meaning)
    for name, kind in self.groups.items():
      add(name, kind, kind, "", plumbing=False)
    hyper = self.hyper or self.stage.config
    for f in dataclasses.fields(hyper):
      about = dict(f.metadata) | {"help": comment(hyper, f)}
      how: dict[str, Any] = {
        "default": f.default,
        "default_factory": f.default_factory,
        "metadata": about,
      }
      fields.append((f.name, f.type, dataclasses.field(**how)))
    if "mesh" in self.stage.uses:
      add("mesh", MeshConfig, MeshConfig, "")
    if "seed" in self.stage.uses:
      add("seed", Seed, 0, "", plumbing=False)
    if self.stage.rows is not None:
      add("bad_rows", str, "stop", "what malformed rows do: stop the run, or skip them")
      add("preflight", bool, True, "say first what is found in the data")
    name = f"{self.stage.name}_command"
    about = {"__module__": hyper.__module__, "__doc__": hyper.__doc__}
    return dataclasses.make_dataclass(name, fields, namespace=about, frozen=True)

  def values(self, hyper: Any = None, *, model: ConfigDict | None = None) -> ConfigDict:
    """The command's fields with these hyper-parameters and model settings, for a config file."""
    config: Any = to_config_dict(self.config())
    names = [f.name for f in dataclasses.fields(self.hyper or self.stage.config)]
    config.update({name: value for name, value in (hyper or {}).items() if name in names})
    if model is not None and "model" in config:
      config.model.update(model)
    return config

  def parts(self, config: Any, redo: bool) -> tuple[Context, Any, dict[str, str], dict[str, Any]]:
    """(context, the stage's config, inputs, options) of what the command was given."""
    model = getattr(config, "model", ModelConfig())
    mesh, seed = getattr(config, "mesh", MeshConfig()), getattr(config, "seed", 0)
    bad_rows = getattr(config, "bad_rows", "stop")
    look = getattr(config, "preflight", False)
    context = Context(dataclasses.replace(model, path=""), mesh, seed, redo, bad_rows, look)
    kind = self.hyper or self.stage.config
    hyper = kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind)})
    options = self.options(config, hyper) if self.options is not None else {}
    own = hyper if self.hyper is None else self.stage.config()
    inputs = {role.removesuffix("?") for role in self.stage.reads}
    given = {name: getattr(config, name) for name in inputs - {"model"}}
    if "model" in inputs:
      given["model"] = model.path
    return context, own, given, options
