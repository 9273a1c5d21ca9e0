"""Training state on disk: Orbax for the arrays, a manifest of our own beside them.

A step exists when its manifest does. The manifest is written last, after Orbax has finished, and
holds the sha256 of every file, the shape and dtype of every array and what the run is (its
identity); a damaged file, another run's checkpoint or a changed dtype is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from xwinjax.core import processes
from xwinjax.core.errors import UserError
from xwinjax.core.types import Params
from xwinjax.data import jsonl


def sha256_file(path: Path) -> str:
  with path.open("rb") as f:
    return hashlib.file_digest(f, "sha256").hexdigest()


def _leaves(state: Any) -> dict[str, list]:
  flat, _ = jax.tree_util.tree_flatten_with_path(state)
  return {jax.tree_util.keystr(path): [list(x.shape), str(x.dtype)] for path, x in flat}


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
    self._pending: tuple[int, dict] | None = None
    self.folder.mkdir(parents=True, exist_ok=True)

  def steps(self) -> list[int]:
    """Steps whose manifest is there, oldest first."""
    return sorted(int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit())

  def _manifest_path(self, step: int) -> Path:
    return self.folder / f"{step:08d}.json"

  def _step_path(self, step: int) -> Path:
    return self.folder / f"{step:08d}"

  def save(self, step: int, state: Any) -> None:
    """Starts writing; the step exists once `finish` (or the next `save`) has returned."""
    self.finish()
    if processes.on_lead(lambda: self._is_there(step)):
      return
    try:
      self._checkpointer.save(self._step_path(step), state)
    except OSError as e:
      raise UserError(f"{self._step_path(step)}: cannot be written ({e})") from None
    self._pending = (step, _leaves(state))

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
    step, leaves = self._pending
    self._pending = None
    try:
      self._checkpointer.wait_until_finished()
    except OSError as e:
      raise UserError(f"{self._step_path(step)}: cannot be written ({e})") from None
    processes.on_lead(lambda: self._make_exist(step, leaves))

  def _make_exist(self, step: int, leaves: dict[str, list]) -> None:
    root = self._step_path(step)
    files = {
      str(p.relative_to(root)): {"bytes": p.stat().st_size, "sha256": sha256_file(p)}
      for p in sorted(root.rglob("*"))
      if p.is_file()
    }
    manifest = {"step": step, "identity": self.identity, "leaves": leaves, "files": files}
    jsonl.write_json(self._manifest_path(step), manifest)
    for old in self.steps()[: -self.keep]:
      self._manifest_path(old).unlink()
      shutil.rmtree(self._step_path(old), ignore_errors=True)

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
    try:
      manifest = json.loads(path.read_text(encoding="utf-8"))
      if all(isinstance(manifest[k], dict) for k in ("identity", "leaves", "files")):
        return manifest
    except FileNotFoundError:
      raise UserError(f"{path}: no such checkpoint; there are {self.steps()}") from None
    except (ValueError, KeyError, TypeError):
      pass
    raise UserError(f"{path}: damaged; delete it to continue from the step before")

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
    for name, stated in files.items():
      path = self._step_path(step) / name
      if not path.exists():
        problem = "is missing"
      elif path.stat().st_size != stated["bytes"]:
        problem = f"has {path.stat().st_size} bytes, not {stated['bytes']}"
      elif sha256_file(path) != stated["sha256"]:
        problem = "is damaged (its sha256 is not the one written)"
      else:
        continue
      advice = (
        f"delete {self._manifest_path(step).name} to continue from step {older[-1]}"
        if older
        else "no older step is left; delete the folder to start again"
      )
      raise UserError(f"{path}: {problem}; {advice}")
