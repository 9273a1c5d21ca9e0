"""The row `serve`: the server under many clients, beside the offline sampler on their prompts."""

from __future__ import annotations

import asyncio
import atexit
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import work as works
from benchmark.machine import Company, Compilations, peak_memory, reset_peak_memory
from benchmark.training import Opened, Sample
from benchmark.work import Work
from xwinjax.core.errors import UserError
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Request, Sampler, SamplerConfig
from xwinjax.stages import common

CLIENTS, REQUESTS = 64, 384
SAMPLING = SamplingParams(temperature=0.7, top_p=0.9)
NAME = "bench"


class Server:
  """experiments.serve in a process of its own, on a free port of this machine."""

  def __init__(self, model: Path, slots: int):
    self.process = subprocess.Popen(
      [
        *(sys.executable, "-m", "experiments.serve", f"--config.model.path={model}"),
        *(f"--config.slots={slots}", "--config.port=0", f"--config.name={NAME}"),
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    atexit.register(self.close)
    assert self.process.stdout is not None
    lines = iter(self.process.stdout.readline, "")
    line = last = next(lines, "")
    while line and "http://" not in line:  # bench: http://127.0.0.1:PORT/v1, until Ctrl-C
      line = next(lines, "")
      last = line or last
    if not line:
      raise UserError(f"experiments.serve did not start: {last.strip() or 'it said nothing'}")
    self.url = line.split(": ", 1)[1].split(",")[0]

  def close(self) -> None:
    self.process.terminate()
    self.process.wait(20)


class Serving:
  """`CLIENTS` clients ask for answers of 16 to `new` tokens, one after another each.

  They are in this process and the server in one of its own, on the same cores. Then the offline
  sampler draws for the same prompts, with as many slots, while the server is idle.
  """

  def __init__(self, opened: Opened, work: Work, new: int):
    if work.shape not in ("", "tiny"):
      raise UserError("serve takes the weights of a folder, or --shape tiny")
    self.opened, self.config = opened, None
    tokenizer, most = opened.tokenizer, opened.config.max_length
    self.asked: list[tuple[list[int], int]] = []
    for row in works.rows_of(work.sft):
      ids = [*tokenizer.opening, *tokenizer.encode(row["prompt"])]
      limit = 16 + 37 * len(self.asked) % (new - 15)
      if len(ids) + limit <= most:
        self.asked.append((ids, limit))
      if len(self.asked) == REQUESTS:
        break
    self.compiled = Compilations()
    reset_peak_memory()
    self.server = Server(work.model, CLIENTS)
    with self.compiled:
      self.sampler = Sampler(
        opened.config,
        opened.params,
        SAMPLING,
        stop_ids=(tokenizer.eos_id,),
        settings=SamplerConfig(slots=CLIENTS, block=8, window=128, prompt_multiple=128),
      )
      self._offline()
    asyncio.run(self._online())

  def _offline(self) -> int:
    requests = [Request(str(i), ids, 1, limit) for i, (ids, limit) in enumerate(self.asked)]
    return sum(len(c.ids) for found, _ in self.sampler.sample(requests) for c in found)

  async def _online(self) -> list[tuple[float, int]]:
    """(seconds, tokens) of each request that was answered."""
    from openai import AsyncOpenAI, OpenAIError

    waiting = list(enumerate(self.asked))
    found: list[tuple[float, int]] = []

    async def work(client: AsyncOpenAI) -> None:
      while waiting:
        number, (ids, limit) = waiting.pop()
        began = time.perf_counter()
        try:
          reply = await client.completions.create(
            model=NAME,
            prompt=ids,
            max_tokens=limit,
            temperature=SAMPLING.temperature,
            top_p=SAMPLING.top_p,
            seed=number,
          )
        except OpenAIError as e:
          common.say(f"serve: a request is lost: {e}")
          continue
        assert reply.usage is not None
        found.append((time.perf_counter() - began, reply.usage.completion_tokens))

    async with AsyncOpenAI(base_url=self.server.url, api_key="none", max_retries=0) as client:
      await asyncio.gather(*[work(client) for _ in range(CLIENTS)])
    return found

  def run(self) -> Sample:
    with Company() as company, Compilations() as new:
      start = time.perf_counter()
      found = asyncio.run(self._online())
      seconds = time.perf_counter() - start
      start = time.perf_counter()
      drawn = self._offline()
      offline = drawn / (time.perf_counter() - start)
    tokens = sum(n for _, n in found)
    latency = np.array([s for s, _ in found])
    facts = {
      "others": company.others,
      "compiles_while_timed": new.requests,
      "tokens": tokens,
      "answered": len(found),
      "lost": len(self.asked) - len(found),
      "p50_seconds": round(float(np.quantile(latency, 0.5)), 3),
      "p95_seconds": round(float(np.quantile(latency, 0.95)), 3),
      "offline": offline,
      "offline_ratio": tokens / seconds / offline,
    }
    common.say(
      f"serve: {facts['offline_ratio']:.2f} of the offline sampler's {offline:,.0f} tok/s; "
      f"{len(found)} answers to {CLIENTS} clients, {facts['lost']} lost; half within "
      f"{facts['p50_seconds']} s, 95 % within {facts['p95_seconds']} s"
    )
    return Sample(tokens / seconds, seconds, facts)

  def facts(self) -> dict[str, Any]:
    self.server.close()
    return {
      "compiles": self.compiled.new,
      "compile_seconds": round(self.compiled.seconds, 2),
      "peak_memory": peak_memory(),
    }
