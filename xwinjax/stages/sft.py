"""Supervised fine-tuning on conversations, and rejection-sampling fine-tuning on chosen answers."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jax.sharding import Mesh

from xwinjax.core import host, processes
from xwinjax.core.bounds import Amount, Natural, OneOf, Part, Tokens, Weight
from xwinjax.core.errors import UserError
from xwinjax.core.types import Batch, Mean, Params
from xwinjax.data import fitting, formats, items, jsonl, parallel, rows, seal, token_cache
from xwinjax.data.batching import BatchConfig
from xwinjax.data.items import Items
from xwinjax.data.preflight import Settings
from xwinjax.data.records import Counts
from xwinjax.data.templates import template_json
from xwinjax.forward.over_items import jitted, over_items
from xwinjax.forward.values import token_logps
from xwinjax.losses import cross_entropy
from xwinjax.model.config import LlamaConfig
from xwinjax.stages import common
from xwinjax.stages.common import Model
from xwinjax.stages.config import group, later
from xwinjax.stages.lora import LoRAConfig
from xwinjax.stages.stage import Context, Stage, open_model
from xwinjax.stages.training import TrainConfig, train
from xwinjax.train import objectives

TooLong = Annotated[str, OneOf(fitting.TOO_LONG)]
LossOn = Annotated[str, OneOf(fitting.LOSS_ON)]


@dataclasses.dataclass(frozen=True)
class SFTConfig:
  """SFT of one model on one file."""

  format: str = "auto"  # a name from data/formats.py, or auto
  limit: Natural = 0  # read at most so many rows; 0 reads all
  max_length: Tokens = 2048  # tokens a conversation may have
  too_long: TooLong = "turns"  # turns: leave the last out; blocks: split; cut its text; drop
  loss_on: LossOn = "all"  # answers: all, or the last
  z_loss: Weight = 0.0  # weight of logsumexp², 0 in all three papers
  label_smoothing: Part = later(0.0)  # share of each target that is spread over the vocabulary
  neftune: Amount = later(0.0)  # noise on embeddings, of alpha / sqrt(T D); the paper tries 5 to 15
  train: TrainConfig = group(TrainConfig)
  lora: LoRAConfig = later(LoRAConfig)

  def __post_init__(self) -> None:
    fitting.check(self.too_long, self.loss_on)


def read_items(config: SFTConfig, file: Path, model: Model, bad_rows: str = "stop") -> Items:
  """The conversations of a data set as items."""
  length = min(config.max_length, model.config.max_length)

  def make(builder: items.Builder) -> Items:
    counts = Counts()
    read = formats.read_examples(file, config.format, counts, bad_rows)
    examples = common.take(read, config.limit)
    tokenize = functools.partial(
      items.tokenize_examples,
      renderer=model.renderer,
      max_length=length,
      too_long=config.too_long,
      loss_on=config.loss_on,
    )
    made = parallel.tokenize(tokenize, examples, builder)
    left = {k: n for k, n in counts.items() if k not in ("read", "kept")}
    return dataclasses.replace(made, counts=made.counts + Counts(left))

  settings = {
    "file": file.name,
    "format": config.format,
    "limit": config.limit,
    "bad_rows": bad_rows,
    "length": length,
    "template": template_json(model.renderer.template),
    "system": model.renderer.system,
    "tokenizer": model.tokenizer.fingerprint(),
    "too_long": config.too_long,
    "loss_on": config.loss_on,
  }
  files, folder = rows.files(file), host.cache_folder() / "tokens"
  made = processes.lead_first(lambda: token_cache.cached(files, settings, make, folder))
  common.say(common.counted(str(file), made.counts))
  if not len(made):
    raise UserError(common.counted(f"{file}: no row is left", made.counts))
  return made


def _nll(model: LlamaConfig, params: Params, batch: Batch) -> Mean:
  """The cross-entropy of a batch's supervised tokens, without dropout."""
  logps_BT, _, weights_BT = token_logps(model, params, batch)
  return cross_entropy(logps_BT, weights_BT)


def measure_nll(
  model: Model, data: Items, batch: BatchConfig, mesh: Mesh | None
) -> Callable[[Params], float]:
  """parameters -> mean cross-entropy of the supervised tokens, in nats, without dropout."""

  def measure(params: Params) -> float:
    total = weight = 0.0
    for _, mean in over_items(jitted(_nll, model.config), params, data, batch, mesh):
      total, weight = total + float(mean.total), weight + float(mean.weight)
    return total / max(weight, 1.0)  # NaN where the model's numbers overflow

  return measure


def keep_epochs(
  folder: Path, model: Model, keep: tuple[int, int], nll: Callable[[Params], float] | None
) -> Callable[[int, int, Params], None]:
  """What ends an epoch: its held-out loss into epochs/EPOCH.json, its model into steps/STEP/.

  Models of the epochs keep[0] to keep[1] are kept, for `stages.choose`.
  """

  def on_epoch(epoch: int, step: int, params: Params) -> None:
    measured = {"epoch": epoch, "step": step, "kept": keep[0] <= epoch <= keep[1]}
    if nll is not None:
      measured["heldout_nll"] = round(nll(params), 6)
    if measured["kept"]:
      common.keep_step(folder, step, model, params)
    written = jsonl.write_json(folder / "epochs" / f"{epoch:03d}.json", jsonl.finite(measured))
    processes.on_lead(lambda: seal.seal_part(written))

  return on_epoch


def read_epochs(folder: Path) -> list[dict[str, Any]]:
  """What `keep_epochs` wrote of every epoch, in order. Raises UserError where it was changed."""
  files = sorted((folder / "epochs").glob("[0-9]*.json"))
  for file in files:
    if not seal.whole_part(file):
      raise UserError(f"{file}: changed since the epoch ended; delete {folder} to train again")
  return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def check_keep(config: SFTConfig, keep: tuple[int, int]) -> None:
  """Raises UserError for epochs that will never end."""
  first, last = keep
  if not 1 <= first <= last <= config.train.epochs:
    raise UserError(
      f"epochs {first} to {last} are to be kept of {config.train.epochs:g}; expected "
      "1 <= first <= last <= epochs"
    )
  if config.train.batch.packing:
    raise UserError("epochs are kept only without packing: packed epochs differ in their steps")


def make(
  context: Context,
  config: SFTConfig,
  folder: Path,
  model: Path,
  data: Path,
  heldout: Path | None = None,
  keep: tuple[int, int] | None = None,
) -> dict[str, Any]:
  """Trains the model on the data; writes model/ and metrics.jsonl.

  With `keep` = (first, last), those epochs' models are kept, too, as steps/STEP/, and the held-out
  loss of every epoch is measured.
  """
  mesh = common.make_mesh(context.mesh)
  base = open_model(context, model, lora=config.lora)
  items_ = read_items(config, data, base, context.bad_rows)
  nll = None
  if heldout is not None:
    held = read_items(config, heldout, base, context.bad_rows)
    nll = measure_nll(base, held, config.train.batch, mesh)
  before = {"heldout_nll_before": nll(base.params)} if nll else {}
  if not all(map(math.isfinite, before.values())):
    raise UserError(
      f"{heldout}: its loss is not finite under {model}; the model's numbers overflow in "
      f"{base.config.dtype}, try another model.dtype"
    )
  params, figures = train(
    folder,
    folder.name,
    base,
    base.params,
    items_,
    objectives.sft(
      base.config.replace(neftune=config.neftune),
      z_loss=config.z_loss,
      label_smoothing=config.label_smoothing,
    ),
    config.train,
    config.lora,
    seed=context.seed,
    mesh=mesh,
    on_epoch=keep_epochs(folder, base, keep, nll) if keep else None,
  )
  figures |= before
  if nll is not None:
    figures["heldout_nll"] = nll(params)
  if keep:
    figures["epochs"] = processes.on_lead(lambda: read_epochs(folder))
  common.save_model(folder / "model", base, params)
  return {k: round(v, 6) if isinstance(v, (float, np.floating)) else v for k, v in figures.items()}


def rows_read(config: SFTConfig) -> dict[str, Settings]:
  """How the stage reads its data."""
  as_data = Settings(
    "example",
    config.format,
    max_length=config.max_length,
    too_long=config.too_long,
    loss_on=config.loss_on,
    limit=config.limit,
  )
  return {"data": as_data, "heldout": dataclasses.replace(as_data, heldout=True)}


STAGE = Stage(
  "sft",
  SFTConfig,
  make,
  {
    "model": "the model to start from",
    "data": "conversations: any format of data/formats.py",
    "heldout?": "conversations whose loss is measured before and after",
  },
  ("model", "metrics.jsonl", "adapter?"),
  rows=rows_read,
)
