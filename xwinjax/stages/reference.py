"""Log-probs of pairs under the reference model: computed once, a file of their own.

DPO then trains without the reference in memory, and every epoch after the first is free of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from jax.sharding import Mesh

from xwinjax.core import processes
from xwinjax.core.bounds import Natural, OneOf, Tokens, Within
from xwinjax.core.errors import UserError
from xwinjax.core.types import Batch, Params
from xwinjax.data import fields, jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.forward import values
from xwinjax.forward.over_items import jitted
from xwinjax.losses.table import KINDS
from xwinjax.stages import common, preferences
from xwinjax.stages.common import Model
from xwinjax.stages.config import later, plumbing
from xwinjax.stages.manifest import fingerprint
from xwinjax.stages.reward import over_pairs
from xwinjax.stages.stage import Context, Stage, open_model

Kind = Annotated[str, OneOf(KINDS)]
Answers = Annotated[int, Within(2, 255)]


@dataclasses.dataclass(frozen=True)
class ReferenceConfig:
  """Reference log-probs by one model for one file of pairs."""

  format: str = "auto"  # a name from data/formats.py, or auto
  limit: Natural = 0  # read at most so many rows; 0 reads all
  max_length: Tokens = 2048  # as in the DPO that will read them
  kind: Kind = later("pairs")  # of data: pairs, unpaired (for kto), lists (of scored candidates)
  answers: Answers = later(4)  # lists: so many candidates a prompt, of evenly spaced ranks
  score: str = later("rm")  # lists: the score that ranks them
  batch: BatchConfig = plumbing(BatchConfig)


def reference_logps(
  model: values.Model,
  params: Params,
  data: Items,
  batch: BatchConfig | None = None,
  mesh: Mesh | None = None,
) -> np.ndarray:
  """[n, 2] log-probs in nats of every pair's answers, chosen first; f32, without dropout.

  Of lists they are those of all their answers, [n, answers].
  """
  answers = preferences.answers_of(data)
  forward = jitted(_logps, model, answers=answers)
  return over_pairs(forward, params, data, batch or BatchConfig(), mesh, "reference", answers)


def _logps(model: values.Model, params: Params, batch: Batch, *, answers: int) -> jax.Array:
  return values.pair_logps(model, params, batch, answers=answers)[0]


def columns(data: Items) -> list[str]:
  """What a row of the file calls the log-prob of each answer."""
  names = ["chosen", "rejected"]
  n = preferences.answers_of(data)
  return names if n == 2 else [f"answer_{i}" for i in range(1, n + 1)]


def key(model_sha256: str, model: Model, data: Items) -> str:
  """What reference log-probs belong to: weights, tokens (so tokenizer, template, cuts), dtype."""
  parts = (
    model_sha256,
    data.fingerprint(),
    model.tokenizer.fingerprint(),
    model.config.dtype,
    *filter(None, [model.config.operands]),
  )
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read(path: Path, wanted_key: str, data: Items) -> np.ndarray:
  """The stored log-probs in the order of `data`.

  Raises: UserError when they were made with another model, template, tokenizer or other pairs.
  """
  rows = [row for _, row in jsonl.read_rows(path)]
  if rows[0].get("key") != wanted_key:
    raise UserError(
      f"{path}: made with another model, template, tokenizer or other pairs (key "
      f"{str(rows[0].get('key'))[:8]}, this run's is {wanted_key[:8]}); run the reference stage "
      "again with this run's model and data"
    )
  if [row.get("id") for row in rows[1:]] != data.ids:
    raise UserError(
      f"{path}: does not hold these pairs in this order; run the reference stage again"
    )
  names, nothing = columns(data), float("nan")
  try:
    values = [[fields.number(row, name, nothing, text=False) for name in names] for row in rows[1:]]
  except fields.MISTAKES as e:
    raise UserError(f"{path}: {e}; run the reference stage again") from None
  with np.errstate(over="ignore"):  # too large for f32 is infinite, which is told below
    logps = np.array(values, np.float32)
  if not np.isfinite(logps).all():
    line = 2 + int(np.argmin(np.isfinite(logps).all(1)))
    raise UserError(f"{path}:{line}: lacks a finite log-prob; run the reference stage again")
  return logps


def make(
  context: Context, config: ReferenceConfig, folder: Path, model: Path, data: Path
) -> dict[str, Any]:
  """Writes logps.jsonl: a first line with the key, then {"id", "chosen", "rejected"} a pair.

  Of lists a row is {"id", "answer_1", …}, best first.
  """
  base, mesh = open_model(context, model), common.make_mesh(context.mesh)
  pairs, counts = preferences.read(config, config.kind, data, base, context.bad_rows)
  logps = reference_logps(base.config, base.params, pairs, config.batch, mesh)
  mine = key(processes.on_lead(lambda: fingerprint(model)), base, pairs)
  rows = [
    {"id": i, **dict(zip(columns(pairs), map(float, row), strict=True))}
    for i, row in zip(pairs.ids, logps, strict=True)
  ]
  jsonl.write_rows(folder / "logps.jsonl", [{"key": mine}, *rows])
  return {
    "pairs": len(pairs),
    "rows": dict(counts),
    "key": mine,
    "logp_chosen": round(float(logps[:, 0].mean()), 4),
    "logp_rejected": round(float(logps[:, -1].mean()), 4),
  }


def check(config: ReferenceConfig, **_) -> None:
  preferences.check(config, config.kind, ReferenceConfig())


STAGE = Stage(
  "reference",
  ReferenceConfig,
  make,
  {
    "model": "the reference: what DPO starts from",
    "data": "pairs; single answers or scored candidates for some losses",
  },
  ("logps.jsonl",),
  uses=("model", "mesh"),
  check=check,
  rows=lambda config: preferences.rows_read(config, config.kind),
)
