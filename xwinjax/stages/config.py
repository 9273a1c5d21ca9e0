"""Configs: frozen dataclasses inside the package, ConfigDicts where people write them.

A file in configs/ takes a dataclass's defaults as a ConfigDict and changes what it wants; flags
change more; `from_config_dict` turns the result into the dataclass, refusing names and types that
do not fit, and values beyond the bounds beside a field (`core.bounds`). Fields whose metadata says
`plumbing` (devices, logging) do not change the result: `identity` leaves them out, so they neither
name a run nor invalidate what it did; nor does one marked `later` until it is set.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from xwinjax.core import bounds
from xwinjax.core.bounds import later as later
from xwinjax.core.errors import UserError

T = TypeVar("T")


def plumbing(default: Any) -> Any:
  """A dataclass field that does not change results."""
  if isinstance(default, type):
    return dataclasses.field(default_factory=default, metadata={"plumbing": True})
  return dataclasses.field(default=default, metadata={"plumbing": True})


def group(kind: type[T], **changes: Any) -> T:
  """A nested group of fields, with its own defaults where they differ."""
  return dataclasses.field(default_factory=lambda: kind(**changes))


def to_config_dict(config: Any) -> ConfigDict:
  """The dataclass's values as a ConfigDict, for a config file and flags to change."""
  values = ConfigDict()
  for f in dataclasses.fields(config):
    value, hint = getattr(config, f.name), bounds.hints(type(config))[f.name]
    if dataclasses.is_dataclass(value):
      value = to_config_dict(value)
    elif value is None:  # a flag has to know what it may become
      value = placeholder(bounds.plain(hint))
    values[f.name] = value
  return values


def from_config_dict(kind: type[T], values: ConfigDict | dict[str, Any], path: str = "config") -> T:
  """A dataclass of this kind from nested values.

  Raises: UserError for a name the dataclass lacks (with the nearest it has), a value of another
    type, and one that its bound does not hold.
  """
  values = dict(values)
  hints = bounds.hints(kind)
  fields = {f.name: f for f in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
  made: dict[str, Any] = {}
  for name, value in values.items():
    if name not in fields:
      raise UserError(f"unknown field {path}.{name}{nearest(name, fields)}")
    try:
      made[name] = _convert(hints[name], value, f"{path}.{name}")
    except _OutOfBounds as e:
      meaning = comment(kind, fields[name])
      more = f" ({meaning})" if meaning and meaning not in str(e) else ""
      raise UserError(f"{e}{more}") from None
  try:
    return kind(**made)
  except UserError:
    raise
  except ValueError as e:
    raise UserError(f"{path}: {e}") from None


def check_bounds(config: Any, path: str = "config.") -> None:
  """Raises UserError for the first field, of a group too, whose bound does not hold its value."""
  try:
    bounds.check(config, path)
  except ValueError as e:
    raise UserError(str(e)) from None


def choose(variants: Mapping[str, T], name: str) -> T:
  """What a config file offers under :name. Raises UserError listing the variants."""
  if name not in variants:
    raise UserError(f"no variant {name!r}; there are {', '.join(variants)}")
  return variants[name]


def nearest(name: str, known: typing.Iterable[str]) -> str:
  """ "; did you mean x?", or the names there are."""
  known = sorted(known)
  close = difflib.get_close_matches(name, known, n=1)
  return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"


class _OutOfBounds(ValueError):
  """A value of the right type that its field's bound does not hold."""


def _convert(hint: Any, value: Any, path: str, bounded: bool = False) -> Any:
  if dataclasses.is_dataclass(hint):
    if not isinstance(value, (dict, ConfigDict)):
      raise UserError(f"{path} is {value!r}; expected a group of fields")
    return from_config_dict(hint, value, path)  # pyright: ignore[reportArgumentType]
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if origin is tuple:
    if not isinstance(value, (tuple, list)):
      raise UserError(f"{path} is {value!r}; expected a tuple")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
      arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
      raise UserError(f"{path} is {value!r}; expected {len(arguments)} values")
    return tuple(_convert(a, v, path) for a, v in zip(arguments, value, strict=True))
  if origin in (types.UnionType, typing.Union):  # the second, where a bound stands inside
    for option in arguments:
      if option is type(None) and value is None:
        return None
    return _convert(next(a for a in arguments if a is not type(None)), value, path)
  if origin is typing.Annotated:
    value = _convert(arguments[0], value, path, True)
    if wrong := bounds.problem(bounds.of(hint), value):
      raise _OutOfBounds(f"{path} {wrong}")
    return value
  if hint is float and isinstance(value, int) and not isinstance(value, bool):
    value = float(value) if abs(value) < 2**1000 else math.inf
  if isinstance(value, float) and not bounded and not math.isfinite(value):
    raise _OutOfBounds(f"{path} is {value!r}; expected a finite number")
  if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
    raise UserError(f"{path} is {value!r} ({type(value).__name__}); expected {hint.__name__}")
  return value


def identity(config: Any) -> dict[str, Any]:
  """The nested values that decide the result."""
  values = {}
  for f in dataclasses.fields(config):
    value = getattr(config, f.name)
    as_before = f.metadata.get("later") and value == default_of(f)
    if not (f.metadata.get("plumbing") or as_before):
      values[f.name] = identity(value) if dataclasses.is_dataclass(value) else _plain(value)
  return values


def default_of(f: dataclasses.Field) -> Any:
  return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()


def _plain(value: Any) -> Any:
  return list(value) if isinstance(value, tuple) else value


def differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
  """What differs between two nested values, a line each.

  >>> differences({"a": {"lr": 1}, "b": 2}, {"a": {"lr": 3}, "b": 2})
  ['a.lr was 1 and is 3']
  """
  lines = []
  for name in sorted(old.keys() | new.keys()):
    was, now = old.get(name), new.get(name)
    if isinstance(was, dict) and isinstance(now, dict):
      lines += differences(was, now, f"{path}{name}.")
    elif was != now:
      lines.append(f"{path}{name} was {was!r} and is {now!r}")
  return lines


def comment(kind: type, f: dataclasses.Field) -> str:
  """What a field means: its metadata's `help`, or the comment behind it in the source."""
  if "help" in f.metadata:
    return f.metadata["help"]
  for base in kind.__mro__[:-1]:
    match = re.search(rf"^ +{f.name}:[^\n]*?  #\s*([^\n]+)$", _source(base), re.MULTILINE)
    if match:
      return match.group(1)
  return ""


@functools.cache
def _source(kind: type) -> str:
  return inspect.getsource(kind)  # which reads and parses the whole file


def describe(config: Any, prefix: str = "") -> str:
  """A config's fields by their full names, a line each: value, meaning and [bounds]."""
  rows, groups = [], []
  for f in dataclasses.fields(config):
    value, name = getattr(config, f.name), f"{prefix}{f.name}"
    meaning = comment(type(config), f)
    if dataclasses.is_dataclass(value):
      what = meaning or (type(value).__doc__ or "").split("\n")[0]
      groups.append(f"\n  {name}: {what}\n{describe(value, f'{name}.')}")
    else:
      bound = bounds.of(bounds.hints(type(config))[f.name])
      meaning += f"{' ' * bool(meaning)}[{bound}]" if bound is not None else ""
      rows.append((f"{name}={_flag_value(value)}", meaning))
  width = max((len(row[0]) for row in rows), default=0)
  return "\n".join([f"    {a.ljust(width)}  {b}".rstrip() for a, b in rows] + groups)


def _flag_value(value: Any) -> str:
  """A value as one would write it behind --config.field=."""
  return value if isinstance(value, str) and value and " " not in value else repr(value)
