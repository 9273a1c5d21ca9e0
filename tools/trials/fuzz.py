"""Bytes of good files changed at random, for every reader: right, or refused in one line.

Each reader runs in a fork of its own, so that a crash of a library is one reader's, and is told.
"""

from __future__ import annotations

import collections
import contextlib
import json
import random
import re
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trials import readers, runs

SECONDS = 10  # a case may take
GROWTH = 512 * 2**20  # bytes that a reader's process may grow by
_SCALAR = re.compile(rb'"[^"]{0,200}"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
_VALUES = (
  *(b"null", b"true", b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"-0.0", b"1.5", b"1e-320"),
  *(b"9" * 25, b"9" * 5000, b"18446744073709551616", b"1000000", b'"x"', b'""', b"[]", b"{}"),
  *(b"[[1]]", b'{"a": 1}', b'"\\ud800"', b"[" * 3000, b'{"a":' * 3000, b'"../../etc/passwd"'),
)
_BYTES = (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b'"', b"{", b"]", b",", b"\xe2\x80\xa8")


def mutate(data: bytes, rng: random.Random) -> bytes:
  """One to three changes: of bits, of stretches, or of a value in a JSON text."""
  for _ in range(rng.choice((1, 1, 1, 2, 3))):
    at, kind = rng.randrange(len(data) + 1), rng.randrange(8)
    end = min(at + rng.choice((1, 2, 8, 64, 512)), len(data))
    if kind == 0 and at < len(data):
      data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    elif kind == 1:
      data = data[:at] + rng.randbytes(rng.choice((1, 4))) + data[end:]
    elif kind == 2:
      data = data[:at] + data[end:]
    elif kind == 3:
      data = data[:at] + data[at:end] * rng.choice((2, 3)) + data[end:]
    elif kind == 4:
      data = data[:at]
    elif kind == 5:
      data = data[:at] + rng.choice(_BYTES) + data[at:]
    else:
      places = list(_SCALAR.finditer(data))
      if places:
        found = rng.choice(places)
        data = data[: found.start()] + rng.choice(_VALUES) + data[found.end() :]
  return data


class TooLong(BaseException):
  """A case took more than its seconds."""


def _alarm(*_: Any) -> None:
  raise TooLong


def case(reader: readers.Reader, path: Path, data: bytes, wanted: Any) -> tuple[str, str]:
  """(outcome, what was said) of reading these bytes; `wanted` is what the good file gives."""
  from xwinjax.core.errors import UserError

  path.unlink(missing_ok=True)  # what still has the old one open keeps that
  path.write_bytes(data)
  signal.signal(signal.SIGALRM, _alarm)
  signal.setitimer(signal.ITIMER_REAL, SECONDS)
  try:
    with contextlib.redirect_stderr(None), warnings.catch_warnings():
      warnings.simplefilter("ignore")
      found = reader.read(path)
  except UserError as e:
    line = str(e)
    good = "\n" not in line and len(line) < 2000
    return ("refused" if good else "several lines"), line[:300]
  except TooLong:
    return "too long", ""
  except Exception as e:
    frame = traceback.extract_tb(e.__traceback__)[-1]
    at = [f for f in traceback.extract_tb(e.__traceback__) if "xwinjax/" in f.filename]
    where = at[-1] if at else frame
    return (
      "traceback",
      f"{type(e).__name__}: {str(e)[:120]} at {Path(where.filename).name}:{where.lineno}",
    )
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
  if reader.sealed and found != wanted:
    return "silent", "another content than was sealed"
  return "read", ""


def one(reader: readers.Reader, work: Path, times: int, seed: int) -> dict[str, Any]:
  """Counts by outcome, and an example of each that is not well."""
  shutil.rmtree(work, ignore_errors=True)
  work.mkdir(parents=True)
  path = reader.make(work)
  good, rng = path.read_bytes(), random.Random(f"{seed} {reader.name}")
  wanted = reader.read(path)
  before, found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, collections.Counter()
  examples: dict[str, str] = {}
  for _ in range(times):
    outcome, said = case(reader, path, mutate(good, rng), wanted)
    found[outcome] += 1
    if outcome not in ("read", "refused"):
      examples.setdefault(f"{outcome}: {said}", said)
    if reader.fresh:
      shutil.rmtree(work)
      work.mkdir()
      reader.make(work)
  grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
  if grown > GROWTH:
    examples[f"memory: grew by {grown >> 20} MiB"] = ""
  return {"outcomes": dict(found), "examples": sorted(examples)}


def every(
  work: Path, times: int, seed: int, only: str, say: Callable[[str], None]
) -> dict[str, Any]:
  """The table of all readers, or of one."""
  rows: dict[str, Any] = {}
  told = work / "told"
  for reader in readers.READERS:
    if only and reader.name not in only.split(","):
      continue
    began = time.monotonic()

    def body(reader: readers.Reader = reader) -> runs.Ended:
      try:
        return runs.Ended(0, json.dumps(one(reader, work / "case", times, seed)), "")
      except Exception:  # the good file itself cannot be made or read
        return runs.Ended(1, "", traceback.format_exc())

    with contextlib.redirect_stdout(None):
      ended = runs.wait(runs.forked(body, told), told, 60 + times)
    row = (
      json.loads(ended.out)
      if ended.out
      else {"outcomes": {"crash": 1}, "examples": [f"status {ended.status} {ended.err[-200:]}"]}
    )
    rows[reader.name] = row
    took = time.monotonic() - began
    say(f"{reader.name}: {row['outcomes']} in {took:.0f} s {'; '.join(row['examples'][:4])}")
  total = sum((collections.Counter(r["outcomes"]) for r in rows.values()), collections.Counter())
  wrong = [{"reader": name, "what": x} for name, r in rows.items() for x in r["examples"]]
  return {
    "readers": len(rows),
    "cases": sum(total.values()),
    "outcomes": dict(sorted(total.items())),
    "by_reader": {name: r["outcomes"] for name, r in rows.items()},
    "wrong": wrong,
  }
