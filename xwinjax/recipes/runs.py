"""The runs below some folders: what they are, how far they are, what came out, how two differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.recipes import stored
from xwinjax.recipes.sweep import FIGURES, find
from xwinjax.report import workdir
from xwinjax.stages import config as configs
from xwinjax.stages import manifest

_INSIDE = ("checkpoints", "model", "parts")


@dataclasses.dataclass(frozen=True)
class Run:
  """A recipe's run, or that of a stage alone."""

  folder: Path
  of: str  # the recipe, or the stage
  done: bool
  manifests: Mapping[str, dict[str, Any]]  # of the stages that are done, by place, oldest first

  @property
  def last(self) -> dict[str, Any]:
    return list(self.manifests.values())[-1] if self.manifests else {}

  @property
  def seconds(self) -> float:
    return sum(m.get("seconds") or 0.0 for m in self.manifests.values())

  @property
  def versions(self) -> dict[str, str]:
    return self.last.get("versions", {})

  def config(self) -> dict[str, Any]:
    """Its settings: as given where that was kept, else what its records say of them."""
    if stored.is_one(self.folder / stored.NAME):
      return stored.read(self.folder / stored.NAME).values
    if (self.folder / workdir.RECIPE).exists():
      return workdir.read_json(self.folder / workdir.RECIPE, "run its command again")["config"]
    return self.last.get("config", {})

  def inputs(self) -> dict[str, str]:
    """sha256 of what the run read from outside, by stage and role."""
    made = {sha for m in self.manifests.values() for sha in m["outputs"].values()}
    named = {
      f"{p} {r}".strip(): s for p, m in self.manifests.items() for r, s in m["inputs"].items()
    }
    return {name: sha for name, sha in named.items() if sha not in made}

  def figures(self) -> dict[str, float]:
    """The recipe's main figures from summary.json; a stage's numbers from its manifest."""
    if self.of in FIGURES:
      path = self.folder / "summary.json"
      summary = workdir.read_json(path, "run its command again") if path.exists() else {}
      found = {name: find(summary, place) for name, place in FIGURES[self.of].items()}
    else:
      found = {n: find(self.last, ("figures", n)) for n in self.last.get("figures", {})}
    return {name: value for name, value in found.items() if value is not None}


def under(folders: Iterable[str | Path]) -> Iterator[Run]:
  """All runs below these folders, the oldest first; stages of a recipe's run belong to it.

  Raises: UserError for a folder that is not there.
  """
  runs = []
  for folder in map(Path, folders):
    if not folder.is_dir():
      raise UserError(f"{folder}: no such folder")
    runs += _below(folder)
  return iter(sorted(runs, key=lambda run: (run.last.get("finished") or "~", str(run.folder))))


def _below(folder: Path) -> Iterator[Run]:
  if (run := _read(folder)) is not None:
    yield run
    return
  for path in sorted(folder.iterdir()):
    if path.is_dir() and path.name not in _INSIDE and not path.name.startswith("."):
      yield from _below(path)


def one(folder: str | Path) -> Run:
  """The run in a folder. Raises UserError where there is none."""
  run = _read(Path(folder))
  if run is None:
    raise UserError(f"{folder}: no run lies here; name the --workdir of one")
  return run


def _read(folder: Path) -> Run | None:
  if (folder / workdir.RECIPE).exists():
    found = {}
    for path in folder.rglob(manifest.NAME):
      place = path.parent.relative_to(folder)
      if not set(_INSIDE) & set(place.parts):
        found[str(place)] = manifest.read(path.parent)
    oldest = dict(sorted(found.items(), key=lambda item: item[1].get("finished", "")))
    return Run(folder, workdir.recipe(folder), (folder / "summary.json").exists(), oldest)
  begun = manifest.settings(folder)
  made = manifest.read(folder)
  if begun is None and made is None:
    return None
  return Run(folder, (made or begun or {})["stage"], made is not None, {"": made} if made else {})


def row(run: Run) -> dict[str, Any]:
  """What the list says of a run, for other programs."""
  seed = find(run.config(), ("seed",))
  return {
    "run": str(run.folder),
    "of": run.of,
    "done": run.done,
    "stages": len(run.manifests),
    "finished": run.last.get("finished"),
    "seconds": round(run.seconds, 1),
    "seed": None if seed is None else int(seed),
    "device": run.last.get("device"),
    "code": run.versions.get("code"),
    "figures": run.figures(),
  }


def difference(a: Run, b: Run) -> dict[str, list[str]]:
  """What differs between two runs: settings, data, versions and figures, a line each."""
  parts = {
    "config": configs.differences(a.config(), b.config()),
    "data": _changed(a.inputs(), b.inputs(), lambda sha: sha[:12]),
    "versions": _changed(a.versions, b.versions, str),
    "device": _changed({"device": a.last.get("device")}, {"device": b.last.get("device")}, str),
  }
  ours, theirs = a.figures(), b.figures()
  parts["figures"] = [
    f"{name}: {ours[name]:.4g} → {theirs[name]:.4g} ({theirs[name] - ours[name]:+.4g})"
    for name in ours
    if name in theirs and ours[name] != theirs[name]
  ]
  return parts


def _changed(a: Mapping[str, Any], b: Mapping[str, Any], show: Any) -> list[str]:
  names = dict.fromkeys([*a, *b])
  said = lambda side, name: show(side[name]) if side.get(name) is not None else "absent"
  return [
    f"{name} was {said(a, name)} and is {said(b, name)}"
    for name in names
    if a.get(name) != b.get(name)
  ]
