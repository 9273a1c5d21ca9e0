"""The rows that do not train: sampling, loading, and the way to a command's first step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark import work as works
from benchmark.machine import Company, Compilations, peak_memory, reset_peak_memory
from benchmark.training import Opened, Sample
from benchmark.work import Work
from xwinjax.core.errors import UserError
from xwinjax.data import formats, items
from xwinjax.data.records import Counts
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.model import parameters
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Request, Sampler, SamplerConfig

PROMPTS, NEW = 4, 128  # as the peer draws them
REPEATS = {1: 2}  # times the prompts are gone through, by samples a prompt; else 1


def prompts_of(opened: Opened, work: Work, new: int) -> list[list[int]]:
  """The first different prompts that leave room for the answers."""
  prompts: list[list[int]] = []
  for row in works.rows_of(work.sft):
    ids = [*opened.tokenizer.opening, *opened.tokenizer.encode(row["prompt"])]
    if 8 <= len(ids) <= opened.config.max_length - new and ids not in prompts:
      prompts.append(ids)
    if len(prompts) == PROMPTS:
      break
  return prompts


class Sampling:
  """S samples a prompt at temperature 0.7 and top-p 0.9, always `NEW` tokens long."""

  def __init__(self, opened: Opened, work: Work, samples: int, new: int = NEW):
    self.samples, self.new, self.config = samples, min(new, opened.config.max_length // 2), None
    self.prompts = prompts_of(opened, work, self.new)
    self.opened, self.compiled = opened, Compilations()
    # Two prompts at once, as the recipes of a laptop have it.
    settings = SamplerConfig(slots=2 * samples, samples_per_prompt_slot=samples)
    self.sampling = SamplingParams(temperature=0.7, top_p=0.9)
    reset_peak_memory()
    with self.compiled:
      self.sampler = Sampler(
        opened.config, opened.params, self.sampling, stop_ids=(), settings=settings
      )
      self._draw()

  def _draw(self) -> int:
    requests = [Request(str(i), p, self.samples, self.new) for i, p in enumerate(self.prompts)]
    # One at a time means one call a prompt; many a prompt is one job, as the sample stage's.
    jobs = [[r] for r in requests] if self.samples == 1 else [requests]
    outputs = [
      answer for job in jobs for answers, _ in self.sampler.sample(job) for answer in answers
    ]
    return sum(len(answer.ids) for answer in outputs)

  def run(self) -> Sample:
    with Company() as company, Compilations() as new:
      start = time.perf_counter()
      tokens = sum(self._draw() for _ in range(REPEATS.get(self.samples, 1)))
      seconds = time.perf_counter() - start
    facts = {"others": company.others, "compiles_while_timed": new.requests, "tokens": tokens}
    return Sample(tokens / seconds, seconds, facts)

  def ideal_seconds(self, tokens: int, matmul: float, bandwidth: float) -> float:
    """The least time for so many tokens: reading parameters and caches, or computing, whichever."""
    c = self.opened.config
    size = 2 if c.dtype in ("bfloat16", "float16") else 4
    steps = tokens / self.samples
    context = sum(map(len, self.prompts)) / len(self.prompts) + self.new / 2
    keys = 2 * c.num_layers * c.num_kv_heads * c.head_dim * size
    read = parameters.count(c) * size + keys * (
      sum(map(len, self.prompts)) / len(self.prompts) + self.samples * self.new / 2
    )
    operations = 2 * parameters.count(c) + 4 * c.num_layers * c.num_heads * c.head_dim * context
    return steps * max(read / bandwidth, self.samples * operations / matmul)

  def job(self, model: Path) -> dict[str, Any]:
    """The same work for another engine, which knows tokens by their pieces."""
    piece = self.opened.tokenizer.piece
    return {
      "model": str(model),
      "prompts": [[piece(i) for i in prompt] for prompt in self.prompts],
      "samples": self.samples,
      "new": self.new,
      "repeats": REPEATS.get(self.samples, 1),
      "temperature": self.sampling.temperature,
      "top_p": self.sampling.top_p,
    }

  def facts(self) -> dict[str, Any]:
    return {
      "compiles": self.compiled.new,
      "compile_seconds": round(self.compiled.seconds, 2),
      "peak_memory": peak_memory(),
    }


class Loading:
  """Read, render, tokenize, mask: tokens/s of one process, which is one core."""

  def __init__(self, opened: Opened, work: Work):
    self.work = work
    self.renderer = Renderer(get_template("vicuna"), opened.tokenizer)

  def run(self) -> Sample:
    with Company() as company:
      start = time.perf_counter()
      examples = formats.read_examples(self.work.source, counts=Counts())
      made = items.tokenize_examples(examples, self.renderer, self.work.max_length, too_long="cut")
      seconds = time.perf_counter() - start
    facts = {"others": company.others, "tokens": len(made.tokens), "compiles_while_timed": 0}
    return Sample(len(made.tokens) / seconds, seconds, facts)

  def facts(self) -> dict[str, Any]:
    return {"compiles": 0}


class StartUp:
  """Seconds from starting the SFT command to its first step, on the second run of the command."""

  def __init__(self, work: Work, batch: int):
    self.work, self.batch, self.new = work, batch, 0
    self.folder = tempfile.TemporaryDirectory(prefix="xwinjax-bench-")
    self._go("first")

  def _go(self, name: str) -> tuple[float, int]:
    """(seconds, compilations that the cache on disk did not have)."""
    root, out = Path(self.folder.name), Path(self.folder.name) / name
    cache = root / "cache"
    before = set(cache.rglob("*-cache")) if cache.exists() else set()
    command = [
      sys.executable,
      "-m",
      "experiments.sft",
      "--config=configs/sft.py:sandbox",
      f"--workdir={out}",
      f"--config.model.path={self.work.model.resolve()}",
      f"--config.data={self.work.source.resolve()}",
      f"--config.max_length={self.work.max_length}",
      "--config.too_long=cut",
      f"--config.train.batch.batch_size={self.batch}",
    ]
    environment = {**os.environ, "XWINJAX_CACHE": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    log = root / f"{name}.log"
    start = time.perf_counter()
    with log.open("w") as to:
      process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=environment, stdout=to, stderr=to
      )
    try:
      while not _stepped(out / "metrics.jsonl"):
        if process.poll() is not None:
          lines = log.read_text().strip().splitlines() or ["it said nothing"]
          raise UserError(f"the SFT command ended before its first step: {lines[-1]}")
        time.sleep(0.01)
      seconds = time.perf_counter() - start
    finally:
      process.kill()
      process.wait()
    return seconds, len(set(cache.rglob("*-cache")) - before)

  def run(self) -> Sample:
    with Company() as company:
      seconds, new = self._go(f"run-{time.monotonic_ns()}")
    self.new = new
    return Sample(seconds, seconds, {"others": company.others, "compiles_while_timed": new})

  def facts(self) -> dict[str, Any]:
    return {"compiles": self.new}


def _stepped(path: Path) -> bool:
  try:
    first = path.read_text(encoding="utf-8").split("\n", 1)
  except OSError:
    return False
  return len(first) > 1 and "step" in json.loads(first[0])


def open_tokenizer(folder: Path) -> Tokenizer:
  return Tokenizer.load(folder)
