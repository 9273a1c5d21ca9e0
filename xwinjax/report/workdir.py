"""The files of a chain's folder, as far as there are any."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl

MODELS = ("base", "sft", "rs", "dpo")
PREVIOUS = {"sft": "base", "rs": "sft", "dpo": "rs"}
TRAINED = ("pretrain", "sft", "reward", "rs", "dpo")
ORDER = (
  "world",
  "pretrain",
  "sft",
  "label",
  "reward",
  "evaluate_base",
  "evaluate_sft",
  "sample",
  "score",
  "select",
  "rs",
  "evaluate_rs",
  "reference",
  "dpo",
  "evaluate_dpo",
)
NAMES = {"base": "Base", "sft": "SFT", "rs": "RS", "dpo": "DPO"}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Samples:
  """An evaluation's candidates as arrays [P, S], and the first answer to each prompt."""

  rows: list[Row]  # id, prompt and the first candidate, of each prompt
  scores: dict[str, np.ndarray]  # gold and rm, where they are
  tokens_PS: np.ndarray
  kl_P: np.ndarray | None  # mean of log π - log π_ref over a prompt's answers


class Stages:
  """The manifests of a folder's stages. One without is not done, and has no figures."""

  def __init__(self, folder: str | Path):
    self.folder = Path(folder)
    if not self.folder.is_dir():
      raise UserError(f"{folder}: no such folder")
    self.manifests: dict[str, Row] = {}
    for name in self.order():
      path = self.folder / name / "manifest.json"
      if path.exists():
        self.manifests[name] = _read_json(path)

  def order(self) -> Iterable[str]:
    """The folders of all stages, in the order they run in."""
    raise NotImplementedError

  def figures(self, name: str) -> Row:
    return self.manifests[name]["figures"] if name in self.manifests else {}

  def rows_if_any(self, name: str) -> list[Row]:
    """The objects of a JSONL file; [] where there is none."""
    path = self.folder / name
    return [row for _, row in jsonl.read_rows(path)] if path.exists() else []


class Workdir(Stages):
  """Reads a chain's folder."""

  def __init__(self, folder: str | Path):
    super().__init__(folder)
    self.metrics, self.samples = functools.cache(self._metrics), functools.cache(self._samples)
    if not self.manifests and not any(self.begun(name) for name in ORDER):
      raise UserError(f"{folder}: holds no stage of a chain; name the workdir of experiments.xwin")

  def order(self) -> Iterable[str]:
    return ORDER

  def config(self, name: str) -> Row:
    return self.manifests[name]["config"] if name in self.manifests else {}

  def begun(self, name: str) -> bool:
    """Whether a stage has started; it is done when its manifest is there."""
    return (self.folder / name / "settings.json").exists()

  def models(self) -> list[str]:
    """The models that have been evaluated."""
    return [name for name in MODELS if f"evaluate_{name}" in self.manifests]

  def _metrics(self, name: str) -> list[Row]:
    """The logged steps of a training stage, finished or not; [] where there are none."""
    path = self.folder / name / "metrics.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
      try:
        rows.append(json.loads(line))
      except ValueError:
        continue  # the empty end, or a line that is being written
    return rows

  def _samples(self, model: str) -> Samples:
    """The candidates of a model's evaluation."""
    rows: list[Row] = []
    scores: dict[str, list[list[float]]] = {}
    tokens, kl = [], []
    for row in self.rows(f"evaluate_{model}/candidates.jsonl"):
      candidates = row["candidates"]
      rows.append({"id": row["id"], "prompt": row["prompt"], "first": candidates[0]})
      tokens.append([c["tokens"] for c in candidates])
      for name in candidates[0].get("scores", {}):
        scores.setdefault(name, []).append([c["scores"][name] for c in candidates])
      if "reference" in scores:
        kl.append(np.mean([c["logp"] - c["scores"]["reference"] for c in candidates]))
    return Samples(
      rows,
      {name: np.array(scores[name]) for name in ("gold", "rm") if name in scores},
      np.array(tokens),
      np.array(kl) if kl else None,
    )

  def rows(self, name: str, limit: int = 0) -> Iterator[Row]:
    """The objects of a stage's JSONL file, the first `limit` of them if that is given."""
    path = self.folder / name
    if not path.exists():
      raise UserError(f"{path}: missing, though its stage is done; restore it, or redo the stage")
    with path.open(encoding="utf-8") as file:
      for number, line in enumerate(file, 1):
        if limit and number > limit:
          return
        try:
          yield json.loads(line)
        except ValueError:
          raise UserError(f"{path}:{number}: not valid JSON; redo the stage") from None


def _read_json(path: Path) -> Row:
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except ValueError:
    raise UserError(f"{path}: damaged; delete {path.parent} to do the stage again") from None
