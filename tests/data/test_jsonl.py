"""Files in and out: containers, strictness, whole or not there."""

import gzip
import json
import os
import sys

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl

ROWS = [{"prompt": "Hi?"}, {"prompt": "Why\u2028not?\x85"}, {"prompt": "Ünï\n🙂"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz"])
def test_every_container_gives_the_same_rows(name, write):
  assert [row for _, row in jsonl.read_rows(write(name, ROWS))] == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_rows_carry_the_line_they_start_on(name, write):
  content = {
    "a.jsonl": b'{"a": 1}\n\n  \n{"a": 2}\r\n{"a": 3}',
    "a.json": b'[{"a":\n1},\n\n{"a": 2}\n, {"a":\n 3}\n]\n',
  }[name]
  lines = [line for line, _ in jsonl.read_rows(write(name, content))]
  assert lines == {"a.jsonl": [1, 4, 5], "a.json": [1, 4, 5]}[name]


def test_a_json_file_may_hold_lines_too(write):
  assert len(list(jsonl.read_rows(write("a.json", b'{"a": 1}\n{"a": 2}\n')))) == 2


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(write):
  path = write("a.jsonl", b'\xef\xbb\xbf{"a": "b"}\r\n{"a": "c"}\r\n')
  assert [row["a"] for _, row in jsonl.read_rows(path)] == ["b", "c"]


@pytest.mark.parametrize(
  ("content", "says"),
  [
    (b'{"a": 1}\n{"a": \n', ":2: not valid JSON: Expecting value at column 7"),
    (b'{"a": 1}\n{"a": NaN}\n', ":2: not valid JSON: NaN is not JSON"),
    (b'{"a": -Infinity}\n', ":1: not valid JSON: -Infinity is not JSON"),
    (b'{"a": 1e999}\n', ":1: not valid JSON: number 1e999 is too large"),
    (b'{"a": 1, "a": 2}\n', ":1: not valid JSON: key 'a' appears twice"),
    (b"{'a': 1}\n", ":1: not valid JSON"),
    (b'{"a": 1} {"a": 2}\n', ":1: not valid JSON: Extra data"),
    (b'{"a": "x\ty"}\n', ":1: not valid JSON: Invalid control character"),
    (b'{"a": "\\ud83d"}\n', ":1: not valid JSON: half a surrogate pair"),
    (b"[1, 2]\n", ":1: found int; expected a JSON object"),
    (b'{"a": 1}\n[{"a": 2}]\n', ":2: found list; expected a JSON object"),
    (b'{"a": 1}\n"text"\n', ":2: found str; expected a JSON object"),
    (b'{"a": "\xff"}\n', ":1: not UTF-8 (byte 7)"),
    ('{"a": 1}\n'.encode("utf-16"), ":1: is UTF-16; save the file as UTF-8"),
    (b'{"a": "\0"}\n', ":1: holds a NUL byte"),
    (b"[" * 100_000, ":1: nested too deeply"),
    (b"\n\n", ": holds no rows"),
    (b"", ": holds no rows"),
  ],
)
def test_what_is_not_strict_json_is_refused_by_line(content, says, write):
  path = write("a.jsonl", content)
  with pytest.raises(UserError) as e:
    list(jsonl.read_rows(path))
  assert str(e.value).startswith(f"{path}{says}")
  assert "\n" not in str(e.value)


@pytest.mark.parametrize(
  ("content", "says"),
  [
    (b'[{"a": 1},\n{"a": 2}', ":2: the list is not closed"),
    (b'[{"a": 1}\n{"a": 2}]', ":2: not valid JSON: found '{', expected a comma"),
    (b'[{"a": 1},]', ":1: not valid JSON: Expecting value"),
    (b'[,{"a": 1}]', ":1: not valid JSON: Expecting value"),
    (b'[{"a": 1},,{"a": 2}]', ":1: not valid JSON: Expecting value"),
    (b'[{"a": 1}] {}', ":1: text after the end of the list"),
    (b'[\n{"a": 1},\n{"a": "\\uDC00"}]', ":3: not valid JSON: half a surrogate pair"),
    (b'[\n{"a": 1},\n7]', ":3: found int; expected a JSON object"),
    (b'[\n{"a": 1},\n{"a":\n NaN}]', ":3: not valid JSON: NaN is not JSON"),
    (b"[]", ": holds no rows"),
  ],
)
def test_a_list_is_as_strict(content, says, write):
  path = write("a.json", content)
  with pytest.raises(UserError) as e:
    list(jsonl.read_rows(path))
  assert str(e.value).startswith(f"{path}{says}")


def test_a_whole_surrogate_pair_and_an_escaped_backslash_are_text(write):
  path = write("a.jsonl", rb'{"a": "\ud83d\ude42", "b": "\\ud83d"}')
  assert [row for _, row in jsonl.read_rows(path)] == [{"a": "🙂", "b": "\\ud83d"}]


def test_a_damaged_gzip_is_refused(tmp_path):
  whole = gzip.compress(b'{"a": 1}\n' * 1000)
  for blob in (whole[:-20], whole[:-8] + b"checksum", b"no gzip at all"):
    (tmp_path / "a.jsonl.gz").write_bytes(blob)
    with pytest.raises(UserError, match="gzip file is damaged or cut short"):
      list(jsonl.read_rows(tmp_path / "a.jsonl.gz"))


def test_a_line_without_end_is_refused_in_bounded_memory(write, monkeypatch):
  monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 2**20)
  with pytest.raises(UserError, match=":1: a line longer than 1 MiB"):
    list(jsonl.read_rows(write("a.jsonl", b"x" * (2**20 + 1))))


def test_what_is_no_file_gets_a_line(tmp_path):
  for path, says in ((tmp_path / "none.jsonl", "no such file"), (tmp_path, "is a folder")):
    with pytest.raises(UserError, match=says):
      list(jsonl.read_rows(path))


def test_written_rows_are_read_back(tmp_path):
  path = jsonl.write_rows(tmp_path / "new" / "a.jsonl", ROWS)
  assert [row for _, row in jsonl.read_rows(path)] == ROWS
  assert path.read_bytes().count(b"\n") == len(ROWS)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
  path = jsonl.write_rows(tmp_path / "a.jsonl", ROWS)

  def rows():
    yield {"a": 1}
    raise RuntimeError("the source failed")

  with pytest.raises(RuntimeError):
    jsonl.write_rows(path, rows())
  with pytest.raises(ValueError, match="a number to be written is not finite"):
    jsonl.write_rows(path, [{"a": float("nan")}])

  def no_room(*_):
    raise OSError(28, "No space left on device")

  for act in ("fsync", "replace"):
    with monkeypatch.context() as patch:
      patch.setattr(os, act, no_room)
      with pytest.raises(OSError, match="No space"):
        jsonl.write_json(path, {"a": 1})
  assert [row for _, row in jsonl.read_rows(path)] == ROWS
  assert os.listdir(tmp_path) == ["a.jsonl"]


def test_parquet_rows_are_read(tmp_path):
  pq = pytest.importorskip("pyarrow.parquet", reason="reading Parquet needs pyarrow")
  import pyarrow as pa

  path = tmp_path / "a.parquet"
  pq.write_table(pa.Table.from_pylist([{"instruction": "Hi?", "output": "Hello."}]), path)
  [example] = formats.read_examples(path)
  assert [m.content for m in example.messages] == ["Hi?", "Hello."]
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(UserError, match="not a readable Parquet file"):
    list(jsonl.read_rows(path))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
  with pytest.raises(UserError, match=r"pip install 'xwinjax\[parquet\]'"):
    list(jsonl.read_rows(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
  ("text", "lines"),
  [
    ('{"version": 1, "data": [\n{"a": 1},\n{"a": 2}\n], "note": "[x]"}', [2, 3]),
    ('\n{"meta": {"data": [1]},\n "items": [{"a": 1}, {"a": "]"}]\n}\n', [3, 3]),
    ('{"questions": [\n\n{"instruction": "Hi?", "output": "{"}\n]}', [3]),
  ],
)
def test_an_object_around_the_rows_is_taken_off(text, lines, write):
  rows = list(jsonl.read_rows(write("a.json", text.encode())))
  assert [line for line, _ in rows] == lines
  value = json.loads(text)
  assert [row for _, row in rows] == value.get("data", value.get("items", value.get("questions")))


@pytest.mark.parametrize(
  "row",
  [
    {"messages": [{"role": "user", "content": "Hi?"}]},
    {"instruction": "Hi?", "instances": [{"input": "", "output": "x"}]},
    {"prompt": "Hi?", "candidates": [{"text": "x"}]},
    {"a": [{"b": 1}]},
    {"data": []},
  ],
)
def test_an_object_that_is_a_row_stays_one(row, write):
  text = json.dumps(row, indent=1)
  assert [r for _, r in jsonl.read_rows(write("a.json", text.encode()))] == [row]


@pytest.mark.parametrize(
  ("text", "says"),
  [
    ('{"train": [{"a": 1}], "data": [{"a": 1}]}', ": holds several lists of rows (train, data)"),
    ('{"data": [\n{"a": 1},\n{"a": }]}', ":3: not valid JSON: Expecting value"),
    ('{"data": [\n{"a": 1}', ":2: not valid JSON"),
    ('{"data": [{"a": NaN}]}', ":1: not valid JSON: NaN is not JSON"),
    ('{"data": [{"a": "\\ud800"}]}', ":1: not valid JSON: half a surrogate pair"),
  ],
)
def test_an_object_around_rows_is_as_strict(text, says, write):
  path = write("a.json", text.encode())
  with pytest.raises(UserError) as e:
    list(jsonl.read_rows(path))
  assert str(e.value).startswith(f"{path}{says}")


def test_a_list_is_read_whatever_the_file_is_called(write):
  assert len(list(jsonl.read_rows(write("a.jsonl", b'[\n {"a": 1},\n {"a": 2}\n]')))) == 2
