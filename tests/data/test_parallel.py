"""Tokenizing in processes: the items are those of one, in the same order."""

import functools
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import items, parallel
from xwinjax.data.items import ARRAYS, Builder
from xwinjax.data.records import Message, Pair


@pytest.fixture(autouse=True)
def small_shares(monkeypatch):
  monkeypatch.setattr(parallel, "LARGE", 20)
  monkeypatch.setattr(parallel, "SHARE", 3)


@pytest.fixture
def conversations(chat):
  return [chat("Hi?", "Yes. " * (n % 9), id=f"row {n}") for n in range(1, 24)]


def same(a, b):
  return (
    (a.ids, dict(a.counts), a.branched) == (b.ids, dict(b.counts), b.branched)
    and all(np.array_equal(getattr(a, k), getattr(b, k)) for k in (*ARRAYS, "offsets"))
    and a.fields.keys() == b.fields.keys()
    and all(np.array_equal(a.fields[k], b.fields[k]) for k in a.fields)
  )


def test_conversations(conversations, vicuna, tmp_path):
  tokenize = functools.partial(
    items.tokenize_examples, renderer=vicuna, max_length=40, too_long="drop"
  )
  plain = tokenize(conversations)
  assert plain.counts["dropped: no supervised token"] + plain.counts["kept"] < 23
  assert same(parallel.tokenize(tokenize, iter(conversations), processes=2), plain)
  on_disk = parallel.tokenize(tokenize, conversations, Builder(tmp_path), processes=2)
  assert same(on_disk, plain)
  assert isinstance(on_disk.tokens, np.memmap)
  backwards = parallel.tokenize(tokenize, conversations[::-1], processes=2)
  assert not same(backwards, plain)


def test_pairs_keep_their_fields(vicuna):
  prompt = (Message("user", "Hi?"),)
  pairs = [Pair(f"pair {n}", prompt, "Yes. " * n, "No.", margin=n / 4) for n in range(1, 12)]
  tokenize = functools.partial(items.tokenize_pairs, renderer=vicuna, max_length=40)
  plain = tokenize(pairs)
  assert 0 < len(plain) < len(pairs)
  assert same(parallel.tokenize(tokenize, pairs, processes=2), plain)


def test_little_is_done_here(conversations, monkeypatch, vicuna):
  monkeypatch.setattr(parallel, "LARGE", 10**6)
  monkeypatch.setattr(parallel, "ProcessPoolExecutor", None)
  tokenize = functools.partial(items.tokenize_examples, renderer=vicuna, max_length=40)
  found = parallel.tokenize(tokenize, iter(conversations), processes=2)
  assert same(found, tokenize(conversations))


def test_memory_is_bounded_by_the_shares_under_way(vicuna, conversations):
  """Records are read as the processes get to them, not ahead of them."""
  ahead, done = [], 0

  def rows():
    for n, row in enumerate(conversations * 20):
      ahead.append(n - done)
      yield row

  tokenize = functools.partial(items.tokenize_examples, renderer=vicuna, max_length=40)
  for made in parallel._shared_out(tokenize, rows(), 2):
    done += sum(n for what, n in made.counts.items() if what != "turns")
  assert done == len(conversations) * 20
  assert max(ahead) <= 3 * (2 * 2 + 1)


def refuse(records, builder=None):
  raise UserError("the template has no 'system' part")


def die(records, builder=None):
  os._exit(9)


def test_what_goes_wrong_there_is_said_here(conversations):
  with pytest.raises(UserError, match="no 'system' part"):
    parallel.tokenize(refuse, conversations, processes=2)
  with pytest.raises(UserError, match="killed"):
    parallel.tokenize(die, conversations, processes=2)


SLEEP = """
import time
from xwinjax.data import parallel
from xwinjax.data.records import Example, Message
def sleep(records, builder=None):
  import os, pathlib
  pathlib.Path("pid").write_text(str(os.getpid()))
  time.sleep(600)
if __name__ == "__main__":
  parallel.LARGE = 0
  rows = [Example(str(n), (Message("user", "Hi?"),)) for n in range(9)]
  parallel.tokenize(sleep, rows, processes=2)
"""


def test_a_killed_command_leaves_no_process(tmp_path):
  (tmp_path / "sleep.py").write_text(SLEEP)
  command = subprocess.Popen([sys.executable, "sleep.py"], cwd=tmp_path)
  pid = wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
  command.kill()
  command.wait()
  wait_for(lambda: not alive(int(pid)))


def wait_for(what, seconds=30):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    if found := what():
      return found
    time.sleep(0.05)
  raise TimeoutError


def alive(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True
