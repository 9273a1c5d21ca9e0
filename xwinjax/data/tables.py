"""Rows of tables: .csv and .tsv, Parquet, and the Arrow files of `datasets`.

A reader gets (path, how to open it, what to tell of a bad line), and gives (line, row).
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xwinjax.core.errors import UserError

Rows = Iterator[tuple[int, dict[str, Any]]]
OnBad = Callable[[int, str], None]
Open = Callable[[Path], BinaryIO]
MAX_CELL = 64 * 2**20  # characters


def separated(path: Path, open_bytes: Open, on_bad: OnBad) -> Rows:
  """Text with a line of column names; every value is a text."""
  delimiter = "\t" if ".tsv" in path.suffixes else ","
  csv.field_size_limit(MAX_CELL)
  with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as file:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    line = 1
    try:
      names = [name.strip() for name in next(reader, [])]
      if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}:1: column {twice!r} appears twice")
      line = reader.line_num + 1
      for cells in reader:
        if cells and len(cells) != len(names):
          on_bad(line, f"found {len(cells)} cells, expected {len(names)}")
        elif cells:
          yield line, dict(zip(names, cells, strict=True))
        line = reader.line_num + 1
    except csv.Error as e:
      raise UserError(f"{path}:{line}: not valid {path.suffix[1:].upper()}: {e}") from None
    except UnicodeError as e:
      raise UserError(f"{path}:{line}: not UTF-8 ({e}); save the file as UTF-8") from None


def parquet(path: Path, open_bytes: Open, on_bad: OnBad) -> Rows:
  with _arrow(path, "Parquet"):
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    yield from _of_batches(pq.ParquetFile(path).iter_batches(batch_size=1024))


def arrow(path: Path, open_bytes: Open, on_bad: OnBad) -> Rows:
  """A stream of batches, as `datasets` saves them, or a file of them."""
  with _arrow(path, "Arrow"):
    from pyarrow import ipc  # pyright: ignore[reportMissingImports]

    with open_bytes(path) as file:
      if file.read(6) == b"ARROW1":
        whole = ipc.open_file(path)
        yield from _of_batches(map(whole.get_batch, range(whole.num_record_batches)))
        return
      file.seek(0)
      yield from _of_batches(ipc.open_stream(file))


@contextlib.contextmanager
def _arrow(path: Path, kind: str) -> Iterator[None]:
  """Around the use of pyarrow: its absence and its complaints are one line."""
  try:
    yield
  except ImportError:
    raise UserError(
      f"{path}: reading {kind} needs pyarrow; pip install 'xwinjax[parquet]'"
    ) from None
  except UserError:
    raise
  except (OSError, ValueError, NotImplementedError, MemoryError) as e:  # Arrow's are of these
    why = " ".join(str(e).split())[:200]
    raise UserError(f"{path}: not a readable {kind} file ({why})") from None


def _of_batches(batches: Any) -> Rows:
  number = 0
  for batch in batches:
    for row in batch.to_pylist():
      number += 1
      yield number, row


READERS: dict[str, Callable[[Path, Open, OnBad], Rows]] = {
  ".csv": separated,
  ".tsv": separated,
  ".parquet": parquet,
  ".arrow": arrow,
}
