"""What every command shares: flags, help, one-line errors, exit codes."""

from __future__ import annotations

import ast
import dataclasses
import logging as standard_logging
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from xwinjax import report
from xwinjax.core import host, processes, system
from xwinjax.core.errors import UserError
from xwinjax.recipes import commands, published, stored
from xwinjax.recipes import recipe as recipes
from xwinjax.recipes.recipe import Recipe
from xwinjax.stages import config as configs
from xwinjax.stages import manifest
from xwinjax.train.loop import Stopped

T = TypeVar("T")
_HELP = ("--help", "-h", "-help", "--helpshort", "--helpfull")


@dataclasses.dataclass(frozen=True)
class Command(Generic[T]):
  """A command line: `python -m experiments.NAME --config=FILE[:VARIANT] --workdir=FOLDER …`."""

  name: str  # as config.json names it
  doc: str | None  # what --help says before the flags and fields
  default: str  # the config file, with a variant behind a colon
  kind: type[T]  # the dataclass its ConfigDict must fit
  main: Callable[[T, Path, bool], None]  # (config, workdir, redo)
  writes: bool = True  # into a --workdir, which has to be named
  others: Mapping[str, Command[Any]] = dataclasses.field(default_factory=dict)  # by STAGE of a file

  def __call__(self, argv: Sequence[str] | None = None) -> int:
    """Runs with these arguments (or the process's) and returns the exit status.

    A mistake of the user's is one line on stderr and status 2; SIGINT 130, SIGTERM 143.
    """
    argv = sys.argv[1:] if argv is None else argv
    return guarded(lambda: self._run(list(argv)))

  def _run(self, argv: list[str]) -> int:
    spec, rest = _split(argv, self.default)
    if other := self.others.get(_stage_of(spec)):
      return other._run(argv)
    values = load(spec, self.kind, self.name)
    if any(a in _HELP for a in argv):
      print(self._help(spec, configs.from_config_dict(self.kind, values)))
      return 0
    workdir, redo, start = _parse(rest, values)
    config = configs.from_config_dict(self.kind, values)
    if self.writes:
      _check_workdir(workdir)
    quiet_libraries()
    processes.start(start)
    host.prepare()
    processes.check_same({"--workdir": workdir, "--redo": str(redo), **_fields(values)})
    self.main(config, Path(workdir), redo)
    if self.writes and system.leads():
      stored.write(Path(workdir), self.name, config)
    return 0

  def _help(self, spec: str, config: T) -> str:
    return "\n".join(
      (
        (self.doc or "").strip(),
        "",
        "Flags:",
        "  --config=FILE[:VARIANT]   Python file whose get_config() gives the fields below, or the",
        f"                            {stored.NAME} of a run; default {self.default}",
        "  --config.FIELD=VALUE      changes one of them",
        *[
          "  --workdir=FOLDER          where results go; run again with the same to continue",
          "  --redo                    do again what was made with other settings or inputs",
        ][: 2 * self.writes],
        "  --coordinator=HOST:PORT --num_processes=N --process_id=I",
        "                            one of N processes of a run: docs/several_processes.md",
        "  --distributed             asks the environment for these; on SLURM and GKE unasked,",
        "                            unless --nodistributed",
        "  --lost_after=SECONDS      silence after which a process is taken to be lost; default 60",
        "",
        f"Fields of the config, with their values in {spec}:",
        configs.describe(config),
      )
    )


def stage(
  doc: str | None,
  default: str,
  name: str,
  show: Callable[[dict[str, Any]], str] | None = None,
  others: Sequence[str] = (),
) -> Command[Any]:
  """The command of a single stage: locks its folder, runs it, prints figures and paths.

  `name` is its place in `commands.ALONE`; `show` turns the figures into what is printed, without it
  each gets a line. A config file with STAGE = one of `others` takes that stage.
  """
  alone = commands.ALONE[name]

  def main(config: Any, folder: Path, redo: bool) -> None:
    processes.on_lead(lambda: check_folder(folder))
    context, own, inputs, options = alone.parts(config, redo)
    with manifest.lock(folder):
      figures = alone.stage.run(context, folder, own, inputs, name=name, **options)
    shown(folder, (show or figure_lines)(figures), alone.stage.writes)

  more = {other: stage(doc, default, other) for other in others}
  return Command(name, doc, default, alone.config, main, others=more)


def shown(folder: Path, text: str, writes: Sequence[str]) -> None:
  """Prints a stage's figures, and the files there are."""
  if not system.leads():
    return
  print(text)
  names = (*(name.removesuffix("?") for name in writes), manifest.NAME)
  print("\n".join(f"wrote {folder / name}" for name in names if (folder / name).exists()))


def recipe(doc: str | None, default: str, recipe: Recipe) -> Command[Any]:
  """The command of a recipe: runs it, prints its table and where the files are."""

  def main(config: Any, folder: Path, redo: bool) -> None:
    summary = recipes.run(recipe, config, folder, redo=redo)
    if not system.leads():
      return
    print(report.text(summary, recipe.name))
    if spread := published.beside(config):
      print(f"\n{spread}")
    print()
    for name in ("summary.json", "report.html"):
      if (folder / name).exists():
        print(folder / name)

  return Command(recipe.name, doc, default, recipe.config, main)


def check_folder(folder: Path) -> None:
  """Refuses a folder with someone else's files: --redo would delete them."""
  if folder.exists() and not folder.is_dir():
    raise UserError(f"--workdir={folder}: is a file; name a folder")
  names = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
  others = [n for n in names if not n.startswith(".")]
  if others and not {"settings.json", manifest.NAME} & set(others):
    raise UserError(
      f"--workdir={folder}: holds other files ({', '.join(others[:3])}); "
      "give the stage a folder of its own"
    )


def quiet_libraries() -> None:
  """Orbax says twenty lines a checkpoint, and tracebacks of a failed one; we say what it means."""
  logging.set_verbosity(logging.FATAL)
  standard_logging.getLogger("asyncio").setLevel(standard_logging.CRITICAL)
  threading.excepthook = _but_closed_loops(threading.__excepthook__)
  sys.unraisablehook = _but_closed_loops(sys.__unraisablehook__)


def _but_closed_loops(hook: Callable[[Any], object]) -> Callable[[Any], object]:
  """The hook, but for what the threads of a failed save come to when their loop is closed."""
  return lambda args: None if "Event loop is closed" in str(args.exc_value) else hook(args)


def guarded(
  body: Callable[[], int | None], interrupted: str = "interrupted; the same command continues"
) -> int:
  """Runs `body` and returns an exit status; what a user can mend is said in one line.

  One of several processes that fails does not return: it tells the others and ends.
  """
  try:
    status = body() or 0
    sys.stdout.flush()
    processes.finish()
    return status
  except BrokenPipeError:  # `… | head` has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains as it exits
    return 0
  except (UserError, FloatingPointError) as e:
    text, status = f"error: {e}", 2
  except OSError as e:  # no space left, no permission, …
    where = f"{e.filename}: " if e.filename else ""
    text, status = f"error: {where}{e.strerror or e}", 2
  except Stopped as e:
    text, status = str(e), e.code
  except KeyboardInterrupt:
    text, status = interrupted, 130
  except Exception:  # a mistake of ours, or of a collective operation whose partner is gone
    processes.find_cause()
    if processes.count() == 1:
      raise
    text, status = traceback.format_exc().rstrip(), 1
  processes.fail(text, status)
  print(text, file=sys.stderr)
  return status


def _split(argv: Sequence[str], default: str) -> tuple[str, list[str]]:
  """(the last --config=SPEC or the default, the arguments without it)."""
  spec, rest, words = default, [], iter(argv)
  for word in words:
    name, equals, value = word.partition("=")
    if name in ("--config", "-config"):
      spec = value if equals else next(words, "")
    else:
      rest.append(word)
  return spec, rest


def _file_of(spec: str) -> tuple[Path, str]:
  """(the file, the variant) of FILE[:VARIANT]."""
  name, colon, variant = spec.rpartition(":")
  if not colon or Path(spec).is_file():
    name, variant = spec, ""
  places = [Path(name), Path(__file__).parents[2] / name]
  path = next((p for p in places if p.is_file()), None)
  if path is None:
    raise UserError(f"--config={spec}: no such file")
  return path, variant


def load(spec: str, kind: type | None = None, command: str = "") -> ConfigDict:
  """The ConfigDict of FILE[:VARIANT]; FILE is looked for here, then beside the package.

  A run's config.json gives the fields of `kind`, if it is of that `command`.

  Raises: UserError for a missing file, a variant it lacks, or an error inside the file, by line.
  """
  path, variant = _file_of(spec)
  if path.suffix == ".json":
    if variant:
      raise UserError(f"--config={spec}: a {stored.NAME} has no variants; change fields by flags")
    return stored.load(path, kind, command) if kind else ConfigDict(stored.read(path).values)
  try:
    get_config = runpy.run_path(str(path))["get_config"]
    values = get_config(variant) if variant else get_config()
  except UserError as e:
    raise UserError(f"--config={spec}: {e}") from None
  except KeyError as e:
    if e.args != ("get_config",):
      raise UserError(_located(path, e)) from None
    raise UserError(f"--config={spec}: defines no get_config()") from None
  except Exception as e:
    raise UserError(_located(path, e)) from None
  if not isinstance(values, ConfigDict):
    raise UserError(f"--config={spec}: get_config gave {type(values).__name__}, not a ConfigDict")
  return values


def _stage_of(spec: str) -> str:
  """The stage that a config file names, where a command has several; or ""."""
  path, _ = _file_of(spec)
  if path.suffix == ".json":
    return stored.read(path).command
  return str(runpy.run_path(str(path)).get("STAGE", ""))


def _located(path: Path, error: Exception) -> str:
  """FILE:LINE: what went wrong inside a config file, or one it takes from beside it."""
  file, line = path, getattr(error, "lineno", None)
  for frame in traceback.extract_tb(error.__traceback__):
    if Path(frame.filename).absolute().parent == path.absolute().parent:
      file, line = Path(frame.filename), frame.lineno
  return f"{file}:{line}: {type(error).__name__}: {error}"


def _fields(values: ConfigDict, at: str = "--config") -> dict[str, str]:
  """Every field as it would be set."""
  fields: dict[str, str] = {}
  for name, value in values.items():
    path = f"{at}.{name}"
    fields |= _fields(value, path) if isinstance(value, ConfigDict) else {path: str(value)}
  return fields


def _check_workdir(workdir: str) -> None:
  if not workdir:
    raise UserError("--workdir=FOLDER is missing: where results go")
  if "://" in workdir:
    raise UserError(
      f"--workdir={workdir}: only folders are written to, no URLs; mount the bucket (gcsfuse, …)"
    )


def _parse(argv: list[str], values: ConfigDict) -> tuple[str, bool, processes.Start]:
  """Applies --config.FIELD=VALUE to `values`; returns (workdir, redo, which process this is)."""
  _check_fields(argv, values)
  known = flags.FlagValues()  # not absl's global ones: commands can be called from Python, too
  config_flags.DEFINE_config_dict("config", values, flag_values=known, sys_argv=argv)
  workdir = flags.DEFINE_string("workdir", "", "", flag_values=known)
  redo = flags.DEFINE_bool("redo", False, "", flag_values=known)
  coordinator = flags.DEFINE_string("coordinator", "", "", flag_values=known)
  number = flags.DEFINE_integer("num_processes", None, "", flag_values=known)
  process = flags.DEFINE_integer("process_id", None, "", flag_values=known)
  distributed = flags.DEFINE_bool("distributed", None, "", flag_values=known)
  lost_after = flags.DEFINE_float("lost_after", 60.0, "", flag_values=known)
  try:
    rest = known(["command", *argv])
  except flags.Error as e:
    raise UserError(str(e).split("\n", 1)[0]) from None
  if len(rest) > 1:
    raise UserError(f"unexpected argument {rest[1]!r}; options are written --name=value")
  start = processes.Start(
    coordinator.value, number.value, process.value, distributed.value, lost_after.value
  )
  return workdir.value, redo.value, start


def _check_fields(argv: Sequence[str], values: ConfigDict) -> None:
  """Raises a UserError for the first --config.FIELD that does not exist or fit."""
  for i, word in enumerate(argv):
    name, equals, given = word.partition("=")
    dashes, _, path = name.partition("config.")
    if not path or dashes not in ("-", "--", "-no", "--no"):
      continue
    here: Any = values
    parts = path.split(".")
    for depth, part in enumerate(parts):
      if not isinstance(here, ConfigDict):
        raise UserError(f"{word}: config.{'.'.join(parts[:depth])} is a field, not a group")
      if part not in here:
        at = ".".join(["config", *parts[: depth + 1]])
        raise UserError(f"{word}: unknown field {at}{configs.nearest(part, here.keys())}")
      here = here[part]
    if isinstance(here, ConfigDict):
      raise UserError(f"{word}: config.{path} is a group; set one of {', '.join(here.keys())}")
    if isinstance(here, bool) and not equals:
      continue
    if not equals:
      given = argv[i + 1] if i + 1 < len(argv) else ""
    if not _fits(given, here):
      raise UserError(f"{word}: expected {_wanted(here)}")


def _fits(given: str, here: Any) -> bool:
  if isinstance(here, bool):
    return given.lower() in ("true", "false", "t", "f", "1", "0")
  try:
    if isinstance(here, (int, float)):
      type(here)(given)
    if isinstance(here, tuple) and ("," in given or " " in given):
      ast.literal_eval(given)
  except (ValueError, SyntaxError):
    return False
  return True


def _wanted(here: Any) -> str:
  if isinstance(here, bool):
    return "true or false"
  if isinstance(here, tuple):
    return f"a tuple, like {here!r} in quotes; or repeat the flag with one value each"
  return f"{'a whole number' if isinstance(here, int) else 'a number'}, like {here!r}"


def figure_lines(figures: dict[str, Any]) -> str:
  """A stage's figures for people: a line each, intervals beside what they belong to."""
  rows = {}
  for name, value in figures.items():
    text = "" if value is None or name.endswith("_ci") else _figure(value)
    interval = figures.get(f"{name.removesuffix('_mean')}_ci")
    if text:
      rows[name.replace("_", " ")] = f"{text} [{_figure(interval)}]" if interval else text
  width = max(map(len, rows), default=0)
  return "\n".join(f"  {name.ljust(width)}  {text}" for name, text in rows.items())


def _figure(value: Any) -> str:
  """A number, a few of them, or named ones; "" for what is too long to read."""
  if isinstance(value, dict):
    parts = [f"{k} {_figure(v)}" for k, v in value.items() if not isinstance(v, (dict, list))]
    return " · ".join(parts)
  if isinstance(value, (list, tuple)):
    return ", ".join(map(_figure, value)) if len(value) <= 8 else ""
  return f"{value:.4g}" if isinstance(value, float) else str(value)
