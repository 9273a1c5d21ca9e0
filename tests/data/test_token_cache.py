"""Tokens kept on disk: the items of the second run are those of the first, read from there."""

import numpy as np
import pytest

from xwinjax.data import items, token_cache
from xwinjax.data.items import Builder

ARRAYS = ("tokens", "mask", "positions", "branches", "offsets")


@pytest.fixture
def source(tmp_path, monkeypatch):
  monkeypatch.setattr(token_cache, "MIN_BYTES", 4)
  path = tmp_path / "rows.jsonl"
  path.write_text("whatever it is that is tokenized")
  return path


@pytest.fixture
def make(vicuna, chat):
  """make(builder) -> the items of some conversations; make.calls counts."""
  examples = [chat("Hi?", "Yes. " * n, id=f"row {n}") for n in range(1, 12)]

  def make(builder):
    make.calls += 1
    return items.tokenize_examples(examples, vicuna, 40, too_long="drop", builder=builder)

  make.calls = 0
  return make


def same(a, b):
  return (a.ids, dict(a.counts), a.branched) == (b.ids, dict(b.counts), b.branched) and all(
    np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS
  )


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_a_second_run_reads_what_the_first_made(source, make, tmp_path, monkeypatch, chunk):
  monkeypatch.setattr(items, "CHUNK", chunk)
  plain = make(Builder())
  first = token_cache.cached([source], {"length": 40}, make, tmp_path / "cache")
  again = token_cache.cached([source], {"length": 40}, make, tmp_path / "cache")
  assert make.calls == 2
  assert same(first, plain)
  assert same(again, plain)
  assert again.fingerprint() == plain.fingerprint()
  assert isinstance(again.tokens, np.memmap)
  assert [p.name for p in (tmp_path / "cache").iterdir() if p.name.startswith("unfinished")] == []


@pytest.mark.parametrize("what", ["file", "settings", "code"])
def test_what_decides_the_tokens_decides_the_cache(source, make, tmp_path, monkeypatch, what):
  token_cache.cached([source], {"length": 40}, make, tmp_path / "cache")
  if what == "file":
    source.write_text("whatever it is that is TOKENIZED")
  if what == "code":
    monkeypatch.setattr(token_cache, "_CODE", token_cache._CODE[1:])
  settings = {"length": 41 if what == "settings" else 40}
  token_cache.cached([source], settings, make, tmp_path / "cache")
  assert make.calls == 2


@pytest.mark.parametrize("name", ["tokens", "mask", "offsets.npy", "ids.json", "items.json"])
@pytest.mark.parametrize("damage", ["another byte", "cut", "gone"])
def test_a_damaged_cache_is_made_again(source, make, tmp_path, name, damage):
  plain = token_cache.cached([source], {}, make, tmp_path / "cache")
  (path,) = (tmp_path / "cache").glob(f"*/{name}")
  blob = path.read_bytes()
  path.unlink()
  if damage != "gone":
    half = len(blob) // 2
    other = blob[:half] + bytes([blob[half] ^ 1]) + blob[half + 1 :]
    path.write_bytes(blob[:-1] if damage == "cut" else other)
  found = token_cache.cached([source], {}, make, tmp_path / "cache")
  assert make.calls == 2
  assert found.ids == plain.ids
  assert same(token_cache.cached([source], {}, make, tmp_path / "cache"), found)
  assert make.calls == 2


def test_where_nothing_can_be_written_items_stay_in_memory(source, make, tmp_path):
  (tmp_path / "cache").write_text("a file where the folder should be")
  found = token_cache.cached([source], {}, make, tmp_path / "cache")
  assert same(found, make(Builder()))
  assert not isinstance(found.tokens, np.memmap)


def test_a_full_disk_costs_nothing_but_time(source, make, tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(token_cache.os, "rename", full)
  found = token_cache.cached([source], {}, make, tmp_path / "cache")
  assert same(found, make(Builder()))
  assert list((tmp_path / "cache").iterdir()) == []


def test_small_files_and_no_items_leave_nothing(source, make, tmp_path, monkeypatch):
  nothing = lambda builder: builder.build(items.Counts(), branched=False)
  assert len(token_cache.cached([source], {}, nothing, tmp_path / "cache")) == 0
  assert list((tmp_path / "cache").iterdir()) == []
  monkeypatch.setattr(token_cache, "MIN_BYTES", 10**6)
  token_cache.cached([source], {}, make, tmp_path / "cache")
  assert list((tmp_path / "cache").iterdir()) == []


def test_twin_a_cache_that_is_not_checked_shows(source, make, tmp_path, monkeypatch):
  """Without the comparison of hashes a changed token would be trained on."""
  token_cache.cached([source], {}, make, tmp_path / "cache")
  monkeypatch.setattr(token_cache, "_digest", lambda made: "the same")
  token_cache.cached([source], {"length": 40}, make, tmp_path / "cache")
  for path in (tmp_path / "cache").glob("*/tokens"):
    path.chmod(0o644)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
  found = token_cache.cached([source], {"length": 40}, make, tmp_path / "cache")
  assert make.calls == 2  # it was taken as it lay there
  assert not same(found, make(Builder()))
