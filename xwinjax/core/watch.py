"""Processes of a run watch over each other: when one ends, the others say so and end, too.

Each gives a sign of life every second, and says why it ends, in the store of keys that process 0
holds for all. Without it, the others would wait for ever inside a collective operation.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

_CONTINUE = "run the same command to continue"
_GRACE = 3.0  # seconds in which processes that fail alike find that out
_SUSPICIOUS = 5.0  # seconds of silence that suffice where something has already failed


class Watch:
  """The signs of life of one process, and its eye on the others'."""

  def __init__(self, client: Any, address: str, index: int, count: int, lost_after: float):
    """Args:
    client: of jax's store of keys.
    address: HOST:PORT where process 0 holds it.
    lost_after: seconds without a sign of life after which a process is taken to be lost.
    """
    self.client, self.address, self.lost_after = client, address, lost_after
    self.index, self.count = index, count
    self._patience = lost_after
    self._tick = min(1.0, lost_after / 5)
    self._seen = {i: ("", time.monotonic()) for i in range(count)}  # the last sign, and when
    self._own_end = threading.Event()  # this process's main thread is at its end by itself
    self._on_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._last_word)

  def _last_word(self, signum: int) -> None:
    """Where process 0 is lost, jax aborts at once, with a stack trace: our line is to come last."""
    host, _, port = self.address.rpartition(":")
    try:
      socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
      self._leave(0, f"has ended without a word ({_CONTINUE})", 1)

  def start(self) -> None:
    if self.index:  # Python's own handlers would run in the main thread, which may be waiting
      libc = ctypes.CDLL(None)
      libc.signal(signal.SIGABRT, self._on_abort)
    self._give_sign(0)
    threading.Thread(target=self._run, name="watch", daemon=True).start()

  def tell(self, key: str, text: str) -> None:
    self.client.key_value_set(key, text)

  def hear(self, key: str) -> str:
    """The text of a key, as soon as it is there. If its teller ends, the watch ends this wait."""
    while True:
      try:
        return self.client.blocking_key_value_get(key, 10_000)
      except Exception as e:
        if "DEADLINE_EXCEEDED" not in str(e):
          self.find_cause()
          raise

  def _run(self) -> None:
    n = 0
    while not self._own_end.wait(self._tick):
      n += 1
      try:
        self._give_sign(n)
        if self.index == 0:
          self._look_for_the_lost()
        ended = self._ended()
      except Exception:  # the store of keys is gone, and with it process 0
        if not self._own_end.is_set():
          self._last_word(signal.SIGABRT)
        continue
      others = [why for i, why in sorted(ended.items()) if i != self.index]
      if others and not self._own_end.wait(_GRACE / 2):
        self._leave(*others[0])

  def _give_sign(self, n: int) -> None:
    sign = f"{n} {socket.gethostname()}"
    self.client.key_value_set(f"alive/{self.index}", sign, allow_overwrite=True)

  def _under(self, folder: str) -> dict[int, str]:
    """By process, what was told under FOLDER/PROCESS."""
    said = self.client.key_value_dir_get(f"{folder}/")
    return {int(key.rpartition("/")[2]): value for key, value in said}

  def _ended(self) -> dict[int, tuple[int, str, int]]:
    """By process that has ended: which was the first to, why, and with what status."""
    return {i: tuple(json.loads(value)) for i, value in self._under("ended").items()}

  def _look_for_the_lost(self) -> None:
    now, signs = time.monotonic(), self._under("alive")
    if self._under("failed"):
      self._patience = min(self.lost_after, _SUSPICIOUS)
    for i, (sign, since) in self._seen.items():
      if signs.get(i, "") != sign:
        self._seen[i] = (signs[i], now)
      elif now - since > self._patience and i != self.index:
        text = f"has given no sign of life for {now - since:.0f} s ({_CONTINUE})"
        self._say_end(i, i, text, 1)

  def _say_end(self, index: int, first: int, text: str, status: int) -> None:
    value = json.dumps([first, text, status])
    self.client.key_value_set(f"ended/{index}", value, allow_overwrite=True)

  def _leave(self, index: int, text: str, status: int) -> None:
    """Ends this process because another has ended."""
    host = self.address.rpartition(":")[0]
    if index:
      with contextlib.suppress(Exception):
        host = self.client.key_value_try_get(f"alive/{index}").partition(" ")[2]
    line = f"error: process {index} on {host} {text}; this one ends with it"
    print(line, file=sys.stderr, flush=True)
    if index:  # else the store of keys is gone
      with contextlib.suppress(Exception):
        self._say_end(self.index, index, text, status)
        if self.index == 0:
          self._wait_for_others()
    os._exit(status)

  def _wait_for_others(self) -> None:
    """Process 0 goes last: the others read in its store of keys why they end."""
    until = time.monotonic() + _GRACE
    while time.monotonic() < until and len(self._ended()) < self.count:
      time.sleep(0.05)
    time.sleep(0.2)

  def finish(self) -> None:
    """Waits for the others' ends: none of them is in danger any more."""
    self.client.wait_at_barrier("end of the run", int(1000 * max(self.lost_after, 60)))
    self._own_end.set()

  def fail(self, text: str, status: int) -> None:
    """Prints why this process ends, unless process 0 says the same; tells the others; ends it."""
    self._own_end.set()
    try:
      self._say_end(self.index, self.index, f"has ended: {text}", status)
      if self.index == 0:
        print(text, file=sys.stderr, flush=True)
        sys.stdout.flush()
        self._wait_for_others()
      else:
        until, said = time.monotonic() + _GRACE, self._ended()
        while time.monotonic() < until and 0 not in said:
          time.sleep(0.05)
          said = self._ended()
        if said.get(0, (1, ""))[:2] != (0, f"has ended: {text}"):
          print(f"process {self.index}: {text}", file=sys.stderr, flush=True)
    except Exception:  # nobody listens any more
      print(f"process {self.index}: {text}", file=sys.stderr, flush=True)
    os._exit(status)

  def find_cause(self) -> None:
    """Gives the watch the time to end this process for another's sake."""
    with contextlib.suppress(Exception):  # the watch will find out, too
      self.client.key_value_set(f"failed/{self.index}", "", allow_overwrite=True)
    time.sleep(min(self.lost_after, _SUSPICIOUS) + 2 * _GRACE + 3 * self._tick)
