"""Tokens of large files, kept on disk between runs and read from there as they are looked at."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core import system
from xwinjax.data import items
from xwinjax.data.items import Builder, Items
from xwinjax.data.records import Counts

MIN_BYTES = 2**20  # a smaller file is tokenized sooner than looked up
_CODE = ("data",)  # the rooms whose code decides tokens


def cached(
  sources: Sequence[Path], settings: dict[str, Any], make: Callable[[Builder], Items], folder: Path
) -> Items:
  """What `make` makes, or what an earlier run with the same files and settings left on disk.

  Args:
    sources: the files that `make` reads, in order.
    settings: everything else that decides its tokens, as JSON can hold it.
    make: fills the builder it is given, without further fields.
    folder: where caches lie, each under the hash of the files, the settings and the package's own
      code for data. They may be deleted at any time.

  A cache whose arrays are not the ones that were written is made again. Where nothing can be
  written the items stay in memory.
  """
  if sum(source.stat().st_size for source in sources) < MIN_BYTES:
    return make(Builder())
  place = folder / _key(sources, settings)
  cache = _load(place)
  if cache is not None:
    return cache
  try:
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder))
  except OSError:
    return make(Builder())
  try:
    made = make(Builder(scratch))
    if len(made):
      _write(scratch, made)
      shutil.rmtree(place, ignore_errors=True)  # a damaged one
      os.rename(scratch, place)
    return _load(place) or made
  except OSError:  # a full disk, most likely
    return make(Builder())
  finally:
    shutil.rmtree(scratch, ignore_errors=True)


def _key(sources: Sequence[Path], settings: dict[str, Any]) -> str:
  digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
  digest.update(system.code_digest(*_CODE).encode())
  for source in sources:
    with source.open("rb") as f:
      digest.update(hashlib.file_digest(f, "sha256").digest())
  return digest.hexdigest()[:32]


def _write(folder: Path, made: Items) -> None:
  np.save(folder / "offsets.npy", made.offsets)
  (folder / "ids.json").write_text(json.dumps(made.ids), encoding="utf-8")
  about = {"sha256": _digest(made), "counts": made.counts, "branched": made.branched}
  (folder / "items.json").write_text(json.dumps(about), encoding="utf-8")


def _load(folder: Path) -> Items | None:
  """The items of a cache, or None where there is none or a byte of it is another."""
  try:
    about = json.loads((folder / "items.json").read_text(encoding="utf-8"))
    ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    offsets, flat = np.load(folder / "offsets.npy"), items.memory_mapped(folder)
    counts, branched = Counts(about["counts"]), about["branched"]
    made = Items(ids, offsets, *flat, fields={}, counts=counts, branched=branched)
    return made if _digest(made) == about["sha256"] else None
  except Exception:  # numpy parses a damaged header as Python, and may raise anything
    return None


def _digest(made: Items) -> str:
  about = json.dumps([made.ids, made.counts, made.branched], sort_keys=True)
  return hashlib.sha256((made.fingerprint() + about).encode()).hexdigest()
