"""The files of a recipe's folder, as far as there are any."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.data.seal import RECIPE as RECIPE
from xwinjax.report.tables import Row


def recipe(folder: str | Path) -> str:
  """The recipe that a folder holds a run of, by the record that every run begins with."""
  path = Path(folder) / RECIPE
  if not path.parent.is_dir():
    raise UserError(f"{folder}: no such folder")
  if not path.exists():
    raise UserError(f"{path}: missing; run the recipe's command again, which writes it")
  remedy = "delete it and run the recipe's command again, which writes it"
  record = read_json(path, remedy)
  if not isinstance(record, dict) or not isinstance(record.get("recipe"), str):
    raise UserError(f"{path}: names no recipe; {remedy}")
  if seal.broken(record, {"recipe", "config"}):
    raise UserError(f"{path}: damaged; {remedy}")
  seal.check_format(record, path)
  return record["recipe"]


def read_json(path: Path, remedy: str) -> Row:
  try:
    return jsonl.read_json(path)
  except ValueError:
    raise UserError(f"{path}: damaged; {remedy}") from None


class Stages:
  """The manifests of a folder's stages. One without is not done, and has no figures."""

  expected: Iterable[str] = ()  # stages that are listed before they have begun, too

  def __init__(self, folder: str | Path):
    self.folder = Path(folder)
    if not self.folder.is_dir():
      raise UserError(f"{folder}: no such folder")
    self.manifests: dict[str, Row] = {}
    for name in self.order():
      path = self.folder / name / "manifest.json"
      if path.exists():
        remedy = f"delete {path.parent} to do the stage again"
        self.manifests[name] = read_json(path, remedy)
        if seal.broken(self.manifests[name]):
          raise UserError(f"{path}: changed since the stage wrote it; {remedy}")

  def order(self) -> Iterable[str]:
    """The folders of all stages, in the order they run in."""
    raise NotImplementedError

  def figures(self, name: str) -> Row:
    return self.manifests[name]["figures"] if name in self.manifests else {}

  def config(self, name: str) -> Row:
    return self.manifests[name]["config"] if name in self.manifests else {}

  def begun(self, name: str) -> bool:
    """Whether a stage has started; it is done when its manifest is there."""
    return (self.folder / name / "settings.json").exists()

  def last(self) -> Row:
    """The manifest of the last stage that is done."""
    return next(reversed(self.manifests.values()), {})

  def origin(self) -> Row:
    """Where the run was made, and its seed."""
    last = self.last()
    return {"device": last.get("device"), "seed": last.get("config", {}).get("seed")}

  def spent(self) -> Row:
    return {"seconds": round(self.seconds(), 2)}

  def seconds(self, within: str = "") -> float:
    """What the stages took whose names begin so."""
    return sum(m["seconds"] for name, m in self.manifests.items() if name.startswith(within))

  def rows(self, name: str) -> Iterator[Row]:
    """The objects of a JSONL file that has to be there."""
    path = self.folder / name
    if not path.exists():
      raise UserError(f"{path}: missing, though its stage is done; restore it, or redo the stage")
    return (row for _, row in jsonl.read_rows(path))

  def rows_if_any(self, name: str, most: int | None = None) -> list[Row]:
    """The first objects of a JSONL file; [] where there is none."""
    return list(itertools.islice(self.rows(name), most)) if (self.folder / name).exists() else []

  def metrics(self, name: str) -> list[Row]:
    """The logged steps of a training stage, finished or not; [] where there are none."""
    path, rows = self.folder / name / "metrics.jsonl", []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
      try:
        rows.append(json.loads(line))
      except ValueError:
        continue  # the empty end, or a line that is being written
    return rows
