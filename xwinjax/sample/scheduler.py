"""Sampling answers to many prompts: requests, the streams that write them, results in order."""

from __future__ import annotations

import dataclasses
import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
from jax.sharding import Mesh, NamedSharding

from xwinjax.core import placed, processes, system
from xwinjax.core.types import Params
from xwinjax.model import cache as kv
from xwinjax.model.config import LlamaConfig
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.run import Completion, Job, Request, Run, SamplerConfig, Setup

OnTokens = Callable[[int, int], None]

_decode_params = jax.jit(kv.decode_params, static_argnums=0)


class Sampler:
  """Draws answers for prompts with one compiled loop.

  A candidate is a function of (parameters, prompt, seed, prompt id, its number): neither the order
  of requests nor what runs beside it changes it. Several processes share the requests out.
  """

  def __init__(
    self,
    config: LlamaConfig,
    params: Params,
    sampling: SamplingParams,
    *,
    stop_ids: tuple[int, ...],
    decode_text: Callable[[Sequence[int]], str] | None = None,
    stop_strings: tuple[str, ...] = (),
    settings: SamplerConfig | None = None,
    seed: int = 0,
  ):
    """Args:
    params: as `model.llama` holds them, on one device or sharded over a mesh.
    stop_ids: an answer ends with the first of these, which is part of it.
    decode_text: ids -> text; needed for `stop_strings`, which are looked for at block ends.
    """
    if stop_strings and decode_text is None:
      raise ValueError("stop_strings needs decode_text")
    if "" in stop_strings:
      raise ValueError("a stop string is empty; it would end every answer before its first token")
    # One token at a time, rounding operands costs more than the faster product saves.
    config = config.replace(operands="")
    sharding = getattr(jax.tree.leaves(params)[0], "sharding", None)
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    self.setup = Setup(
      config,
      params,
      sampling,
      settings or SamplerConfig(),
      tuple(stop_ids),
      tuple(stop_strings),
      decode_text,
      seed,
      mesh if isinstance(mesh, Mesh) else None,
    )
    with placed.on(self.setup.mesh):
      ready = _decode_params(config, params)
    self.setup = dataclasses.replace(self.setup, params=ready)
    self.generated = 0  # tokens sampled so far, those drawn ahead for nothing included, for rates

  def sample(
    self, requests: Sequence[Request], on_tokens: OnTokens | None = None
  ) -> list[tuple[list[Completion], int]]:
    """For each request its completions and the number of repeats met; the same on all processes.

    Args:
      requests: all run together, so that slots stay full; give as many as fit one output file.
      on_tokens: called now and then with (requests finished, tokens written) since the last call.

    Raises: ValueError for a prompt that leaves no room; FloatingPointError for logits that are
    not finite.
    """
    if not requests:
      return []
    _check(requests, self.setup.config.max_length)

    def report(finished: int, tokens: int) -> None:
      self.generated += tokens
      if on_tokens is not None:
        on_tokens(finished, tokens)

    jobs = [Job(r, i) for i, r in enumerate(requests)]
    count, mine = self._share()
    loops = min(streams(self.setup), -(-len(jobs) // count))
    numbers = range(mine, count * loops, count)
    _write([Run(self.setup, jobs, i, count * loops, count) for i in numbers], report)
    return (
      self._joined(jobs, report) if count > 1 else [j.results(self.setup.settings) for j in jobs]
    )

  def _share(self) -> tuple[int, int]:
    """(among how many the jobs are shared out, which of them this is).

    Those are the processes of a run, unless the parameters lie on several of them: then all work
    on every job together.
    """
    if not jax.tree.leaves(self.setup.params)[0].is_fully_addressable:
      return 1, 0
    return processes.count(), processes.index()

  def _joined(self, jobs: Sequence[Job], report: OnTokens) -> list[tuple[list[Completion], int]]:
    """Every job's results, by whichever process they were made."""
    results = [job.results(self.setup.settings) for job in jobs]
    mine = {job.order: results[job.order] for job in jobs if job.done}
    rows = [(i, [dataclasses.astuple(c) for c in done], n) for i, (done, n) in mine.items()]
    for order, completions, repeats in itertools.chain(*processes.exchanged(rows)):
      if order not in mine:
        results[order] = [Completion(*c) for c in completions], repeats
        report(1, sum(len(c.ids) for c in results[order][0]))
    return results


def _check(requests: Sequence[Request], max_length: int) -> None:
  for r in requests:
    if not r.prompt:
      raise ValueError(f"prompt {r.id} is empty; it needs at least a BOS token")
    if r.samples < 1 or r.max_new < 1:
      raise ValueError(
        f"prompt {r.id} asks for {r.samples} samples of {r.max_new} tokens; both must be >= 1"
      )
    if len(r.prompt) >= max_length:
      raise ValueError(
        f"prompt {r.id} has {len(r.prompt)} tokens; the model's max_length is "
        f"{max_length}, which leaves none for an answer"
      )


def streams(setup: Setup) -> int:
  """As the settings say; else one a core on CPU, where a token's many small operations leave the
  other cores idle, with 16 slots at least.
  """
  if setup.settings.streams:
    return setup.settings.streams
  if jax.default_backend() != "cpu" or len(jax.tree.leaves(setup.params)[0].devices()) > 1:
    return 1
  return max(1, min(system.cores(), setup.settings.slots // 16))


def _write(runs: Sequence[Run], report: OnTokens) -> None:
  """Runs every stream to its end, several in a thread each; reports in the caller's thread."""
  if len(runs) == 1:
    for news in runs[0].blocks():
      report(*news)
    return
  told: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
  stop = threading.Event()

  def work(run: Run) -> None:
    try:
      for news in run.blocks():
        told.put(news)
        if stop.is_set():
          return
    except BaseException:
      stop.set()
      raise
    finally:
      told.put(None)

  with ThreadPoolExecutor(len(runs), "sample") as pool:
    working = [pool.submit(work, run) for run in runs]
    try:
      left = len(runs)
      while left:
        news = told.get()
        if news is None:
          left -= 1
        else:
          report(*news)
    finally:
      stop.set()
    for w in working:
      w.result()
