"""Rows of one meaning come back equal from every format; broken rows never come back otherwise."""

import csv
import json
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from meanings import ROLE_OF, TOKEN, broken, conversation_rows, meanings, pair_rows

from xwinjax.core.errors import UserError
from xwinjax.data import formats, rows, turns
from xwinjax.data.records import UNUSED, Counts, Example, Message, Pair

READERS = {
  "examples": (formats.read_examples, conversation_rows),
  "prompts": (formats.read_prompts, lambda m: conversation_rows(m) | pair_rows(m)),
  "pairs": (formats.read_pairs, pair_rows),
}
FAST = settings(
  max_examples=40,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SLOW = settings(FAST, max_examples=1000)
UNSHRUNK = settings(FAST, max_examples=100, phases=[Phase.generate])


def read_row(read, row, folder, format="auto"):
  """(the record or None, counts) of a file with this row."""
  path, counts = folder / "row.jsonl", Counts()
  path.write_text(json.dumps({"id": "x", **row}) + "\n", encoding="utf-8")
  records = list(read(path, format, counts))
  return (records[0] if records else None), counts


def write_as(ending, row, folder):
  """The row alone in a file of a kind."""
  path, row = folder / f"row.{ending}", {"id": "x", **row}
  if ending == "csv":
    with path.open("w", encoding="utf-8", newline="") as f:
      writer = csv.writer(f)
      writer.writerow(row)
      writer.writerow(v if isinstance(v, str) else json.dumps(v) for v in row.values())
  elif ending == "parquet":
    table = pytest.importorskip("pyarrow").Table.from_pylist([row])
    pytest.importorskip("pyarrow.parquet").write_table(table, path)
  else:
    value = {"version": 1, "data": [row]} if ending == "object.json" else [row]
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
  return path


def fits_csv(row):
  """Whether cells of text say it all: turns do as JSON text, lists of texts and numbers do not."""
  held = [v for v in row.values() if not isinstance(v, str)]
  return "instances" not in row and all(
    turns.names_of(v) and "type" not in json.dumps(v) for v in held
  )


@pytest.mark.parametrize("ending", ["json", "object.json", "csv", "parquet"])
@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
@settings(FAST, max_examples=8)
def test_every_kind_of_file_says_the_same(kind, ending, data, tmp_path):
  read, write = READERS[kind]
  for name, row in write(data.draw(meanings())).items():
    if ending == "csv" and (not fits_csv(row) or "\x00" in json.dumps(row)):
      continue
    expected, _ = read_row(read, row, tmp_path)
    assert list(read(write_as(ending, row, tmp_path))) == [expected], (name, row)


def check_equal(kind, meaning, folder):
  read, write = READERS[kind]
  expected = {
    "examples": Example("x", meaning.messages()),
    "prompts": Example("x", meaning.prompt()),
    "pairs": Pair("x", meaning.prompt(), meaning.turns[-1][1], meaning.rejected),
  }[kind]
  for name, row in write(meaning).items():
    record, counts = read_row(read, row, folder)
    assert record == expected, (name, row, counts)


@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
@FAST
def test_every_format_says_the_same(kind, data, tmp_path):
  check_equal(kind, data.draw(meanings()), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
@settings(FAST, max_examples=300)
def test_every_format_says_the_same_of_many(kind, data, tmp_path):
  check_equal(kind, data.draw(meanings()), tmp_path)


def strings(value):
  if isinstance(value, str):
    yield value
  elif isinstance(value, (dict, list)):
    for inner in value.values() if isinstance(value, dict) else value:
      yield from strings(inner)


def said(record):
  """The turns of a record, answers too."""
  if isinstance(record, Example):
    return record.messages
  return (*record.prompt, *(Message("assistant", t) for t in (record.chosen, record.rejected)))


def unmarked(row):
  """Tokens of turns that a mark of their own keeps from being trained on, and of no others."""
  found, everywhere = set(), Counts(t for text in strings(row) for t in TOKEN.findall(text))
  for value in row.values():
    for turn in value if isinstance(value, list) else []:
      marks = [turn.get(k) for k in ("weight", "train", "loss")] if isinstance(turn, dict) else []
      if any(mark in (0, False) and mark is not None for mark in marks):
        found |= {token for text in strings(turn) for token in TOKEN.findall(text)}
  return {token for token in found if everywhere[token] == 1}


def check_faithful(kind, row, record, counts):
  """No token of a row changed its role, was trained on against its mark, or vanished in silence."""
  kept = set()
  for m in said(record):
    for token in TOKEN.findall(m.content):
      kept.add(token)
      assert ROLE_OF[token[0]] == m.role, (token, m.role, row)
      if kind == "examples" and m.role == "assistant" and m.train:
        assert token not in unmarked(row), (token, row)
  if any(name.startswith("changed") for name in counts):
    return
  for column, value in row.items():
    missing = {t for text in strings(value) for t in TOKEN.findall(text)} - kept
    if kind == "prompts":
      missing = {token for token in missing if token[0] != "a"}
    told = [name for name in counts if name.startswith(f"{UNUSED}{column}")]
    assert not missing or told, (column, missing, row, counts)


def check_line(text, folder):
  assert "\n" not in text
  assert text.startswith(f"{folder / 'row.jsonl'}:1: ")


def check_broken(kind, row, folder) -> str:
  """records, dropped or refused; anything else fails."""
  try:
    record, counts = read_row(READERS[kind][0], row, folder)
  except UserError as e:
    check_line(str(e), folder)
    return "refused"
  if record is None:
    assert sum(n for name, n in counts.items() if name.startswith("dropped")) == 1, counts
    return "dropped"
  check_faithful(kind, row, record, counts)
  return "records"


def broken_row(kind, data):
  written = READERS[kind][1](data.draw(meanings()))
  row = written[data.draw(st.sampled_from(sorted(written)))]
  return broken(row, random.Random(data.draw(st.integers(0, 2**32))))


@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
@FAST
def test_broken_rows_are_right_or_refused(kind, data, tmp_path):
  check_broken(kind, broken_row(kind, data), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
@SLOW
def test_a_thousand_broken_rows_are_right_or_refused(kind, data, tmp_path):
  check_broken(kind, broken_row(kind, data), tmp_path)


@pytest.mark.parametrize("kind", READERS)
def test_broken_rows_come_to_different_ends(kind, tmp_path):
  ends = Counts()

  @given(data=st.data())
  @UNSHRUNK
  def count(data):
    ends[check_broken(kind, broken_row(kind, data), tmp_path)] += 1

  count()
  assert min(ends["records"], ends["refused"]) >= 5, ends


TWINS = {
  "a role is taken for another": (turns, "ROLES", {**turns.ROLES, "gpt": "user", "human": "user"}),
  "marks are not read": (turns, "MARKS", {}),
  "a row's mask is not read": (turns, "with_loss_mask", lambda messages, _: messages),
  "the system column is not read": (formats, "SYSTEM", ()),
  "transcripts are not recognised": (turns, "is_transcript", lambda _: False),
  "texts of JSON are not recognised": (turns, "decoded", lambda value: value),
}


@pytest.mark.parametrize("name", TWINS)
def test_twin_a_reader_that_errs_is_found(name, tmp_path, monkeypatch):
  @given(meaning=meanings())
  @UNSHRUNK
  def all_equal(meaning):
    for kind in READERS:
      check_equal(kind, meaning, tmp_path)

  monkeypatch.setattr(*TWINS[name])
  with pytest.raises((AssertionError, UserError)):
    all_equal()


def test_twin_columns_that_vanish_are_found(tmp_path, monkeypatch):
  monkeypatch.setattr(formats, "_account", lambda *_: None)
  with pytest.raises(AssertionError):
    check_broken("examples", {"instruction": "q#1#", "output": "a#1#", "x": "q#2#"}, tmp_path)


def test_twin_a_traceback_is_found(tmp_path, monkeypatch):
  monkeypatch.setattr(rows.fields, "MISTAKES", (UnicodeError,))
  with pytest.raises(ValueError, match="unknown format"):
    check_broken("examples", {"x": 1}, tmp_path)
