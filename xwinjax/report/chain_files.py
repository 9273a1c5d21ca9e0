"""What a chain's folder holds: its stages, the evaluations' candidates, the speed of a stage."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.report.tables import Row
from xwinjax.report.workdir import Stages

NAMES = {"base": "Base", "sft": "SFT", "rs": "RS", "dpo": "DPO"}
PREVIOUS = {"sft": "base", "rs": "sft", "dpo": "rs"}
JUDGES = {"gold": "gold score", "rm": "RM score"}
TRAINED = ("pretrain", "sft", "reward", "rs", "dpo")
_STAGES = (
  "world pretrain sft label reward evaluate_base evaluate_sft sample score select rs evaluate_rs "
  "reference dpo choose evaluate_dpo token_gains"
)
ORDER = tuple(_STAGES.split())
OPTIONAL = ("world", "pretrain", "label", "choose", "token_gains")  # by settings, or in the sandbox


@dataclasses.dataclass(frozen=True)
class Samples:
  """An evaluation's candidates as arrays [P, S], and the first answer to each prompt."""

  rows: list[Row]  # id, prompt and the first candidate, of each prompt
  scores: dict[str, np.ndarray]  # gold and rm, where they are
  tokens_PS: np.ndarray
  kl_P: np.ndarray | None  # mean of log π - log π_ref over a prompt's answers


class Chain(Stages):
  """Reads a chain's folder."""

  expected = tuple(name for name in ORDER if name not in OPTIONAL)

  def __init__(self, folder: str | Path):
    super().__init__(folder)
    self.samples = functools.cache(self._samples)
    if not self.manifests and not any(self.begun(name) for name in ORDER):
      raise UserError(f"{folder}: holds no stage of a chain; name the workdir of experiments.xwin")

  def order(self) -> Iterable[str]:
    return ORDER

  def models(self) -> list[str]:
    """The models that have been evaluated."""
    return [name for name in NAMES if f"evaluate_{name}" in self.manifests]

  def start_of(self, stage: str) -> str:
    """The model that is a stage's reference: sft or rs."""
    return Path(self.manifests[stage]["input_paths"]["reference"]).parent.name

  def curves(self, score: str) -> dict[str, list[float]]:
    """The best-of-k curves, gold or rm, of the models that have one."""
    key = f"{score}_best_of_k"
    curves = {name: self.figures(f"evaluate_{name}").get(key) for name in self.models()}
    return {name: curve for name, curve in curves.items() if curve}

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
    known = {name: np.array(scores[name]) for name in JUDGES if name in scores}
    return Samples(rows, known, np.array(tokens), np.array(kl) if kl else None)


@dataclasses.dataclass(frozen=True)
class Speed:
  """How a training stage spent its time; steps that compiled are kept apart."""

  steps: int
  tokens: int
  tokens_per_second: float
  compiling: float  # seconds of steps that compiled
  waiting: float  # share of the other steps' time spent waiting for data
  padding: float  # share of places without a token


def speed(rows: Sequence[Row]) -> Speed | None:
  """From metrics.jsonl; None where no step has been logged."""
  if not rows:
    return None
  total = lambda key, rows=rows: float(sum(r[key] for r in rows))
  running = [r for r in rows if not r["first_of_shape"]]
  spent = max(total("seconds", running), 1e-9)
  places = sum(r["rows"] * r["length"] for r in rows)
  return Speed(
    rows[-1]["step"],
    int(total("tokens")),
    total("tokens", running) / spent,
    total("seconds") - total("seconds", running),
    total("wait_s", running) / spent,
    1 - total("tokens") / max(places, 1),
  )
