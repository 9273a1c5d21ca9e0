"""Several files as one data set, and rows that cannot be used."""

import json
import shutil
import tracemalloc

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl, rows
from xwinjax.data.records import Counts, counted

GOOD = {"prompt": "Hi?", "completion": "Hello."}


def write(path, *questions):
  return jsonl.write_rows(path, [{**GOOD, "prompt": q} for q in questions])


def questions(spec, **more):
  return [e.messages[0].content for e in formats.read_examples(spec, **more)]


def test_a_folder_a_pattern_and_a_list_are_one_data_set(tmp_path):
  for name in ("b", "a", "c"):
    write(tmp_path / "d" / f"{name}.jsonl", f"{name}1", f"{name}2")
  (tmp_path / "d" / "README.md").write_text("about")
  (tmp_path / "d" / "dataset_infos.json").write_text("{}")
  in_order = ["a1", "a2", "b1", "b2", "c1", "c2"]
  assert questions(tmp_path / "d") == in_order
  assert questions(f"{tmp_path}/d/*.jsonl") == in_order
  assert questions(f"{tmp_path}/*/[ab].jsonl") == in_order[:4]
  assert questions(f"{tmp_path}/d/c.jsonl, {tmp_path}/d/a.jsonl") == ["c1", "c2", "a1", "a2"]


def test_a_name_with_a_comma_or_a_star_is_a_file(tmp_path):
  assert questions(write(tmp_path / "a,b*.jsonl", "1")) == ["1"]


def test_shards_of_the_hub_are_read_in_order(tmp_path):
  pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
  for i in (1, 0):
    turns = [{"role": r, "content": f"{r}{i}", "name": None} for r in ("user", "assistant")]
    path = tmp_path / "data" / f"train-0000{i}-of-00002.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{"messages": turns, "chosen": None}]), path)
  assert questions(tmp_path) == ["user0", "user1"]
  assert questions(path) == ["user0"]
  path.unlink()
  with pytest.raises(UserError, match="data: holds 1 of 2 shards of 'train'"):
    questions(tmp_path)
  assert questions(f"{tmp_path}/data/train-*") == ["user1"]  # what a pattern says is meant


def test_the_hubs_cache_is_read_once(tmp_path):
  blob = write(tmp_path / "blobs" / "0123", "Q")
  snapshot = tmp_path / "snapshots" / "abc" / "data"
  snapshot.mkdir(parents=True)
  (snapshot / "train.jsonl").symlink_to(blob)
  assert questions(tmp_path) == ["Q"]
  shutil.copytree(tmp_path / "snapshots" / "abc", tmp_path / "snapshots" / "def", symlinks=True)
  with pytest.raises(UserError, match="holds 2 snapshots"):
    questions(tmp_path)


@pytest.mark.parametrize(
  ("names", "says"),
  [
    (["train.jsonl", "test.jsonl"], "holds several splits (test, train); name one by a pattern"),
    (["train/a.jsonl", "validation/a.jsonl"], "several splits (train, validation)"),
    (
      ["x/train_sft-00000-of-00001.jsonl", "x/test_sft-00000-of-00001.jsonl"],
      "several splits (test_sft, train_sft)",
    ),
    (["a.jsonl", "a.json"], "several kinds of files (.json, .jsonl)"),
    (["notes.md"], "holds no data files (.md)"),
    ([], "holds no data files (nothing)"),
  ],
)
def test_a_folder_of_more_than_one_data_set_is_refused(names, says, tmp_path):
  for name in names:
    write(tmp_path / name, "Q")
  with pytest.raises(UserError) as e:
    rows.files(tmp_path)
  assert says in str(e.value)


@pytest.mark.parametrize(
  ("spec", "says"),
  [
    ("none.jsonl", "no such file"),
    ("none-*.jsonl", "no file fits this pattern"),
    ("a.jsonl,none.jsonl", "none.jsonl: no such file"),
    ("a.jsonl,a.jsonl", "is named twice"),
    ("a.xlsx", "a .xlsx file; save its rows as .jsonl"),
  ],
)
def test_what_is_not_there_gets_a_line(spec, says, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / "a.jsonl", "Q")
  (tmp_path / "a.xlsx").write_text("prompt\nQ\n")
  with pytest.raises(UserError, match=says):
    rows.files(spec)


@pytest.fixture
def bad_file(tmp_path):
  """Six good rows; a tool call, text for a number, half a line, a NUL, and two tool calls more."""
  tool = {"messages": [{"role": "tool", "content": "12:00"}]}
  ask = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": 5}]}
  lines = [GOOD, GOOD, tool, GOOD, ask, "{", "\0", GOOD, tool, tool, GOOD, GOOD]
  text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
  path = tmp_path / "bad.jsonl"
  path.write_bytes(text.encode())
  return path


def test_bad_rows_stop_with_the_first_three_and_a_count_by_reason(bad_file):
  with pytest.raises(UserError) as e:
    questions(bad_file)
  role = "role 'tool' is not one of system, user, assistant"
  assert str(e.value) == (
    f"{bad_file}:3: messages[0]: {role}; "
    f"{bad_file}:5: messages[1]: field 'content': found int, expected text; "
    f"{bad_file}:6: not valid JSON: Expecting property name enclosed in double quotes at column 2; "
    f"6 bad rows: messages: {role} 3, messages: field 'content': found int, expected text 1, "
    "not valid JSON: Expecting property name enclosed in double quotes 1, "
    "holds a NUL byte; is this a text file? 1. Mend, or leave out with bad_rows=skip"
  )


def test_bad_rows_are_skipped_and_counted(bad_file, capsys):
  counts = Counts()
  assert questions(bad_file, counts=counts, bad_rows="skip") == ["Hi?"] * 6
  assert (counts["read"], counts["kept"]) == (12, 6)
  assert sum(n for name, n in counts.items() if name.startswith("skipped: ")) == 6
  assert counts["skipped: messages: role 'tool' is not one of system, user, assistant"] == 3
  said = capsys.readouterr().err
  assert said.startswith(f"left out: {bad_file}:3: ")
  assert said.count("\n") == 1


def test_a_limit_that_is_reached_before_a_bad_row_is_not_stopped_by_it(bad_file):
  examples = formats.read_examples(bad_file)
  assert [next(examples).id for _ in range(2)] == ["bad-1", "bad-2"]
  with pytest.raises(UserError, match=r"bad\.jsonl:3: "):
    next(examples)


def test_the_file_of_a_bad_row_is_named(tmp_path):
  write(tmp_path / "a.jsonl", "Q")
  (tmp_path / "b.jsonl").write_text('{"prompt": 7}\n')
  with pytest.raises(UserError) as e:
    questions(f"{tmp_path}/*.jsonl")
  assert str(e.value).startswith(f"{tmp_path}/b.jsonl:1: ")


def test_a_damaged_file_is_refused_even_where_rows_are_skipped(tmp_path):
  path = tmp_path / "a.json"
  path.write_text('[{"prompt": "Q", "completion": "A"}')
  with pytest.raises(UserError, match="the list is not closed"):
    questions(path, bad_rows="skip")


def test_one_of_several_files_may_be_empty(tmp_path):
  write(tmp_path / "a.jsonl")
  write(tmp_path / "b.jsonl", "Q")
  assert questions(tmp_path) == ["Q"]
  with pytest.raises(UserError, match=r"a\.jsonl: holds no rows"):
    questions(tmp_path / "a.jsonl")
  write(tmp_path / "b.jsonl")
  with pytest.raises(UserError, match="holds no rows"):
    questions(tmp_path)


def test_bad_rows_is_stop_or_skip(tmp_path):
  with pytest.raises(UserError, match="bad_rows 'drop' is not one of stop, skip"):
    questions(write(tmp_path / "a.jsonl", "Q"), bad_rows="drop")


def test_a_line_names_unused_columns_once():
  counts = Counts({"read": 9, "kept": 9, "unused column: id": 9, "unused column: a": 2})
  assert counted("f", counts) == "f: read 9 · kept 9 · unused columns: a, id"


def test_many_rows_say_how_far_they_are(tmp_path, monkeypatch, capsys):
  path = write(tmp_path / "a.jsonl", *map(str, range(10_000)))
  monkeypatch.setattr(rows, "SAY_EVERY", 0.0)
  assert len(questions(path)) == 10_000
  assert f"reading {path}: 4096 rows so far" in capsys.readouterr().err


def test_rows_are_read_in_bounded_memory(tmp_path):
  path = write(tmp_path / "many.jsonl", *(f"{i} {'long ' * 40}" for i in range(20_000)))
  tracemalloc.start()
  for _ in formats.read_examples(path):
    pass
  _, most = tracemalloc.get_traced_memory()
  kept = list(formats.read_examples(path))  # the twin
  _, all_kept = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert most < 2**20 < path.stat().st_size < all_kept
  assert len(kept) == 20_000
