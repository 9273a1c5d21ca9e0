"""Runs rows in rounds, ours and the peer's in turn: A B A B."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from benchmark import others, results, serving, training
from benchmark.peer import Peer, settings_of, stock_of
from benchmark.spoken import Spoken
from benchmark.training import Opened, Sample
from benchmark.work import Work, shape_config
from xwinjax.core.errors import UserError
from xwinjax.data.batching import BatchConfig
from xwinjax.model.config import LlamaConfig
from xwinjax.stages import common

ROWS = ("train_sft", "train_reward", "train_dpo", "sample", "load", "start")  # of `all`
Say = Callable[[str], None]


class Measured(Protocol):
  """A row made ready."""

  def run(self) -> Sample: ...
  def facts(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a run is measured."""

  rounds: int = 2
  steps: int = 32  # batches timed a round; 0 takes the whole epoch
  batch: BatchConfig = dataclasses.field(
    default_factory=lambda: BatchConfig(buckets=8, bucket_places=0)
  )
  dtype: str = "auto"
  samples: int = 64
  new: int = others.NEW
  compiled_peer: bool = True
  remat: str = "none"
  scan_layers: bool = False
  attention: str = "xla"


def open_model(work: Work, settings: Settings) -> Opened:
  config = common.ModelConfig(
    path=str(work.model),
    dtype=settings.dtype,
    remat=settings.remat,
    scan_layers=settings.scan_layers,
    attention=settings.attention,
  )
  if not work.shape:
    model = common.open_model(config, None, reward=False)
    return Opened(model.config, model.params, model.tokenizer)
  sizes = shape_config(work.shape).replace(
    **common.compute_dtype(settings.dtype),
    remat=settings.remat,
    scan_layers=settings.scan_layers,
    attention=settings.attention,
  )
  params = training.llama.init(sizes, training.jax.random.key(0))
  return Opened(sizes, params, others.open_tokenizer(work.model))


def make_ready(name: str, opened: Opened, work: Work, settings: Settings) -> Measured:
  if name == "load":
    return others.Loading(opened, work)
  if name == "start":
    return others.StartUp(work, settings.batch.batch_size)
  if name == "serve":
    return serving.Serving(opened, work, settings.new)
  if name.startswith("sample_"):
    return others.Sampling(opened, work, int(name[7:]), settings.new)
  return training.Training(name, opened, work, settings.batch, settings.steps)


def expand(names: list[str], samples: int) -> list[str]:
  """What is measured for the words on the command line; `train_dpo` is two rows of one run."""
  rows: list[str] = []
  for name in names:
    for one in ROWS if name == "all" else (name,):
      rows += {"train_dpo": ["train_dpo_cached"], "sample": [f"sample_{samples}", "sample_1"]}.get(
        one, [one]
      )
  return list(dict.fromkeys(rows))


def measure(
  names: list[str],
  work: Work,
  settings: Settings,
  machine: dict[str, Any],
  peer: Peer | None = None,
  engine: Spoken | None = None,
  say: Say = common.say,
) -> list[results.Row]:
  """The rows of the result."""
  opened, rows = open_model(work, settings), []
  for name in expand(names, settings.samples):
    say(f"{name}: getting ready")
    ready = make_ready(name, opened, work, settings)
    samples, theirs, stock, engines = [], {}, {}, {}
    peers = [name] if name != "train_dpo_cached" else ["train_dpo_cached", "train_dpo"]
    for round in range(settings.rounds):
      samples.append(ready.run())
      say(f"{name}: {results.figure(samples[-1].value)} {unit_of(name)}")
      if peer is not None:
        for row in peers:
          _peer_round(peer, row, settings, round, theirs, stock, say)
      if engine is not None and isinstance(ready, others.Sampling):
        for setting, value in engine.ask(ready.job(work.model))["speeds"].items():
          engines.setdefault(setting, []).append(value)
          say(f"{name}: {engine.hello['engine']}, {setting}: {results.figure(value)} tok/s")
    more = (
      results.engine_facts(engines, samples, engine.hello["engine"]) if engine and engines else {}
    )
    rows += [{**row, **more} for row in _rows(name, ready, samples, machine, theirs, stock)]
  return rows


def unit_of(name: str) -> str:
  return results.UNITS.get(name, "tok/s")


def _peer_round(
  peer: Peer, row: str, settings: Settings, round: int, theirs: dict, stock: dict, say: Say
) -> None:
  """The peer's settings of a row; after the first round, those within 15 % of its best."""
  runs = theirs.setdefault(row, {})
  best = max((values[0] for values in runs.values()), default=0.0)
  for setting in settings_of(row, settings.steps or 32, compiled=settings.compiled_peer):
    if round and runs.get(setting.name, [0.0])[0] < 0.85 * best:
      continue
    try:
      value = peer.run(setting, round)["value"]
    except UserError as e:
      say(f"{row}: the peer with {setting.name} is left out: {e}")
      continue
    runs.setdefault(setting.name, []).append(value)
    say(f"{row}: peer, {setting.name}: {results.figure(value)} {unit_of(row)}")
  plain = stock_of(row, settings.steps or 32)
  if plain is not None and not round:
    value = peer.run(plain, round)["value"]
    stock.setdefault(row, []).append(value)
    say(f"{row}: peer, {plain.name}: {results.figure(value)} {unit_of(row)}")


def _rows(name, ready, samples: list[Sample], machine, theirs, stock) -> list[results.Row]:
  facts = {**samples[-1].facts, **ready.facts()}
  facts["compiles_while_timed"] = sum(s.facts["compiles_while_timed"] for s in samples)
  values = [s.value for s in samples]
  seconds = sorted(s.seconds for s in samples)[len(samples) // 2]
  share = None
  if isinstance(ready, training.Training):
    share, facts["mfu"] = shares(facts.pop("flops"), seconds, ready.config, machine)
  elif isinstance(ready, others.Sampling):
    rate = rate_of(ready.opened.config, machine)
    share = ready.ideal_seconds(facts["tokens"], rate, machine["bandwidth"]) / seconds

  def one(row: str, values: list[float], share: float | None) -> results.Row:
    known = row if row in results.UNITS else "sample_64"
    made_row = results.make_row(
      known,
      values,
      facts,
      roofline_share=share,
      peer_runs=theirs.get(row),
      stock_runs=stock.get(row),
    )
    return {**made_row, "name": row}

  rows = [one(name, values, share)]
  if name == "train_dpo_cached":  # one epoch that pays for the reference pass comes first
    assert isinstance(ready, training.Training)
    rows.insert(0, one("train_dpo", [ready.charged(v) for v in values], None))
  return rows


def rate_of(config: LlamaConfig, machine: dict[str, Any]) -> float:
  """The machine's matmul rate in what the model multiplies in."""
  plain = config.dtype == "float32" and not config.operands
  return machine["matmul_f32" if plain else "matmul_bf16"]


def shares(
  flops: float, seconds: float, config: LlamaConfig, machine: dict[str, Any]
) -> tuple[float, float | None]:
  """(share of the measured matmul rate, MFU where the vendor's peak is known)."""
  peak = machine["peak_bf16"]
  known = peak and config.dtype != "float32"
  mfu = flops / seconds / (peak * machine["devices"]) if known else None
  return flops / seconds / rate_of(config, machine), mfu


def curves(
  work: Work, settings: Settings, peer: Peer, steps: int, say: Say = common.say
) -> dict[str, Any]:
  """Loss curves of both over the same rows in the same order, in f32, and whether they agree."""
  opened, losses = open_model(work, settings), {}
  batch = settings.batch.batch_size
  stages = {"train_sft": "sft", "train_reward": "rm", "train_dpo_cached": "dpo"}
  for name, stage in stages.items():
    ours = training.curve(name, opened, work, batch, steps)
    theirs = peer.curve(stage, len(ours["losses"]), training.CURVE * training.RATES[name])
    same = results.agreement(ours, theirs)
    losses[name] = {"ours": ours, "peer": theirs, **same}
    say(
      f"{name}: losses of {same['steps']} steps are {same['apart']:.2%} apart at most, "
      f"tokens {same['tokens']}, supervised {same['targets']}: "
      f"{'agree' if same['agree'] else 'DO NOT AGREE'}"
    )
  return losses


def write_curves(path: Path, losses: dict[str, Any], machine: dict[str, Any]) -> None:
  from benchmark import charts as bench_charts

  bench_charts.loss_curves(path, losses, machine["device"])
