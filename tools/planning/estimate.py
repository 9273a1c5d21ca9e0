"""How long a program takes, and what it needs, by a roofline: matrix units, memory, links.

A compiled program is counted by `planning.hlo`; without one (GPUs, and a search's first look) the
counts are those that its equations and its mesh imply.
"""

from __future__ import annotations

import dataclasses
import math

from planning.chips import Slice
from planning.hlo import Cost
from planning.programs import SAMPLED, TRAINED, Job
from xwinjax.model import parameters
from xwinjax.model.config import LlamaConfig

GIB = 2**30
# Matrix products over the causal half of the scores in a run of each splash kernel: forward S and
# O; dKV S, dP, dV, dK; dQ S, dP, dQ.
PRODUCTS = {"fwd": 2, "dkv": 4, "dq": 3}
BF16, F32 = 2, 4


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Of one run of a program (a block of tokens for `decode`), a device."""

  needed: float  # FLOPs of the model's equations
  done: float  # FLOPs of the program, what it computes twice included
  matmul_s: float
  memory_s: float
  links_s: float

  @property
  def seconds(self) -> float:
    """The slowest of the three, as if the others hid behind it."""
    return max(self.matmul_s, self.memory_s, self.links_s)

  @property
  def serial(self) -> float:
    """As if nothing hid behind anything."""
    return self.matmul_s + self.memory_s + self.links_s


def sizes(model: LlamaConfig) -> tuple[int, int]:
  """(parameters of the layers, of the head)."""
  head = model.vocab_size * model.dim
  return parameters.count(model) - head * (1 if model.tied else 2), head


def tokens(job: Job) -> int:
  """That a run of the program puts through the model."""
  return job.batch * (job.samples * job.block if job.stage == "decode" else job.length)


def needed_flops(job: Job, model: LlamaConfig, devices: int) -> float:
  """2 a parameter and token, and attention's causal half; thrice to train, with adapters twice.

  Source: PaLM (Chowdhery et al. 2022), appendix B.
  """
  body, head = sizes(model)
  seen = job.length if job.stage == "decode" else job.length / 2
  scores = 2 * model.num_layers * model.num_heads * model.head_dim * seen
  each = 2 * (body + head * (job.stage not in ("reward", "prefill")) + scores)
  passes = (2 if model.lora_rank else 3) if job.stage in TRAINED else 1
  return each * tokens(job) * passes / devices


def kernel_flops(job: Job, model: LlamaConfig, cost: Cost, rows: int, tensor: int) -> float:
  """Of the attention kernels; rows are a device's."""
  tile = 2 * rows * model.num_heads / tensor * model.head_dim * job.length**2 / 2
  names = (
    (phase, runs)
    for name, runs in cost.kernels.items()
    for phase in PRODUCTS
    if f"_{phase}" in name
  )
  return sum(runs * PRODUCTS[phase] * tile for phase, runs in names)


def link_bytes(cost: Cost, devices: int) -> float:
  """What collectives move: a result of R bytes takes R to gather and 2 R to all-reduce; of a
  reduce-scatter it is the device's share of what moves."""
  factor = {"all-reduce": 2.0, "reduce-scatter": float(devices)}
  sides = (cost.inside, cost.outside)
  return sum(factor.get(kind, 1.0) * size for side in sides for kind, size in side.items())


def memory_bytes(
  job: Job, model: LlamaConfig, given: float, gradient: float, rows: int, tensor: int
) -> float:
  """What a device's memory moves, roughly.

  What the program is given: read once; what trains (three times its gradient) and the gradient
  written once. The
  layers' weights in the compute dtype, once a pass. About 20 D + 6 F a token and layer for the
  activations, once a pass. Decoding reads weights and cache for every token.
  """
  if job.stage == "decode":
    return given * job.block
  body, _ = sizes(model)
  passes = 4 if job.stage in TRAINED else 1  # forward, again, and backward's two products
  acts = rows * job.length * model.num_layers * (20 * model.dim + 6 * model.ffn_dim / tensor)
  state = given + 4 * gradient
  weights = 0 if job.stage in SAMPLED else body * BF16 / tensor * job.microbatches
  return state + passes * (weights + acts * BF16)


def estimate(
  job: Job, model: LlamaConfig, where: Slice, mesh: dict[str, int], cost: Cost, given: float
) -> Estimate:
  """Of a compiled program that is given so many bytes a device."""
  rows, tensor = math.ceil(job.batch / (mesh["data"] * mesh["fsdp"])), mesh["tensor"]
  done = cost.flops + kernel_flops(job, model, cost, rows, tensor)
  moved = link_bytes(cost, where.devices) if where.devices > 1 else 0.0
  return Estimate(
    needed_flops(job, model, where.devices),
    done,
    done / where.chip.flops,
    memory_bytes(job, model, given, job.gradient / (mesh["fsdp"] * tensor), rows, tensor)
    / where.chip.memory_bandwidth,
    moved / where.bandwidth(),
  )


@dataclasses.dataclass(frozen=True)
class Guess:
  """A program that nobody compiled: what it is given, what it needs at its peak, its time."""

  given: float  # bytes
  peak: float  # bytes
  time: Estimate


def guess(job: Job, model: LlamaConfig, where: Slice, mesh: dict[str, int]) -> Guess:
  """From the equations alone: FSDP gathers each layer for each pass and scatters its gradient."""
  body, head = sizes(model)
  shards, tensor = mesh["data"] * mesh["fsdp"], mesh["tensor"]
  rows, whole = math.ceil(job.batch / shards), (body + 2 * head) / tensor
  part = job.microbatches if job.stage in TRAINED else 1
  place = rows / part * job.length * model.dim * BF16  # a residual stream
  wide = rows / part * job.length * BF16 * (4 * model.dim + 3 * model.ffn_dim) / tensor
  cost = Cost()
  if job.stage in SAMPLED:
    heads = model.num_kv_heads / tensor * model.head_dim * model.num_layers * 2 * BF16
    own = job.samples * job.window if job.stage == "decode" else 0
    given = whole * BF16 + rows * (job.length + own) * heads
    peak = given + (2 * wide if job.stage == "prefill" else 0.1 * given)
    cost.flops = needed_flops(job, model, where.devices)
    if tensor > 1:
      steps = job.block if job.stage == "decode" else 1
      each = rows * (job.samples if job.stage == "decode" else job.length) * model.dim * BF16
      cost.inside["all-reduce"] = 2 * model.num_layers * steps * each
    time = estimate(job, model, where, mesh, cost, given)
    return Guess(given, peak, dataclasses.replace(time, done=cost.flops))
  trains = job.stage in TRAINED
  given, gradient = (x / tensor / mesh["fsdp"] for x in (job.state, job.gradient))
  layer = body / model.num_layers / tensor * BF16
  saved = {"full": place, "dots": place + wide, "none": place + 2.5 * wide}[model.remat]
  logits = min(rows / part * job.length * model.vocab_size * F32 / tensor, GIB)
  scratch = 4 * layer + 3 * wide + 2 * logits + head / tensor * (BF16 + F32)
  peak = given + scratch + (model.num_layers * saved + gradient if trains else place)
  again = (
    {"full": 3 / 2 if model.lora_rank else 4 / 3, "dots": 1.05, "none": 1.0}[model.remat]
    if trains
    else 1.0
  )
  cost.flops = needed_flops(job, model, where.devices) * again
  if mesh["fsdp"] > 1:
    passes = (3 if model.remat == "full" else 2) if trains else 1
    cost.inside["all-gather"] = passes * part * (body + head) * BF16 / tensor
    scattered = part * job.gradient / F32 * BF16 / tensor
    cost.inside["reduce-scatter"] = scattered / where.devices
  if tensor > 1:
    cost.inside["all-reduce"] = (6 if trains else 2) * model.num_layers * place * part
  time = estimate(job, model, where, mesh, cost, given)
  return Guess(given, peak, time)
