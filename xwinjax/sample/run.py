"""The host's part of one decoding loop: which candidate is written in which slot, and its end."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xwinjax.core import bounds, placed, processes, rng
from xwinjax.core.bounds import Few, Tokens, Within
from xwinjax.core.types import Params
from xwinjax.model import cache as kv
from xwinjax.model.config import LlamaConfig
from xwinjax.sample import decode
from xwinjax.sample.logits import EachSlot, SamplingParams


@dataclasses.dataclass(frozen=True)
class Completion:
  """One sampled answer: its ids, end token included, their log-probs, and why it ended."""

  ids: list[int]
  logps: list[float]  # nats; temperature 1, no filters: the model's own
  finish: str  # "stop", "stop_string" or "length"
  text: str = ""  # decoded, cut at a stop string; empty when no `decode` was given


@dataclasses.dataclass(frozen=True)
class Request:
  """A prompt and how many answers it is to have."""

  id: str  # names the prompt in random keys: the same id and seed give the same answers
  prompt: Sequence[int]
  samples: int
  max_new: int


Streams = Annotated[int, Within(0, 256)]


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """Sizes of the compiled decoding loop, and how many answers are wanted."""

  slots: Few = 64  # answers written side by side, by all streams together
  samples_per_prompt_slot: Few = 16  # of them, those that share a prompt (at most)
  block: Few = 16  # tokens between two visits of the host; ended slots are refilled then
  window: Tokens = 64  # own tokens the cache starts with; it doubles as answers grow
  prompt_multiple: Few = 32  # prompt lengths are compiled in multiples of this
  unique: bool = False  # keep drawing until the answers of a prompt all differ
  max_draws: Few = 4  # … but at most this many times `samples`
  streams: Streams = 0  # loops side by side, a thread each; 0: one a core on CPU, one elsewhere

  def __post_init__(self):
    bounds.check(self)


@dataclasses.dataclass(frozen=True)
class Setup:
  """What all runs of a sampler share."""

  config: LlamaConfig
  params: Params  # by `model.cache.decode_params`
  sampling: SamplingParams
  settings: SamplerConfig
  stop_ids: tuple[int, ...]
  stop_strings: tuple[str, ...]
  decode_text: Callable[[Sequence[int]], str] | None
  seed: int
  mesh: Mesh | None = None  # over which the parameters lie


def _round_up(n: int, multiple: int) -> int:
  return max(-(-n // multiple), 1) * multiple


@dataclasses.dataclass
class Job:
  """A request under way: the draws made for it, by number."""

  request: Request
  order: int
  done: dict[int, Completion] = dataclasses.field(default_factory=dict)
  started: int = 0

  def most(self, config: SamplerConfig) -> int:
    """How many draws may be begun."""
    return self.request.samples * (config.max_draws if config.unique else 1)

  def enough(self, config: SamplerConfig) -> bool:
    """Whether the draws that have ended, by number up to the first that has not, are enough."""
    if not config.unique or len(self.done) < self.request.samples:
      return len(self.done) == self.request.samples
    distinct: set[tuple[int, ...]] = set()
    for n in range(self.most(config)):
      if n not in self.done:
        return False
      distinct.add(tuple(self.done[n].ids))
      if len(distinct) == self.request.samples:
        return True
    return True

  def results(self, config: SamplerConfig) -> tuple[list[Completion], int]:
    """The answers by number, and how many repeats were met on the way to them.

    Draws count in order of their number until there are enough: what was under way beyond that
    is left out, so the result does not depend on how slots were filled.
    """
    draws = [self.done[i] for i in sorted(self.done)]
    if not config.unique:
      repeats = len(draws) - len({tuple(c.ids) for c in draws})
      return draws, repeats
    kept: dict[tuple[int, ...], Completion] = {}
    used = 0
    for c in draws:
      if len(kept) == self.request.samples:
        break
      kept.setdefault(tuple(c.ids), c)
      used += 1
    return list(kept.values()), used - len(kept)


class Run:
  """The slots of one stream, while it works through its share of the jobs."""

  def __init__(
    self, setup: Setup, jobs: Sequence[Job], stream: int, streams: int, processes: int = 1
  ):
    """Args:
    jobs: all that there are; they decide the compiled shapes, which all streams have in common.
      A stream takes every `streams`-th: which one works faster changes nothing.
    processes: that have an equal share of the streams, and as many slots each as the settings say.
    """
    self.setup, s = setup, setup.settings
    # Like lengths run together: short prompts first, each prompt slot wide enough for all.
    in_order = sorted(jobs, key=lambda job: (len(job.request.prompt), job.order))
    self.queue = deque(in_order[stream::streams])
    requests = [job.request for job in jobs]
    slots = max(1, s.slots * processes // streams)
    self.S = min(s.samples_per_prompt_slot, slots, max(r.samples for r in requests))
    self.P = max(1, min(slots // self.S, -(-len(requests) // streams)))
    self.T = _round_up(max(len(r.prompt) for r in requests) - 1, s.prompt_multiple)
    self.window = _round_up(min(s.window, max(r.max_new for r in requests)), s.block)
    with placed.on(setup.mesh):
      self.cache = decode.start_cache(setup.config, self.P, self.S, self.T, self.window)
    self.at: list[Job | None] = [None] * self.P  # the job of each prompt slot
    shape = (self.P, self.S)
    self.number = np.full(shape, -1)  # which draw a slot is writing; -1 none
    self.token, self.own, self.limit = (np.zeros(shape, np.int32) for _ in range(3))
    self.fresh = np.zeros(shape, bool)
    self.shared = np.zeros(self.P, np.int32)
    self.keys = np.zeros((*shape, 2), np.uint32)
    self.ids: list[list[list[int]]] = [[[] for _ in range(self.S)] for _ in range(self.P)]
    self.logps: list[list[list[float]]] = [[[] for _ in range(self.S)] for _ in range(self.P)]
    self.seen = None
    if setup.sampling.repetition_penalty != 1.0:
      V = setup.config.vocab_size
      self.seen = (jnp.zeros((self.P, V), bool), jnp.zeros((*shape, V), bool))

  def blocks(self) -> Iterator[tuple[int, int]]:
    """Runs until every job has its draws; yields (jobs finished, tokens written) a block."""
    while True:
      finished = self._fill()
      active = self.number >= 0
      if not active.any():
        if finished:
          yield finished, 0
        return
      yield finished, self._decode(active)

  # What `serve` has by request: seed, stop strings, texts, how tokens are drawn.

  def seed_of(self, request: Request) -> int:
    return self.setup.seed

  def stops_at(self, p: int) -> tuple[str, ...]:
    return self.setup.stop_strings

  def decode_at(self, p: int) -> Callable[[Sequence[int]], str] | None:
    return self.setup.decode_text

  def draws(self) -> EachSlot | None:
    return None

  def _fill(self) -> int:
    """Gives idle slots their next draw, and idle prompt slots their next prompt."""
    finished, started = 0, []
    for p in range(self.P):
      while True:
        job = self.at[p]
        if job is not None:
          self._start_draws(p, job)
          if (self.number[p] >= 0).any():
            break
          finished += 1
        self.at[p] = self.queue.popleft() if self.queue else None
        if self.at[p] is None:
          break
        started.append(p)
    self._start_prompts(sorted(set(started) & {p for p in range(self.P) if self.at[p]}))
    return finished

  def _start_draws(self, p: int, job: Job) -> None:
    request, s = job.request, self.setup.settings
    if job.enough(s):
      self.number[p] = -1  # what is under way beyond that is left out
      return
    # Where answers are to differ, idle slots draw ahead: a slot costs the same idle.
    idle = [i for i in range(self.S) if self.number[p, i] < 0]
    idle = idle[: max(0, job.most(s) - job.started)]
    if not idle:
      return
    # Keys are made for S draws however few are begun, so that their making compiles once.
    numbers = np.arange(job.started, job.started + self.S)
    prompt = np.full(self.S, rng.prompt_number(request.id))
    seed = self.seed_of(request)
    keys = np.asarray(jax.random.key_data(rng.sample_keys(seed, prompt, numbers)))
    room = self.setup.config.max_length - len(request.prompt)
    self.number[p, idle], self.keys[p, idle] = numbers[: len(idle)], keys[: len(idle)]
    self.own[p, idle], self.fresh[p, idle] = 0, True
    self.token[p, idle], self.limit[p, idle] = request.prompt[-1], min(request.max_new, room)
    job.started += len(idle)
    for i in idle:
      self.ids[p][i], self.logps[p][i] = [], []

  def _start_prompts(self, slots: list[int]) -> None:
    """Computes the prompts of newly taken prompt slots: all at once at first, then one by one."""
    groups = [slots] if len(slots) == self.P else [[p] for p in slots]
    for group in groups:
      tokens = np.zeros((len(group), self.width(group)), np.int32)
      for row, p in enumerate(group):
        job = self.at[p]
        assert job is not None
        shared = job.request.prompt[:-1]
        tokens[row, : len(shared)] = shared
        self.shared[p] = len(shared)
        if self.seen is not None:
          mark = np.zeros(self.setup.config.vocab_size, bool)
          mark[np.asarray(job.request.prompt)] = True
          # A template's end of turn stands in every prompt; to end is no repetition.
          mark[list(self.setup.stop_ids)] = False
          self.seen = (self.seen[0].at[p].set(mark), self.seen[1])
      if group:
        with placed.on(self.setup.mesh):
          self.cache = decode.start_prompts(
            self.setup.config, self.setup.params, self.cache, tokens, np.asarray(group)
          )

  def width(self, slots: list[int]) -> int:
    """The length at which these slots' prompts are computed."""
    return self.T

  def _decode(self, active: np.ndarray) -> int:
    setup, size = self.setup, self.setup.settings.block
    need = int(self.own[active].max()) + size
    while need > self.window:
      self.window *= 2
      with placed.on(setup.mesh):
        self.cache = kv.grow(self.cache, self.window)
    # Copies, since jax may read an array in place, and on a mesh after the host has moved on.
    token, own, limit, keys, shared, fresh = (
      x.copy() for x in (self.token, self.own, self.limit, self.keys, self.shared, self.fresh)
    )
    key = jax.random.wrap_key_data(jnp.asarray(keys))
    slots = decode.Slots(token, own, limit, active, key, shared, fresh, self.draws())
    compiled = (setup.config, setup.sampling, setup.stop_ids, size)
    with placed.on(setup.mesh):
      self.cache, block, history = decode.decode_block(
        *compiled, setup.params, self.cache, slots, self.seen
      )
    block = processes.gathered(block)
    if block.bad:
      raise FloatingPointError(
        "the model's logits are not finite; its parameters hold NaN or overflow in this dtype"
      )
    if self.seen is not None:
      self.seen = (self.seen[0], history)
    self.fresh[:] = False
    for p, i in zip(*np.nonzero(active), strict=True):
      self._take(p, i, block)
    self.own[active] += size
    return int(block.count.sum())

  def _take(self, p: int, i: int, block: decode.Block) -> None:
    """Adds a block's tokens to a slot's answer and ends it where it ends."""
    n = int(block.count[p, i])
    ids, logps = self.ids[p][i], self.logps[p][i]
    ids += block.tokens[:n, p, i].tolist()
    logps += block.logps[:n, p, i].tolist()
    self.token[p, i] = ids[-1]
    finish = None
    if ids[-1] in self.setup.stop_ids:
      finish = "stop"
    elif len(ids) >= self.limit[p, i]:
      finish = "length"
    decode_text = self.decode_at(p)
    text, stops = "", self.stops_at(p)
    if decode_text is not None and (finish or stops):
      text = decode_text(ids)
      for stop in stops:
        if stop in text:
          finish = "stop_string"
          while len(ids) > 1 and stop in decode_text(ids[:-1]):
            ids.pop()
            logps.pop()
          text = text[: text.index(stop)]
    if finish:
      job = self.at[p]
      assert job is not None
      job.done[int(self.number[p, i])] = Completion(ids, logps, finish, text)
      self.number[p, i] = -1
