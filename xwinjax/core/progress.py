"""Progress for people: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from xwinjax.core import system


class Progress:
  """Counts towards a total, with a rate and the time left.

  On a terminal this is one tqdm bar. Anywhere else it is a line at the start of the work, at most
  one every `every` seconds, and one at the end, so that log files stay readable. Of several
  processes the first speaks alone.
  """

  def __init__(self, title: str, total: int, unit: str, *, done: int = 0, every: float = 10.0):
    self.title, self.total, self.unit, self.every = title, max(total, 1), unit, every
    self.done = self.first = done
    self.tokens = 0
    self.note = ""
    self.began = self.started = self.printed = time.perf_counter()
    self.bar = None
    if sys.stderr.isatty() and system.leads():
      self.bar = tqdm(
        total=total,
        initial=done,
        desc=title,
        unit=unit,
        dynamic_ncols=True,
        leave=True,
        smoothing=0.1,
      )

  def __enter__(self) -> Progress:
    if self.bar is None:
      self._say(f"{self.title} {self.done}/{self.total} {self.unit}")
    return self

  def __exit__(self, kind: type | None, value: BaseException | None, tb: TracebackType | None):
    if self.bar is not None:
      self.bar.close()
    elif kind is None:
      self._line()

  def leave_out(self, seconds: float, n: int) -> None:
    """Rates and ETA leave these seconds and the last n out: what was spent on compiling them."""
    self.started += seconds
    self.first += n
    if self.bar is not None:
      self.bar.start_t += seconds
      self.bar.initial += n

  def advance(self, n: int = 1, *, tokens: int = 0, note: str = "") -> None:
    """`tokens` adds a tok/s figure; `note` is shown behind the counts."""
    self.done += n
    self.tokens += tokens
    self.note = note or self.note
    if self.bar is not None:
      self.bar.set_postfix_str(self._rate(note=self.note), refresh=False)
      self.bar.update(n)
    elif time.perf_counter() - self.printed > self.every:
      self._line()

  def tokens_per_second(self) -> float:
    return self.tokens / max(time.perf_counter() - self.started, 1e-9)

  def _rate(self, note: str) -> str:
    rate = f"{short(self.tokens_per_second())} tok/s" if self.tokens else ""
    return "  ".join(part for part in (note, rate) if part)

  def _line(self) -> None:
    self.printed = time.perf_counter()
    spent = self.printed - self.started
    timed = self.done - self.first
    eta = f"eta {duration(spent / timed * (self.total - self.done))}" if timed > 0 else ""
    if self.done >= self.total:
      eta = f"in {duration(self.printed - self.began)}"
    rest = "  ".join(part for part in (self._rate(self.note), eta) if part)
    self._say(f"{self.title} {self.done}/{self.total} {self.unit}  {rest}")

  def _say(self, line: str) -> None:
    if system.leads():
      print(line, file=sys.stderr, flush=True)


def short(number: float) -> str:
  """1234567 as 1.2M."""
  for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
    if abs(number) >= size:
      return f"{number / size:.1f}{letter}"
  return f"{number:.0f}"


def duration(seconds: float) -> str:
  """75 as 1m15s."""
  seconds = round(seconds)
  if seconds < 60:
    return f"{seconds}s"
  minutes, seconds = divmod(seconds, 60)
  if minutes < 60:
    return f"{minutes}m{seconds:02d}s"
  return f"{minutes // 60}h{minutes % 60:02d}m"
