"""Training state on disk: Orbax for the arrays, a manifest of our own beside them.

A step exists when its manifest does. The manifest is written last, after Orbax has finished, and
holds the sha256 of every file, the shape and dtype of every array and what the run is (its
identity); a damaged file, another run's checkpoint or a changed dtype is refused by name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from xwinjax.core import processes
from xwinjax.core.errors import UserError
from xwinjax.core.types import Params
from xwinjax.data import jsonl, seal

_BEFORE = {"step", "identity", "leaves", "files"}  # what manifests without a seal hold
# TensorStore says of a full disk that a value is wrong.
_CANNOT_WRITE = (OSError, ValueError)


def _leaves(state: Any) -> dict[str, list]:
  flat, _ = jax.tree_util.tree_flatten_with_path(state)
  return {jax.tree_util.keystr(path): [list(x.shape), str(x.dtype)] for path, x in flat}


def _damaged(root: Path, files: dict[str, dict]) -> Iterator[tuple[Path, str]]:
  """Files of a step that are not as its manifest states, and what is wrong with each."""
  for name, stated in files.items():
    path = root / name
    if not path.exists():
      yield path, "is missing"
    elif path.stat().st_size != stated["bytes"]:
      yield path, f"has {path.stat().st_size} bytes, not {stated['bytes']}"
    elif seal.sha256_file(path) != stated["sha256"]:
      yield path, "is damaged (its sha256 is not the one written)"


def read_manifest(path: Path) -> dict[str, Any]:
  """The manifest of a step. Raises UserError for one that is not as it was written."""
  try:
    manifest = jsonl.read_json(path)
    whole = all(isinstance(manifest[k], dict) for k in ("identity", "leaves", "files"))
    if whole and not seal.broken(manifest, _BEFORE):
      seal.check_format(manifest, path)
      return manifest
  except UserError:
    raise
  except (ValueError, KeyError, TypeError):
    pass
  raise UserError(f"{path}: damaged; delete it to continue from the step before")


def problems(folder: Path) -> Iterator[tuple[Path, str]]:
  """Every file of a run's checkpoints that is not as it was written; nothing is restored."""
  for path in sorted(folder.glob("*.json")):
    try:
      files = read_manifest(path)["files"]
    except UserError as e:
      yield path, str(e).removeprefix(f"{path}: ")
      continue
    root = path.with_suffix("")
    yield from _damaged(root, files)
    for name in seal.contents(root):
      if name not in files:
        yield root / name, f"is none of the files that {path.name} names"
  for path in sorted(p for p in folder.iterdir() if p.is_dir()):
    if not folder.joinpath(f"{path.name}.json").exists():
      yield path, "has no manifest; the next start removes it"


class Store:
  """The checkpoints of one run, in one folder."""

  def __init__(self, folder: str | Path, identity: dict[str, Any], keep: int = 2):
    """Args:
    folder: of checkpoints alone; <step>/ by Orbax and <step>.json, the manifest.
    identity: what makes a run this run (config, data, model); JSON. Resuming another is refused.
    keep: how many of the newest steps stay.
    """
    self.folder, self.keep = Path(folder).absolute(), keep
    self.identity = json.loads(json.dumps(identity))  # as the manifest will hold it
    self._checkpointer = ocp.StandardCheckpointer()
    self._pending: tuple[int, dict, dict] | None = None
    self.folder.mkdir(parents=True, exist_ok=True)

  def steps(self) -> list[int]:
    """Steps whose manifest is there, oldest first."""
    return sorted(int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit())

  def _manifest_path(self, step: int) -> Path:
    return self.folder / f"{step:08d}.json"

  def _step_path(self, step: int) -> Path:
    return self.folder / f"{step:08d}"

  def save(self, step: int, state: Any, notes: dict[str, Any] | None = None) -> None:
    """Starts writing; the step exists once `finish` (or the next `save`) has returned.

    Args:
      notes: JSON that `notes` gives back; of several processes the first one's is kept.
    """
    self.finish()
    if processes.on_lead(lambda: self._is_there(step)):
      return
    try:
      self._checkpointer.save(self._step_path(step), state)
    except _CANNOT_WRITE as e:
      raise self._unwritten(step, e) from None
    self._pending = (step, _leaves(state), notes or {})

  def _unwritten(self, step: int, error: Exception) -> UserError:
    processes.find_cause()  # that another process has ended looks the same
    why = " ".join(str(error).split())
    return UserError(
      f"{self._step_path(step)}: cannot be written ({why[:200]}{'…' * (len(why) > 200)}); "
      "make room, then the same command continues from the last good checkpoint"
    )

  def _is_there(self, step: int) -> bool:
    """Whether the step exists; if not, there is room for it."""
    if self._manifest_path(step).exists():
      return True
    if self._step_path(step).exists():  # left by a run that was killed before its manifest
      shutil.rmtree(self._step_path(step))
    return False

  def finish(self) -> None:
    """Waits for the write under way and makes its step exist."""
    if self._pending is None:
      return
    step, leaves, notes = self._pending
    self._pending = None
    try:
      self._checkpointer.wait_until_finished()
    except _CANNOT_WRITE as e:
      raise self._unwritten(step, e) from None
    processes.on_lead(lambda: self._make_exist(step, leaves, notes))

  def _make_exist(self, step: int, leaves: dict[str, list], notes: dict[str, Any]) -> None:
    root = self._step_path(step)
    files = {
      name: {"bytes": (root / name).stat().st_size, "sha256": seal.sha256_file(root / name)}
      for name in seal.contents(root)
    }
    manifest = {"step": step, "identity": self.identity, "leaves": leaves, "files": files}
    jsonl.write_json(self._manifest_path(step), seal.sealed({**manifest, "notes": notes}))
    for old in self.steps()[: -self.keep]:
      self._manifest_path(old).unlink()
      shutil.rmtree(self._step_path(old), ignore_errors=True)

  def sweep(self) -> None:
    """Removes what a kill left behind: folders of steps that do not exist, unfinished writes."""
    for path in self.folder.iterdir():
      if path.is_dir() and not self.folder.joinpath(f"{path.name}.json").exists():
        shutil.rmtree(path, ignore_errors=True)

  def notes(self, step: int) -> dict[str, Any]:
    """What `save` was given with a step that exists."""
    return self._read_manifest(step).get("notes", {})

  def close(self) -> None:
    self.finish()
    self._checkpointer.close()

  def restore(self, like: Any, step: int | None = None) -> tuple[int, Any] | None:
    """The newest step (or the named one) as (step, state); None when there is none.

    Args:
      like: a state of the same structure; its shapes, dtypes and shardings are what comes back.

    Raises: UserError for a damaged file, another run's checkpoint, or another shape or dtype.
    """
    expected = _leaves(like)
    found = processes.on_lead(lambda: self._check_step(expected, step))
    if found is None:
      return None
    target = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
    )
    return found, self._checkpointer.restore(self._step_path(found), target)

  def _check_step(self, expected: dict[str, list], step: int | None) -> int | None:
    """The step to restore, its files and arrays seen to be right; None when there is none."""
    steps = self.steps()
    if not steps:
      return None
    step = steps[-1] if step is None else step
    manifest = self._read_manifest(step)
    self._check_identity(manifest["identity"])
    older = [s for s in steps if s < step]
    self._check_files(step, manifest["files"], older)
    for name in sorted(expected.keys() | manifest["leaves"].keys()):
      leaf = manifest["leaves"].get(name)
      if leaf != expected.get(name):
        raise UserError(
          f"{self._step_path(step)}: {name} is {leaf}; this run expects {expected.get(name)}"
        )
    return step

  def restore_params(self, step: int | None = None) -> tuple[int, Params] | None:
    """(step, parameters) of the newest step or the named one, whatever the run; None without one.

    Raises: UserError for a damaged file.
    """
    steps = self.steps()
    if not steps:
      return None
    step = steps[-1] if step is None else step
    self._check_files(step, self._read_manifest(step)["files"], [s for s in steps if s < step])
    metadata = self._checkpointer.metadata(self._step_path(step)).item_metadata
    assert metadata is not None
    stored = {"params": metadata.tree["params"]}
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), stored)
    arguments = ocp.args.PyTreeRestore(
      item=target,
      restore_args=ocp.checkpoint_utils.construct_restore_args(target),
      partial_restore=True,
    )
    with ocp.PyTreeCheckpointer() as reader:
      return step, reader.restore(self._step_path(step), args=arguments)["params"]

  def _read_manifest(self, step: int) -> dict[str, dict]:
    path = self._manifest_path(step)
    if not path.exists():
      raise UserError(f"{path}: no such checkpoint; there are {self.steps()}")
    return read_manifest(path)

  def _check_identity(self, identity: dict[str, Any]) -> None:
    if identity == self.identity:
      return
    differs = [
      f"{name} was {identity.get(name)!r} and is {self.identity.get(name)!r}"
      for name in sorted(identity.keys() | self.identity.keys())
      if identity.get(name) != self.identity.get(name)
    ]
    raise UserError(
      f"{self.folder}: belongs to another run: {'; '.join(differs[:3])}. "
      "Restore the settings, or use a new folder"
    )

  def _check_files(self, step: int, files: dict[str, dict], older: list[int]) -> None:
    for path, problem in _damaged(self._step_path(step), files):
      advice = (
        f"delete {self._manifest_path(step).name} to continue from step {older[-1]}"
        if older
        else "no older step is left; delete the folder to start again"
      )
      raise UserError(f"{path}: {problem}; {advice}")
