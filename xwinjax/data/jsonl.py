"""Lines of JSON in and out, strictly: what is wrong is named by file and line."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xwinjax.core import system
from xwinjax.core.errors import UserError
from xwinjax.data import tables

MAX_LINE_BYTES = 64 * 2**20


def _no_constants(name: str):
  raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  row = dict(pairs)
  if len(row) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"key {twice!r} appears twice")
  return row


def _finite(digits: str) -> float:
  number = float(digits)
  if math.isinf(number):
    raise ValueError(f"number {digits} is too large")
  return number


_DECODER = json.JSONDecoder(
  parse_constant=_no_constants, parse_float=_finite, object_pairs_hook=_no_duplicates
)
_SPACE = re.compile(r"[ \t\r\n]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _check_surrogates(value: Any) -> None:
  """Half a surrogate pair is legal in an escape, but it can be neither encoded nor saved."""
  try:
    json.dumps(value, ensure_ascii=False).encode("utf-8")
  except UnicodeEncodeError:
    raise ValueError("half a surrogate pair (\\ud800 to \\udfff) is no character") from None


def decode(text: str, where: str) -> Any:
  """One JSON value; `where` (file:line) opens the error's line."""
  try:
    value = _DECODER.decode(text)
    if "\\u" in text and _SURROGATE.search(text):
      _check_surrogates(value)
    return value
  except RecursionError:
    raise UserError(f"{where}: nested too deeply to be a record") from None
  except json.JSONDecodeError as e:
    raise UserError(f"{where}: not valid JSON: {e.msg} at column {e.colno}") from None
  except ValueError as e:
    raise UserError(f"{where}: not valid JSON: {e}") from None


def read_json(path: Path) -> Any:
  """The JSON value of a whole small file, such as a record of a run's.

  Raises: ValueError, in one line, for bytes that are none; OSError as reading does.
  """
  try:
    text = path.read_bytes().decode("utf-8")
    value = json.loads(text)
    if _SURROGATE.search(text):
      _check_surrogates(value)
    return value
  except RecursionError:
    raise ValueError("nested too deeply") from None


def _zstandard(path: Path, mode: str) -> Any:
  try:
    import pyarrow  # pyright: ignore[reportMissingImports]
  except ImportError:
    raise UserError(f"{path}: reading .zst needs pyarrow; pip install 'xwinjax[parquet]'") from None
  return io.BufferedReader(pyarrow.CompressedInputStream(path.open(mode), "zstd"))


PACKED: dict[str, Callable[..., Any]] = {
  ".gz": gzip.open,
  ".bz2": bz2.open,
  ".xz": lzma.open,
  ".zst": _zstandard,
}


def _plain_suffix(path: Path) -> str:
  """The ending of a file's name, without that of its packing."""
  return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def open_bytes(path: Path) -> BinaryIO:
  """The file's bytes, unpacked if it is one of PACKED."""
  try:
    if path.is_dir():
      raise UserError(f"{path}: is a folder; expected a .json, .jsonl or .gz file")
    return PACKED.get(path.suffix, Path.open)(path, "rb")
  except FileNotFoundError:
    raise UserError(f"{path}: no such file") from None
  except PermissionError:
    raise UserError(f"{path}: not readable; check its permissions") from None


def _text(line: bytes, where: str) -> str:
  if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
    raise UserError(f"{where}: is UTF-16; save the file as UTF-8")
  if b"\0" in line:
    raise UserError(f"{where}: holds a NUL byte; is this a text file?")
  try:
    return line.decode("utf-8")
  except UnicodeDecodeError as e:
    raise UserError(f"{where}: not UTF-8 (byte {e.start}); save the file as UTF-8") from None


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
  # Only \n ends a line: U+2028 and its kin are content of a JSON string.
  number = 0
  while True:
    try:
      line = file.readline(MAX_LINE_BYTES + 1)
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as e:
      kind = "gzip" if path.suffix == ".gz" else path.suffix[1:]
      raise UserError(f"{path}: the {kind} file is damaged or cut short ({e})") from None
    if not line:
      return
    number += 1
    if len(line) > MAX_LINE_BYTES:
      raise UserError(f"{path}:{number}: a line longer than {MAX_LINE_BYTES >> 20} MiB")
    if number == 1:
      line = line.removeprefix(b"\xef\xbb\xbf")
    yield number, line.rstrip(b"\r\n")


def _array_rows(text: str, path: Path, start: int, inside: bool) -> Iterator[tuple[int, Any]]:
  """The elements of the JSON array that opens at `start`, with the line each starts on."""
  at, line, counted, first = start + 1, 1, 0, True
  suspect = _SURROGATE.search(text)

  def skip_space() -> None:
    nonlocal at, line, counted
    at = _SPACE.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]
    line += text.count("\n", counted, at)
    counted = at

  while True:
    skip_space()
    if at >= len(text):
      raise UserError(f"{path}:{line}: the list is not closed; is the file cut short?")
    if text[at] == "]":
      if text[at + 1 :].strip() and not inside:
        raise UserError(f"{path}:{line}: text after the end of the list")
      return
    if not first:
      if text[at] != ",":
        raise UserError(f"{path}:{line}: not valid JSON: found {text[at]!r}, expected a comma or ]")
      at += 1
      skip_space()
    first = False
    try:
      row, at = _DECODER.raw_decode(text, at)
      if suspect:
        _check_surrogates(row)
    except RecursionError:
      raise UserError(f"{path}:{line}: nested too deeply to be a record") from None
    except json.JSONDecodeError as e:
      bad = 1 + text.count("\n", 0, e.pos)
      raise UserError(f"{path}:{bad}: not valid JSON: {e.msg}") from None
    except ValueError as e:
      raise UserError(f"{path}:{line}: not valid JSON: {e}") from None
    yield line, row


def read_rows(
  path: str | Path, on_bad: Callable[[int, str], None] | None = None, *, may_be_empty: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
  """(line number, object) of .jsonl, a .json list, .csv or .tsv, packed or not, Parquet or Arrow.

  JSONL is read line by line in bounded memory; a .json list is parsed element by element. A .json
  file may also be one object that holds its rows under a key, or is itself the only row.

  Args:
    on_bad: is told (line, what is wrong) of a line that is no object, and reading goes on;
      without it such a line is refused.
    may_be_empty: whether a file without rows is fine.

  Raises: UserError naming file and line for anything that is not a JSON object: bytes that are
    not UTF-8, NUL, NaN or Infinity, half a surrogate pair, duplicate keys, a line of more than
    64 MiB, a damaged gzip.
  """
  path, empty = Path(path), True

  def bad(line: int, why: str) -> None:
    nonlocal empty
    empty = False
    if on_bad is None:
      raise UserError(f"{path}:{line}: {why}")
    on_bad(line, why)

  read = tables.READERS.get(_plain_suffix(path))
  for number, row in read(path, open_bytes, bad) if read else _json_rows(path, bad):
    if isinstance(row, dict):
      empty = False
      yield number, row
    else:
      bad(number, f"found {type(row).__name__}; expected a JSON object")
  if empty and not may_be_empty:
    raise UserError(f"{path}: holds no rows")


def _json_rows(path: Path, on_bad: Callable[[int, str], None]) -> Iterator[tuple[int, Any]]:
  is_list = _plain_suffix(path) == ".json"
  with open_bytes(path) as file:
    lines = _lines(file, path)
    first = next(lines, (1, b""))
    lines = itertools.chain([first], lines)
    if is_list or first[1].lstrip().startswith(b"["):
      text = "\n".join(_text(line, f"{path}:{n}") for n, line in lines)
      start = len(text) - len(text.lstrip())
      if text[start : start + 1] == "[":
        yield from _array_rows(text, path, start, inside=False)
        return
      if text[start : start + 1] == "{" and (whole := _whole_object(text, path)) is not None:
        yield from _object_rows(*whole, text, path)
        return
      lines = ((n, line.encode()) for n, line in enumerate(text.split("\n"), 1))
    for number, line in lines:
      if not line.strip():
        continue
      where = f"{path}:{number}"
      try:
        yield number, decode(_text(line, where), where)
      except UserError as e:
        on_bad(number, str(e).removeprefix(f"{where}: "))


# What the rows of data sets are called in files that are one object, …
ROW_LISTS = ("data", "rows", "examples", "train", "items", "records", "samples", "dataset")
# … and columns that show that the items of a list are rows, under whatever name it stands.
_ROW_COLUMNS = {"messages", "conversations", "instruction", "prompt", "chosen", "question"}


def _whole_object(text: str, path: Path) -> tuple[dict[str, Any], dict[str, int]] | None:
  """The only object of a text, and where the value of each key starts; None where there are more.

  Rows as lines, each an object, are more; so is what is not JSON, which lines will tell.
  """
  try:
    start = len(text) - len(text.lstrip())
    value, end = _DECODER.raw_decode(text, start)
    if text[end:].strip():
      return None
  except RecursionError:
    raise UserError(f"{path}:1: nested too deeply to be a record") from None
  except json.JSONDecodeError as e:
    line = 1 + text.count("\n", 0, e.pos)
    if line == 1 or _is_object(text.lstrip().partition("\n")[0]):
      return None
    raise UserError(f"{path}:{line}: not valid JSON: {e.msg}") from None
  except ValueError as e:
    raise UserError(f"{path}:1: not valid JSON: {e}") from None
  if _SURROGATE.search(text):
    try:
      _check_surrogates(value)
    except ValueError as e:
      raise UserError(f"{path}:1: not valid JSON: {e}") from None
  return value, _starts(text, start)


def _is_object(line: str) -> bool:
  try:
    return isinstance(_DECODER.decode(line), dict)
  except (ValueError, RecursionError):
    return False


def _starts(text: str, at: int) -> dict[str, int]:
  """Where the value of each key of the object at `at` starts; the text is valid JSON."""
  starts: dict[str, int] = {}
  skip = lambda i: _SPACE.match(text, i).end()  # pyright: ignore[reportOptionalMemberAccess]
  at = skip(at + 1)
  while text[at] != "}":
    key, at = _DECODER.raw_decode(text, at)
    starts[key] = skip(skip(at) + 1)
    _, at = _DECODER.raw_decode(text, starts[key])
    at = skip(at)
    if text[at] == ",":
      at = skip(at + 1)
  return starts


def _object_rows(
  value: dict[str, Any], starts: dict[str, int], text: str, path: Path
) -> Iterator[tuple[int, Any]]:
  """The rows that an object holds under a key, or the object itself where it is a row."""
  lists = {
    name: items
    for name, items in value.items()
    if isinstance(items, list) and items and all(isinstance(item, dict) for item in items)
  }
  by_name = [name for name in lists if name.lower() in ROW_LISTS]
  found = by_name or [n for n, items in lists.items() if _ROW_COLUMNS & items[0].keys()]
  if not found or _ROW_COLUMNS & value.keys():
    yield 1 + text.count("\n", 0, len(text) - len(text.lstrip())), value
    return
  if len(found) > 1:
    raise UserError(
      f"{path}: holds several lists of rows ({', '.join(found)}); make a file of each"
    )
  yield from _array_rows(text, path, starts[found[0]], inside=True)


def finite(value: Any) -> Any:
  """The value with None, JSON's null, for every number in it that is NaN or infinite."""
  if isinstance(value, dict):
    return {name: finite(v) for name, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [finite(v) for v in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(row: Any, indent: int | None = None) -> str:
  """JSON, which has no NaN and no infinity. Raises UserError for a value that holds one."""
  try:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, indent=indent)
  except ValueError:
    if finite(row) == row:
      raise
    names = [k for k, v in row.items() if finite(v) != v] if isinstance(row, dict) else []
    raise UserError(
      f"a number to be written is not finite (NaN or infinity){': ' * bool(names)}"
      f"{', '.join(map(str, names[:3]))}; the model's numbers overflow, or its weights are damaged"
    ) from None


def write_atomic(path: str | Path, text: str) -> Path:
  """Writes a text file that is either whole or not there: temporary name, fsync, rename.

  Of several processes the first writes alone; the others do nothing.
  """
  path = Path(path)
  if not system.leads():
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with temporary.open("w", encoding="utf-8", newline="\n") as f:
      f.write(text)
      f.flush()
      os.fsync(f.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  return path


def sweep(folder: Path) -> None:
  """Removes what a kill left of files that were being written, anywhere under a folder."""
  for path in folder.rglob(".*.tmp"):
    path.unlink(missing_ok=True)


def write_rows(path: str | Path, rows: Iterable[Any]) -> Path:
  """Writes JSONL atomically."""
  return write_atomic(path, "".join(dumps(row) + "\n" for row in rows))


def write_json(path: str | Path, value: Any) -> Path:
  """Writes one JSON value, indented, atomically."""
  return write_atomic(path, dumps(value, indent=1) + "\n")
