"""Answers for requests as they come: the sampler's loop without an end.

Each loop has its slots and a thread; all take from one queue. A request joins at the next block of
tokens, whatever the others are doing, and leaves when it ends. What it gets is a function of its
prompt, its settings and its seed alone.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from xwinjax.core import placed
from xwinjax.model import cache as kv
from xwinjax.model import llama
from xwinjax.sample.decode import start_cache
from xwinjax.sample.logits import EachSlot
from xwinjax.sample.run import Completion, Job, Request, Run, Setup


class Full(Exception):
  """So many requests are waiting that no more are taken."""


@dataclasses.dataclass(frozen=True)
class Asked(Request):
  """A request with settings of its own; one answer each."""

  temperature: float = 1.0
  top_p: float = 1.0
  seed: int = 0
  stops: tuple[str, ...] = ()
  decode: Callable[[Sequence[int]], str] | None = None


class Ticket(Job):
  """A request under way. `tell(ids, completion)` hears once of the end; with `stream`, of all
  tokens so far at each block.
  """

  def __init__(
    self,
    request: Asked,
    tell: Callable[[list[int], Completion | Exception | None], None],
    stream: bool = False,
  ):
    super().__init__(request, 0)
    self.tell, self.stream, self.cancelled = tell, stream, False


def _power(n: int, least: int) -> int:
  return max(least, 1 << (n - 1).bit_length())


class Loop(Run):
  """The slots of one thread, each with a prompt and an answer of its own."""

  def __init__(self, setup: Setup, slots: int, waiting: queue.Queue[Ticket]):
    self.short = setup.settings.prompt_multiple
    shape = Request("", [0] * (self.short + 1), 1, setup.settings.window)
    super().__init__(setup, [Job(shape, i) for i in range(slots)], 0, 1)
    self.queue.clear()
    self.waiting = waiting
    self.temperature, self.top_p = (np.ones((self.P, self.S), np.float32) for _ in range(2))
    self.first_window, self.stopping = self.window, False

  def serve(self) -> None:
    """Runs until `stopping`."""
    while not self.stopping:
      try:
        self._step()
      except Exception as e:  # of the model or the device: those who wait hear of it
        for p, ticket in enumerate(self.at):
          if isinstance(ticket, Ticket):
            ticket.tell([], e)
          self.at[p] = None
        self.number[:] = -1

  def _step(self) -> None:
    self._take_in()
    if self.queue:
      self._fill()
    active = self.number >= 0
    if active.any():
      self._decode(active)
      self._leave()

  def _take_in(self) -> None:
    """Moves waiting requests to idle slots; waits for one where all are idle."""
    idle = sum(job is None for job in self.at)
    if idle == self.P:
      self._shrink()
    while idle > len(self.queue):
      try:
        ticket = self.waiting.get(block=idle == self.P and not self.queue, timeout=0.2)
      except queue.Empty:
        break
      if not ticket.cancelled:
        self.queue.append(ticket)
    longest = max((len(t.request.prompt) - 1 for t in self.queue), default=0)
    if longest > self.T:
      most = self.setup.config.max_length
      self.T = min(_power(longest, self.short), -(-most // self.short) * self.short)
      with placed.on(self.setup.mesh):
        self.cache = kv.grow_prompts(self.cache, self.T)

  def _shrink(self) -> None:
    """Short caches again, once nobody needs long ones."""
    if (self.T, self.window) != (self.short, self.first_window):
      self.T, self.window = self.short, self.first_window
      with placed.on(self.setup.mesh):
        self.cache = start_cache(self.setup.config, self.P, self.S, self.T, self.window)

  def _start_draws(self, p: int, job: Job) -> None:
    if isinstance(job.request, Asked):
      self.temperature[p], self.top_p[p] = job.request.temperature, job.request.top_p
    super()._start_draws(p, job)

  def _leave(self) -> None:
    """Tells each ticket what was written; frees the slots of those that ended or are gone."""
    for p, ticket in enumerate(self.at):
      if not isinstance(ticket, Ticket):
        continue
      ended = ticket.done.get(0)
      if ended or ticket.cancelled:
        self.at[p], self.number[p] = None, -1
      if ended or (ticket.stream and not ticket.cancelled):
        ticket.tell(ended.ids if ended else list(self.ids[p][0]), ended)

  def width(self, slots: list[int]) -> int:
    jobs = [job for p in slots if (job := self.at[p])]
    return min(self.T, _power(max(len(j.request.prompt) - 1 for j in jobs), self.short))

  def seed_of(self, request: Request) -> int:
    return request.seed if isinstance(request, Asked) else 0

  def stops_at(self, p: int) -> tuple[str, ...]:
    job = self.at[p]
    return job.request.stops if job and isinstance(job.request, Asked) else ()

  def decode_at(self, p: int) -> Callable[[Sequence[int]], str] | None:
    job = self.at[p]
    return job.request.decode if job and isinstance(job.request, Asked) else None

  def draws(self) -> EachSlot:
    return EachSlot(self.temperature.copy(), self.top_p.copy())


class Engine:
  """Loops that share a queue of tickets."""

  def __init__(self, setup: Setup, loops: int, most_waiting: int):
    self.waiting: queue.Queue[Ticket] = queue.Queue(most_waiting)
    slots = max(1, setup.settings.slots // loops)
    self.loops = [Loop(setup, slots, self.waiting) for _ in range(loops)]
    self.threads = [threading.Thread(target=loop.serve, daemon=True) for loop in self.loops]
    for thread in self.threads:
      thread.start()

  def submit(self, tickets: Sequence[Ticket]) -> None:
    """Raises Full where there is no room for all of them."""
    if self.waiting.qsize() + len(tickets) > self.waiting.maxsize:
      raise Full
    try:
      for ticket in tickets:
        self.waiting.put_nowait(ticket)
    except queue.Full:
      for ticket in tickets:
        ticket.cancelled = True
      raise Full from None

  def close(self) -> None:
    for loop in self.loops:
      loop.stopping = True
    for thread in self.threads:
      thread.join(10)


def _scored(config, params, tokens_BT, most: int):
  """(log-probs [B, T] of each token after the first, the `most` best ones' and their ids)."""
  hidden = llama.apply(config, params, tokens_BT)
  logps = jax.nn.log_softmax(llama.unembed(params, hidden), -1)
  own = jnp.take_along_axis(logps[:, :-1], tokens_BT[:, 1:, None], -1)[..., 0]
  best, ids = jax.lax.top_k(logps[:, :-1], most)
  return own, best, ids


class Scoring:
  """Log-probs of given tokens: one forward pass a text, a few at once."""

  ROWS = 8

  def __init__(self, config, params, most: int):
    self.config, self.params, self.most = config, params, min(most, config.vocab_size)
    self.forward = jax.jit(_scored, static_argnums=(0, 3))
    self.lock = threading.Lock()

  def __call__(self, texts: Sequence[Sequence[int]]) -> list[tuple[np.ndarray, ...]]:
    """For each text the log-prob of each token after the first, the best ones', and their ids."""
    found = []
    for start in range(0, len(texts), self.ROWS):
      some = texts[start : start + self.ROWS]
      length = _power(max(map(len, some)), 32)
      tokens = np.zeros((_power(len(some), 1), length), np.int32)
      for row, ids in enumerate(some):
        tokens[row, : len(ids)] = ids
      with self.lock:
        own, best, ids = map(
          np.asarray, self.forward(self.config, self.params, jnp.asarray(tokens), self.most)
        )
      found += [
        (own[r, :n], best[r, :n], ids[r, :n]) for r, n in enumerate(len(t) - 1 for t in some)
      ]
    return found
