"""What every command shares: flags, one-line errors, exit codes."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from xwinjax.core.errors import UserError
from xwinjax.stages import config as configs

T = TypeVar("T")


def define_config(default: str, kind: type[T], *, workdir: str = "") -> Callable[[], tuple[T, str]]:
  """Defines --config and --workdir; the result, called in main, gives the config and the folder.

  Args:
    default: the config file, with an argument after a colon.
    kind: the dataclass that the file's ConfigDict must fit.
    workdir: the default of --workdir; "" makes it required.
  """
  holder = config_flags.DEFINE_config_file(
      "config", default, "Config file, with :variant behind it; --config.FIELD=VALUE overrides one."
  )
  folder = flags.DEFINE_string("workdir", workdir or None, "Where results go.")

  def get() -> tuple[T, str]:
    if not isinstance(holder.value, ConfigDict):
      spec = flags.FLAGS["config"].value or default
      raise UserError(f"--config={holder.default if holder.value is None else spec}: no such file")
    if folder.value is None:
      raise UserError("--workdir=FOLDER is missing: where results go")
    return configs.from_config_dict(kind, holder.value), folder.value

  return get


def _config_spec(argv: Sequence[str]) -> str | None:
  """The --config=FILE[:ARG] of a command line, or its default."""
  for i, arg in enumerate(argv):
    name, _, value = arg.lstrip("-").partition("=")
    if arg.startswith("-") and name == "config":
      return value or (argv[i + 1] if i + 1 < len(argv) else None)
  flag = flags.FLAGS["config"] if "config" in flags.FLAGS else None
  return getattr(flag, "default_as_str", "").strip("'\"") or None if flag else None


def _load(spec: str) -> ConfigDict:
  path, _, argument = spec.partition(":")
  try:
    get_config = runpy.run_path(path)["get_config"]
  except FileNotFoundError:
    raise UserError(f"--config={spec}: no such file") from None
  return get_config(argument) if argument else get_config()


def _explain(argv: Sequence[str], error: Exception) -> str:
  """One line for flags that could not be parsed."""
  spec = _config_spec(argv)
  if spec:
    values = _load(spec)  # a mistake in the config file itself raises here
    for arg in argv:
      name, _, given = arg.lstrip("-").partition("=")
      if not arg.startswith("-") or not name.startswith("config."):
        continue
      here: Any = values
      parts = name.split(".")[1:]
      for depth, part in enumerate(parts):
        if not isinstance(here, ConfigDict) or part not in here:
          known = here.keys() if isinstance(here, ConfigDict) else ()
          at = ".".join(["config", *parts[:depth], part])
          return f"--{name}: unknown field {at}{configs.nearest(part, known)}"
        here = here[part]
      if isinstance(here, ConfigDict):
        return f"--{name}={given}: {name} is a group; set one of {', '.join(here.keys())}"
      try:
        if here is not None and not isinstance(here, (str, tuple, bool)):
          type(here)(given)
      except ValueError:
        return f"--{name}={given}: expected {type(here).__name__}, like {here!r}"
  return str(error).split("\n", 1)[0]


def _parse(argv: Sequence[str]) -> list[str]:
  if any(a in ("--help", "-h", "--helpshort") for a in argv[1:]):
    print(sys.modules["__main__"].__doc__ or "")
    sys.exit(0)
  try:
    rest = flags.FLAGS(list(argv))
  except UserError:
    raise
  except Exception as e:
    raise UserError(_explain(argv, e)) from None
  if len(rest) > 1:
    raise UserError(f"unexpected argument {rest[1]!r}; options are written --name=value")
  return rest


def fail(error: Exception) -> None:
  print(f"error: {error}", file=sys.stderr)
  sys.exit(2)


def run(main: Callable[[], None]) -> None:
  """Parses flags and runs `main`; a UserError becomes one line and exit status 2."""
  from xwinjax.core import host
  from xwinjax.train.loop import Stopped

  def body(_) -> None:
    logging.set_verbosity(logging.WARNING)  # Orbax says twenty lines a checkpoint otherwise
    host.prepare()
    main()

  try:
    app.run(body, flags_parser=_parse)
  except UserError as e:
    fail(e)
  except Stopped as e:
    print(e, file=sys.stderr)
    sys.exit(e.code)
  except KeyboardInterrupt:
    print("interrupted; run the same command to continue", file=sys.stderr)
    sys.exit(130)
