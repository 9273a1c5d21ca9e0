"""Whether a run on disk is as its stages wrote it: every seal, every file, every link.

Reads alone; a folder that another program is writing may be found unfinished, not damaged.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xwinjax import report
from xwinjax.checkpoint import store
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.recipes import stored
from xwinjax.report import workdir
from xwinjax.stages import common, manifest

CHECKPOINTS = "checkpoints"
_MADE_AGAIN = ("report.html", "sweep.html", ".lock")  # from the rest, or of no content


@dataclasses.dataclass(frozen=True)
class Finding:
  """A file that is not what it should be."""

  file: Path
  problem: str


@dataclasses.dataclass
class Verdict:
  """What was found in a folder."""

  findings: list[Finding] = dataclasses.field(default_factory=list)
  done: list[str] = dataclasses.field(default_factory=list)  # stages with a manifest
  begun: list[str] = dataclasses.field(default_factory=list)  # stages without
  links: int = 0  # inputs compared with what they were when they were read
  absent: list[str] = dataclasses.field(default_factory=list)  # inputs that lie elsewhere by now
  checked: set[Path] = dataclasses.field(default_factory=set)
  unchecked: list[str] = dataclasses.field(default_factory=list)  # files that nothing speaks of

  def find(self, file: Path, problem: str) -> None:
    self.findings.append(Finding(file, problem))


def verify(place: str | Path) -> Verdict:
  """Checks a run's folder, a stage's, or a model's that lies beside its stage's manifest.

  Raises: UserError for a folder that is none of these.
  """
  folder, verdict = Path(place), Verdict()
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder")
  stages = sorted(_stages(folder))
  if not stages and not (folder / workdir.RECIPE).exists():
    _model(folder, verdict)
    return verdict
  for stage in stages:
    _stage(stage, folder, verdict)
  _run(folder, verdict)
  verdict.unchecked = sorted(
    str(p.relative_to(folder))
    for p in folder.rglob("*")
    if p.is_file() and p not in verdict.checked and p.name not in _MADE_AGAIN
    if not (p.name == stored.NAME and stored.is_one(p))  # believed by no run
  )
  return verdict


def _stages(folder: Path) -> set[Path]:
  """The folders of stages: those with settings or a manifest, but for what is inside models."""
  found = {p.parent for name in (manifest.BEGUN, manifest.NAME) for p in folder.rglob(name)}
  inside = {CHECKPOINTS, "model", common.STEPS}
  return {p for p in found if not inside & set(p.relative_to(folder).parts)}


def _model(folder: Path, verdict: Verdict) -> None:
  record = manifest.writer(folder)
  if record is None:
    raise UserError(
      f"{folder}: nothing here says what it should hold; name the folder of a run or of a stage, "
      f"or a model's beside the {manifest.NAME} of its stage"
    )
  mine = {**record, "outputs": {folder.name: record["outputs"][folder.name]}}
  for path in manifest.changed_outputs(folder.parent, mine):
    verdict.find(path, "is not as its stage wrote it")
  verdict.done.append(record["stage"])
  verdict.checked |= _files(folder)


def _stage(folder: Path, root: Path, verdict: Verdict) -> None:
  name = str(folder.relative_to(root)) if folder != root else folder.name
  verdict.checked |= {folder / manifest.NAME, folder / manifest.BEGUN}
  try:
    record = manifest.read(folder)
  except UserError as e:
    verdict.find(folder / manifest.NAME, _problem(e, folder / manifest.NAME))
    record = None
  else:
    (verdict.begun if record is None else verdict.done).append(name)
  if record is not None:
    _settings(folder, record, verdict)
    for path in manifest.changed_outputs(folder, record):
      verdict.find(path, "is not as its stage wrote it" if path.exists() else "is missing")
    verdict.checked |= {p for out in record["outputs"] for p in _files(folder / out)}
    _links(record, root, verdict)
  _parts(folder, verdict)
  if (folder / CHECKPOINTS).is_dir():
    for path, problem in store.problems(folder / CHECKPOINTS):
      verdict.find(path, problem)
    verdict.checked |= _files(folder / CHECKPOINTS)
  if record is None:  # a training that goes on; its checkpoint says what these should be
    verdict.checked.add(folder / "metrics.jsonl")


def _settings(folder: Path, record: dict[str, Any], verdict: Verdict) -> None:
  try:
    begun = manifest.settings(folder)
  except UserError as e:
    verdict.find(folder / manifest.BEGUN, _problem(e, folder / manifest.BEGUN))
    return
  if begun is None:
    verdict.find(folder / manifest.BEGUN, "is missing")
  elif any(begun[k] != record[k] for k in ("stage", "config", "inputs")):
    verdict.find(folder / manifest.BEGUN, f"does not say what {manifest.NAME} beside it says")


def _links(record: dict[str, Any], root: Path, verdict: Verdict) -> None:
  """Compares what a stage says it read with what is there, and with what its writer says."""
  for role, stated in record["inputs"].items():
    named = record.get("input_paths", {}).get(role, "")
    path = _here(named, root)
    try:
      found = manifest.fingerprint(path)
    except UserError:
      verdict.absent.append(named)
      continue
    verdict.links += 1
    if found != stated:
      verdict.find(path, f"is not what {record['stage']} read as {role}")
    try:
      wrote = manifest.writer(path)
    except UserError:
      continue  # found where that stage is looked at
    if wrote is not None and wrote["outputs"][path.name] != stated:
      verdict.find(path, f"{record['stage']} read another {role} than {wrote['stage']} wrote")


def _here(named: str, root: Path) -> Path:
  """An input's path, inside the run where that has been moved."""
  parts = Path(named).parts
  for start in range(1, len(parts)):
    inside = root.joinpath(*parts[start:])
    if inside.exists() and len(parts) - start > 1:
      return inside
  return Path(named)


def _parts(folder: Path, verdict: Verdict) -> None:
  """Sealed parts of a stage's work, and parts without a seal."""
  inside = {p for p in folder.rglob("*") if CHECKPOINTS not in p.relative_to(folder).parts}
  for mark in sorted(p for p in inside if p.suffix == ".sha256"):
    sealed = [p for p in mark.parent.iterdir() if p != mark and seal.beside(p) == mark]
    verdict.checked.add(mark)
    if not sealed:
      verdict.find(mark, "what it seals is missing")
    for path in sealed:
      if not seal.whole_part(path):
        verdict.find(path, "is not as it was finished")
      verdict.checked |= _files(path)
  for path in sorted(p for p in inside if p.parent.name == "parts" and p.suffix == ".jsonl"):
    if not seal.beside(path).exists():
      verdict.find(path, "has no sha256 beside it")


def _run(folder: Path, verdict: Verdict) -> None:
  """recipe.json and summary.json, where this is a run's folder."""
  path, made = folder / workdir.RECIPE, folder / "summary.json"
  if not path.exists():
    return
  try:
    workdir.recipe(folder)
    verdict.checked |= {path, made}
    remedy = "run the recipe's command again"
    compared = made.exists() and not verdict.findings and not verdict.begun
    as_written = lambda: json.loads(jsonl.dumps(report.summary(folder)))
    if compared and workdir.read_json(made, remedy) != as_written():
      verdict.find(made, "is not what the stages' files give")
  except UserError as e:
    name = path if str(e).startswith(f"{path}:") else made
    verdict.find(name, _problem(e, name))


def _problem(error: UserError, path: Path) -> str:
  return str(error).removeprefix(f"{path}: ")


def _files(path: Path) -> set[Path]:
  return set(_walk(path))


def _walk(path: Path) -> Iterator[Path]:
  if path.is_file():
    yield path
  else:
    yield from (path / name for name in seal.contents(path))
