"""The rows of a plan: which programs, on which mesh, and what came out."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from planning import chips, compile, estimate, sizes
from planning.chips import Slice
from planning.estimate import GIB
from planning.hlo import Cost
from planning.programs import SAMPLED, STAGES, TRAINED, Job
from xwinjax.core.errors import UserError
from xwinjax.model import parameters
from xwinjax.model.config import LlamaConfig
from xwinjax.recipes import cli
from xwinjax.recipes.xwin import XwinConfig
from xwinjax.stages import memory
from xwinjax.stages.config import from_config_dict

ROOM = 0.05  # of a chip's memory that is to stay free
TRIES = 4  # programs that a search compiles at most
Mesh = dict[str, int]


@dataclasses.dataclass(frozen=True)
class Choice:
  """How a stage is computed."""

  mesh: Mesh
  remat: str
  microbatches: int


@dataclasses.dataclass(frozen=True)
class Plan:
  """A chain's config, a model, a slice, and what flags changed."""

  config: XwinConfig
  values: dict[str, Any]  # the config as JSON
  name: str
  model: LlamaConfig
  where: Slice
  flags: Any

  @staticmethod
  def make(flags: Any) -> Plan:
    """Reads what the flags name. Raises UserError for what does not fit."""
    where = chips.parse(flags.topology)
    if where.chip.axes and importlib.util.find_spec("libtpu") is None:
      raise UserError('no TPU compiler here; pip install "xwinjax[plan]" brings it, or plan GPUs')
    values = cli.load(flags.config)
    config = from_config_dict(XwinConfig, values)
    variant = flags.config.rpartition(":")[2].removesuffix("_lora")
    name = flags.model or config.model.path or variant
    if not flags.model and not config.model.path and variant not in sizes.SIZES:
      raise UserError(f"--model is empty; {variant!r} is no size: name one, or a folder")
    unknown = set(flags.stages.split(",")) - set(STAGES)
    if unknown:
      raise UserError(f"--stages {', '.join(sorted(unknown))}: there are {', '.join(STAGES)}")
    model = sizes.find(name).replace(
      dtype="bfloat16",
      scan_layers=config.model.scan_layers,
      attention="splash" if where.chip.axes else "cudnn",
      dropout=config.model.dropout,
    )
    return Plan(config, values.to_dict(), name, model, where, flags)

  def rows(self, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A row a stage, as soon as it is known; `say` tells what takes long."""
    for stage in self.flags.stages.split(","):
      yield self._searched(stage, say) if self.flags.search else self._row(stage, say)

  def _row(self, stage: str, say) -> dict[str, Any]:
    asked = Choice(self.mesh(stage), self.remat, self.microbatches(stage))
    return self.measure(self.job(stage, asked), asked, say)

  def _searched(self, stage: str, say) -> dict[str, Any]:
    """The fastest choice that fits, of those that the cost model says should."""
    row: dict[str, Any] = {}
    for choice in itertools.islice(self.candidates(stage), TRIES):
      row = self.measure(self.job(stage, choice), choice, say)
      if row.get("fits"):
        return row | {"recommended": settings_text(choice, stage)}
    return row or {"stage": stage, "topology": self.where.name, "error": "nothing is likely to fit"}

  def candidates(self, stage: str) -> Iterator[Choice]:
    """Choices by their guessed time, those that cannot fit left out."""
    n = self.where.devices
    tensors = [t for t in (1, 2, 4, 8, 16) if n % t == 0 and self.model.num_kv_heads % t == 0]
    made = []
    for tensor in tensors:
      shards = n // tensor
      along = "data" if stage in SAMPLED else "fsdp"
      mesh = {"data": 1, "fsdp": 1, "tensor": tensor} | {along: shards}
      remats = ("none", "dots", "full") if stage in TRAINED else ("none",)
      rows = self.batch(stage, mesh)
      parts = [m for m in (1, 2, 4, 8, 16, 32) if rows % (shards * m) == 0]
      for remat, part in itertools.product(remats, parts if stage in TRAINED else (1,)):
        choice = Choice(mesh, remat, part)
        model = self.model_of(stage, remat)
        guess = estimate.guess(self.job(stage, choice), model, self.where, mesh)
        if guess.peak < (1 - ROOM) * self.where.chip.memory_gib * GIB:
          made.append((guess.time.seconds, part, guess.time.serial, len(made), choice))
    return (choice for *_, choice in sorted(made, key=lambda x: x[:4]))

  @property
  def remat(self) -> str:
    return self.flags.remat or self.config.model.remat

  def stage_config(self, stage: str) -> Any:
    return getattr(self.config, "dpo" if stage == "reference" else stage)

  def microbatches(self, stage: str) -> int:
    if stage not in TRAINED:
      return 1
    return self.flags.microbatches or self.stage_config(stage).train.batch.microbatches

  def mesh(self, stage: str) -> Mesh:
    """The config's mesh with the flags' changes, and a -1 worked out."""
    n = self.where.devices
    if stage in SAMPLED:
      return self._decode_mesh()
    mesh = dataclasses.asdict(self.config.mesh)
    for part in filter(None, self.flags.mesh.split(",")):
      axis, _, size = part.partition("=")
      if axis not in mesh or not size.lstrip("-").isdigit():
        raise UserError(f"--mesh {self.flags.mesh!r}: expected data=N,fsdp=N,tensor=N")
      mesh[axis] = int(size)
    known = 1
    for size in mesh.values():
      known *= size if size > 0 else 1
    mesh = {axis: size if size > 0 else n // known for axis, size in mesh.items()}
    if mesh["data"] * mesh["fsdp"] * mesh["tensor"] != n:
      raise UserError(f"mesh {mesh} does not multiply to the {n} chips of {self.where.name}")
    return mesh

  def _decode_mesh(self) -> Mesh:
    """As few devices share a matrix as leave room: parameters and cache in 60 % of their memory."""
    n, kv = self.where.devices, self.model.num_kv_heads
    fits = [t for t in range(1, n + 1) if n % t == 0 and kv % t == 0]
    asked = self.flags.decode_tensor
    if asked and asked not in fits:
      raise UserError(f"--decode_tensor {asked}: expected one of {', '.join(map(str, fits))}")
    mesh: Mesh = {}
    for tensor in [asked] if asked else fits:
      mesh = {"data": n // tensor, "fsdp": 1, "tensor": tensor}
      job = self.job("decode", Choice(mesh, "none", 1))
      given = estimate.guess(job, self.model, self.where, mesh).given
      if given < 0.6 * self.where.chip.memory_gib * GIB:
        return mesh
    return mesh

  def batch(self, stage: str, mesh: Mesh) -> int:
    """Rows a step; when sampling, a prompt for each group of devices."""
    asked = mesh["data"] if stage in SAMPLED else self.stage_config(stage).train.batch.batch_size
    return self.flags.batch or asked

  def job(self, stage: str, choice: Choice) -> Job:
    """Shapes of the stage's longest batch."""
    generate = self.config.sample.generate
    block = generate.sampler.block
    shards = choice.mesh["data"] * choice.mesh["fsdp"]
    batch = self.batch(stage, choice.mesh)
    if stage not in SAMPLED and batch % (shards * choice.microbatches):
      raise UserError(
        f"{stage}: a batch of {batch} rows does not split over {shards} groups of chips in "
        f"{choice.microbatches} parts; --batch, --mesh or --microbatches change one of them"
      )
    if stage in SAMPLED:
      length = self.flags.seq or min(2048, self.model.max_length)
    else:
      length = self.flags.seq or min(self.stage_config(stage).max_length, self.model.max_length)
    return Job(
      stage,
      batch,
      length,
      choice.microbatches,
      self.flags.samples or generate.samples,
      block,
      -(-generate.max_new // block) * block,
      *self.state(stage),
    )

  def state(self, stage: str) -> tuple[float, float]:
    """Bytes of parameters with moments, and of gradients, on all chips."""
    if stage not in TRAINED:
      return memory.F32 * parameters.count(self.model), 0.0
    config = self.stage_config(stage)
    return memory.state_bytes(self.model, config.train.optim.mu_dtype, config.lora)

  def model_of(self, stage: str, remat: str) -> LlamaConfig:
    """As the stage computes it."""
    if stage not in TRAINED:
      return self.model.replace(remat="none")
    return self.stage_config(stage).lora.adapted(self.model).replace(remat=remat)

  def measure(self, job: Job, choice: Choice, say) -> dict[str, Any]:
    """Compiles (or, for GPUs, guesses) a job: the row of a plan."""
    model = self.model_of(job.stage, choice.remat)
    row = {
      "stage": job.stage,
      "model": self.name,
      "topology": self.where.name,
      "mesh": choice.mesh,
      "batch": job.batch,
      "seq": job.length,
      "microbatches": choice.microbatches,
      "remat": model.remat,
      "hbm_gib": self.where.chip.memory_gib,
    }
    guess = estimate.guess(job, model, self.where, choice.mesh)
    if not self.where.chip.axes:
      return row | figures(self.where, guess.peak, guess.time) | {"estimated": True}
    say(f"{job.stage}: compiling for {self.where.name}, {settings_text(choice, job.stage)} …")
    request = {
      "model": dataclasses.asdict(model),
      "topology": self.where.name,
      "mesh": choice.mesh,
      "config": self.values,
      "job": dataclasses.asdict(job),
    }
    made = compile.run(request, self.flags.limit_s)
    if "error" in made:
      return row | {"error": made["error"], "compile_seconds": round(made.get("seconds", 0.0), 1)}
    cost = Cost(**made["cost"])
    time = estimate.estimate(job, model, self.where, choice.mesh, cost, made["given"])
    row |= figures(self.where, made["peak"], time)
    return row | {
      "given_gib": round(made["given"] / GIB, 2),
      "temporary_gib": round(made["temporary"] / GIB, 2),
      "compile_seconds": round(made["seconds"], 1),
      "compile_cpu_seconds": round(made["cpu_seconds"], 1),
      "collectives": {"inside": cost.inside, "outside": cost.outside},
      "largest_batch": largest_batch(job, model, self.where, choice.mesh, made["peak"]),
    }


def figures(where: Slice, peak: float, time: estimate.Estimate) -> dict[str, Any]:
  """What a row says of memory and time."""
  left = 1 - peak / GIB / where.chip.memory_gib
  return {
    "peak_gib": round(peak / GIB, 2),
    "left": round(left, 3),
    "fits": left >= ROOM,
    "flops": time.done,
    "flops_needed": time.needed,
    "again": round(time.done / time.needed, 3),
    "step_seconds": float(f"{time.seconds:.4g}"),
    "matmul_seconds": float(f"{time.matmul_s:.4g}"),
    "memory_seconds": float(f"{time.memory_s:.4g}"),
    "link_seconds": float(f"{time.links_s:.4g}"),
    "mfu": round(time.needed / where.chip.flops / time.seconds, 3),
    "mfu_at_least": round(time.needed / where.chip.flops / time.serial, 3),
  }


def largest_batch(job: Job, model: LlamaConfig, where: Slice, mesh: Mesh, peak: float) -> int:
  """About how many rows (prompts) would fit: the cost model's slope from the compiled point."""
  step = mesh["data"] * mesh["fsdp"] * job.microbatches
  more = dataclasses.replace(job, batch=job.batch + step)
  one, two = (estimate.guess(j, model, where, mesh).peak for j in (job, more))
  room = (1 - ROOM) * where.chip.memory_gib * GIB - peak
  return max(0, job.batch + step * int(room // max(two - one, 1)))


def settings_text(choice: Choice, stage: str) -> str:
  """`fsdp=64 remat=full microbatches=2`: what differs from nothing."""
  parts = [f"{axis}={n}" for axis, n in choice.mesh.items() if n > 1]
  if stage in TRAINED:
    parts += [f"remat={choice.remat}", f"microbatches={choice.microbatches}"]
  return " ".join(parts) or "one chip"
