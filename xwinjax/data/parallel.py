"""Tokenizing in several processes, for data large enough to be worth starting them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any

from xwinjax.core import system
from xwinjax.core.errors import UserError
from xwinjax.data import items
from xwinjax.data.items import Builder, Items
from xwinjax.data.records import Example, Pair

LARGE = 2**25  # characters that are sooner tokenized here: about 6 s on one core
SHARE = 1024  # records a process is given at once


def tokenize(
  function: Callable[..., Items],
  records: Iterable[Example] | Iterable[Pair],
  builder: Builder | None = None,
  processes: int = 0,
) -> Items:
  """`function(records, builder=builder)`, shared out to processes where there is much to do.

  The items are the same, in the same order, whatever the number of processes. Of the records,
  the first `LARGE` characters and a few shares are in memory at once.

  Args:
    function: `items.tokenize_examples` or `items.tokenize_pairs` with all else bound, or what
      behaves like it: the items of many records are those of each, one after the other.
    records: what it takes.
    builder: collects the items; None makes one in memory.
    processes: 0 takes one a core.

  Raises: UserError of the function, and where a process was killed.
  """
  records = iter(records)
  processes = processes or system.cores()
  first = _until_large(records)
  more = next(records, None) if processes > 1 else None
  if more is None:
    return function(itertools.chain(first, records), builder=builder)
  every = itertools.chain(first, [more], records)
  try:
    return items.joined(_shared_out(function, every, processes), builder)
  except BrokenProcessPool:
    raise UserError(
      "a process that tokenizes was killed, most likely for want of memory; on fewer cores "
      "(taskset -c 0) fewer are started"
    ) from None


def _until_large(records: Iterator[Any]) -> list[Any]:
  batch, characters = [], 0
  while characters < LARGE:
    record = next(records, None)
    if record is None:
      break
    messages = record.messages if isinstance(record, Example) else record.prompt
    characters += sum(len(m.content) for m in messages)
    if isinstance(record, Pair):
      characters += len(record.chosen) + len(record.rejected)
    batch.append(record)
  return batch


def _shared_out(function, records: Iterator[Any], processes: int) -> Iterator[Items]:
  """The items of each share, in order; as many shares are under way as keep everyone busy."""
  # Not forked: the threads of jax would be left behind in an unknown state.
  context = multiprocessing.get_context("spawn")
  pool = ProcessPoolExecutor(processes, context, _start, (function,))
  under_way: deque[Any] = deque()
  try:
    while share := list(itertools.islice(records, SHARE)):
      under_way.append(pool.submit(_tokenize, share))
      if len(under_way) > 2 * processes:
        yield under_way.popleft().result()
    while under_way:
      yield under_way.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)


_function: Callable[..., Items]  # a process's own


def _start(function: Callable[..., Items]) -> None:
  global _function
  _function = function
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """A killed command says goodbye to nobody; its processes would wait for work for ever."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    connection.wait([parent.sentinel])
    os._exit(1)


def _tokenize(share: list[Any]) -> Items:
  return _function(share)
