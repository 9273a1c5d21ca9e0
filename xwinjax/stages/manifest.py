"""A stage's record of itself: what went in, what came out, with what settings.

The manifest is written last, so a stage is done when its manifest says so. A stage whose settings
or inputs have changed since is refused by name, or done again when that was asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from xwinjax.core import host, processes, system
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, rows, seal
from xwinjax.data.seal import RECIPE, sha256_file
from xwinjax.stages import config as configs

NAME = "manifest.json"
BEGUN = "settings.json"
_SHA256 = re.compile(r"'([0-9a-f]{8})[0-9a-f]{56}'")
_PACKAGES = (
  "xwinjax",
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "numpy",
  "sentencepiece",
)


_digests: dict[tuple[str, int, int], str] = {}  # (path, bytes, nanoseconds) -> sha256


def _sha256(path: Path) -> str:
  """A file's sha256, computed once a process: a recipe reads the same model many times."""
  stat = path.stat()
  key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
  if key not in _digests:
    _digests[key] = sha256_file(path)
  return _digests[key]


def fingerprint(path: Path) -> str:
  """sha256 of a file; of a folder's files, or those of a pattern or list, by name and content."""
  if path.is_file():
    return _sha256(path)
  if path.is_dir():
    return seal.sha256_folder(path, _sha256, leave_out=NAME)
  if not rows.is_several(path):
    raise UserError(f"{path}: no such file or folder")
  digest = hashlib.sha256()
  for file in rows.files(path):
    digest.update(f"{file.name} {_sha256(file)}\n".encode())
  return digest.hexdigest()


def in_folders(folder: Path, names: Iterable[str]) -> dict[str, str]:
  """sha256 of every file that lies in one of these folders of a stage's, by its path in there."""
  found = (folder / name for name in names if (folder / name).is_dir())
  files = (path / file for path in found for file in seal.contents(path, NAME))
  return {str(file.relative_to(folder)): _sha256(file) for file in files}


def versions() -> dict[str, str]:
  return {name: importlib.metadata.version(name) for name in _PACKAGES} | {
    "python": platform.python_version(),
    "code": system.code_digest()[:12],
  }


def device() -> str:
  first, count = jax.devices()[0], jax.device_count()
  if first.platform == "cpu":
    simulated = f", {count} simulated devices" if count > 1 else ""
    cores = system.cores()
    return f"{cores} core{'s' * (cores > 1)} of {host.cpu()}{simulated}"
  return f"{count} x {first.device_kind} ({first.platform})"


def read(folder: Path) -> dict[str, Any] | None:
  """The manifest of a finished stage; None where there is none."""
  return _read_object(folder / NAME, ("stage", "config", "inputs", "outputs", "figures"))


def settings(folder: Path) -> dict[str, Any] | None:
  """What a stage began with; None where there is no record of it."""
  return _read_object(folder / BEGUN, ("stage", "config", "inputs"))


def chosen_before(folder: Path) -> dict[str, Any] | None:
  """What a stage that was begun here chose for the machine it was on; None where none was.

  It stays, wherever the stage goes on: half a training in another precision would be neither.
  """
  begun = settings(folder)
  before = "float32" if jax.default_backend() == "cpu" else "bfloat16"  # in earlier versions
  return begun and begun.get("chosen", {"dtype": before})


def _read_object(path: Path, expected: tuple[str, ...]) -> dict[str, Any] | None:
  if not path.exists():
    return None
  try:
    values = jsonl.read_json(path)
  except ValueError:
    values = None
  whole = isinstance(values, dict) and all(name in values for name in expected)
  if isinstance(values, dict) and whole and not (path.name == NAME and seal.broken(values)):
    seal.check_format(values, path)
    return values
  raise UserError(f"{path}: damaged; delete {path.parent} to do the stage again")


def changed_outputs(folder: Path, manifest: dict[str, Any]) -> list[Path]:
  """What a finished stage wrote that is not as it was, named by file where that is known."""
  changed = []
  for name, stated in manifest["outputs"].items():
    path = folder / name
    if path.exists() and fingerprint(path) == stated:
      continue
    within = {f: s for f, s in manifest.get("files", {}).items() if f.startswith(f"{name}/")}
    now = in_folders(folder, (name,))
    files = [f for f in sorted(within.keys() | now.keys()) if within.get(f) != now.get(f)]
    changed += [folder / f for f in files] if within and files else [path]
  return changed


def _check_outputs(folder: Path, manifest: dict[str, Any]) -> None:
  for path in changed_outputs(folder, manifest):
    raise UserError(
      f"{path}: changed since the stage wrote it; restore it, or delete {folder / NAME} to do the "
      "stage again"
    )


def writer(path: Path) -> dict[str, Any] | None:
  """The manifest of the finished stage that wrote a file or folder; None for one of no stage's."""
  if not path.exists() or not (path.parent / BEGUN).exists():
    return None
  manifest = read(path.parent)
  return manifest if manifest is not None and path.name in manifest["outputs"] else None


def _check_input(path: Path) -> None:
  """Refuses what a stage wrote, and what is no longer as it wrote it."""
  if path.name == NAME and (path.parent / BEGUN).exists():
    read(path.parent)
  manifest = writer(path)
  if manifest is None:
    return
  mine = {**manifest, "outputs": {path.name: manifest["outputs"][path.name]}}
  for changed in changed_outputs(path.parent, mine):
    raise UserError(
      f"{changed}: changed since the stage in {path.parent} wrote it; restore it, or do that stage "
      "again"
    )


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
  """Keeps a second run out of the folder while this one works in it; its process 0 holds it.

  In a stage's folder inside a recipe's run it keeps the recipe out, too, and is kept out by it.
  """

  def enter() -> None:
    for parent in folder.absolute().parents[:2]:
      if (parent / RECIPE).exists():
        held.enter_context(_held(parent, fcntl.LOCK_SH))
    held.enter_context(_locked(folder))

  with contextlib.ExitStack() as held:
    processes.on_lead(enter)
    yield


@contextlib.contextmanager
def _held(folder: Path, kind: int) -> Iterator[Path]:
  path = folder / ".lock"
  with path.open("a+") as f:
    try:
      fcntl.flock(f, kind | fcntl.LOCK_NB)
    except OSError:
      f.seek(0)
      raise UserError(
        f"{folder}: another run works here ({f.read().strip()}); wait, or use another workdir"
      ) from None
    f.seek(0)
    f.truncate()
    f.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
    f.flush()
    yield path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
  folder.mkdir(parents=True, exist_ok=True)
  with _held(folder, fcntl.LOCK_EX) as path:
    try:
      yield
    finally:
      if [p.name for p in folder.iterdir()] == [path.name]:  # nothing was made: leave no trace
        path.unlink()
        folder.rmdir()


def _begin(folder: Path, what: dict[str, Any]) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  jsonl.sweep(folder)
  jsonl.write_json(folder / BEGUN, what)


def _made(started: float) -> dict[str, Any]:
  """How long it took since `started`, with what, and when it ended."""
  return {
    "seconds": round(time.perf_counter() - started, 2),
    "versions": versions(),
    "device": device(),
    "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
  }


def run_stage(
  folder: Path,
  stage: str,
  config: Any,
  inputs: dict[str, Path],
  outputs: tuple[str, ...],
  body: Callable[[], dict[str, Any]],
  *,
  redo: bool = False,
  alone: bool = False,
  like: Path | None = None,
  chosen: dict[str, Any] | None = None,
  computed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Runs a stage once and records it; returns its figures.

  Of several processes the first decides whether it is done and writes the record.

  Args:
    folder: the stage's own.
    stage: its name.
    config: the settings that decide its result: their dataclass, or nested values.
    inputs: files and folders it reads, by role.
    outputs: what it writes, relative to the folder; what ends in "?" need not be there.
    body: does the work and returns figures (JSON).
    redo: throw away what was made with other settings or inputs, instead of refusing.
    alone: process 0 does all of it; for what needs no devices.
    like: another run's folder of this stage, whose result is taken if it was made of the same.
    chosen: for this machine, to be recorded; see `chosen_before`.
    computed: settings that may change bits and not more; recorded, and no part of what it is.

  Raises: UserError when a finished stage's settings or inputs differ from these and `redo` is off,
    and when its outputs were changed behind its back.
  """

  def begin() -> dict[str, Any]:
    for path in inputs.values():
      _check_input(path)
    given = configs.identity(config) if dataclasses.is_dataclass(config) else config
    digests = {role: fingerprint(path) for role, path in inputs.items()}
    what = {"stage": stage, "config": json.loads(json.dumps(given)), "inputs": digests}
    whole = what if chosen is None else {**what, "chosen": chosen}
    done = _done(folder, what, redo) or (like and _taken(like, folder, what))
    if done is None:
      _begin(folder, whole)
    else:
      print(f"{stage}: done before, in {folder}", file=sys.stderr, flush=True)
    return {"what": whole, "figures": done and done["figures"]}

  def end(figures: dict[str, Any]) -> dict[str, Any]:
    names = [n.removesuffix("?") for n in outputs]
    names = [n for n in names if n in outputs or (folder / n).exists()]
    manifest = {
      **what,
      "outputs": {name: fingerprint(folder / name) for name in names},
      "files": in_folders(folder, names),
      "figures": figures,
      "input_paths": {role: str(path) for role, path in inputs.items()},
      **({"computed": dict(computed)} if computed else {}),
      **_made(started),
    }
    jsonl.write_json(folder / NAME, seal.sealed(json.loads(jsonl.dumps(manifest))))
    return figures

  begun = processes.on_lead(begin)
  what, started = begun["what"], time.perf_counter()
  if begun["figures"] is not None:
    return begun["figures"]
  try:
    figures = jsonl.finite(processes.on_lead(body) if alone else body())
  except UserError:
    _leave_no_trace(folder)
    raise
  return processes.on_lead(lambda: end(figures))


def _done(folder: Path, what: dict[str, Any], redo: bool) -> dict[str, Any] | None:
  """The manifest of a stage that is done; None for one to be done, its folder as it may go on."""
  done = read(folder)
  before = done or settings(folder) or what
  changed = configs.differences({k: before[k] for k in what}, what)
  if changed and not redo:
    differences = _SHA256.sub(r"sha256 \1…", "; ".join(changed[:3]))
    raise UserError(
      f"{folder}: {'made' if done else 'begun'} with other settings: {differences}. "
      "Restore them, use a new workdir, or pass --redo to do it again"
    )
  if changed:
    shutil.rmtree(folder)
  elif done is not None:
    _check_outputs(folder, done)
    return done
  return None


def _taken(like: Path, folder: Path, what: dict[str, Any]) -> dict[str, Any] | None:
  """Copies a finished stage of another run that was made of the same; None where there is none."""
  done = read(like)
  if done is None or configs.differences({k: done[k] for k in what}, what):
    return None
  _check_outputs(like, done)
  making = folder.with_name(f".{folder.name}.taken")
  shutil.rmtree(making, ignore_errors=True)
  making.mkdir(parents=True)
  for name in (*done["outputs"], BEGUN, NAME):
    copy = shutil.copytree if (like / name).is_dir() else shutil.copy2
    copy(like / name, making / name)
  shutil.rmtree(folder, ignore_errors=True)
  making.rename(folder)
  return done


def _leave_no_trace(folder: Path) -> None:
  """Where nothing was made, the same folder may be used once the mistake is mended."""
  if not system.leads():
    return
  if {p.name for p in folder.iterdir() if not p.name.startswith(".")} == {BEGUN}:
    (folder / BEGUN).unlink()
