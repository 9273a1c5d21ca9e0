"""Rows of one meaning come back equal from every format; broken rows never come back otherwise."""

import csv
import json
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from meanings import ROLE_OF, TOKEN, broken, conversation_rows, meanings, pair_rows, prompt_rows

from xwinjax.core.errors import UserError
from xwinjax.data import formats, rows, turns
from xwinjax.data.records import UNUSED, Counts, Example, Message, Pair

READERS = {
  "examples": (formats.read_examples, conversation_rows),
  "prompts": (formats.read_prompts, lambda m: conversation_rows(m) | pair_rows(m) | prompt_rows(m)),
  "pairs": (formats.read_pairs, pair_rows),
}
FAST = settings(
  max_examples=40,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Rows of each format that are broken; more in a night: XWINJAX_MUTATIONS=1000 pytest -s …
MUTATIONS = int(os.environ.get("XWINJAX_MUTATIONS", "40"))
A_MEANING = 10
PROMPTS_ALONE = ("mt_bench", "candidates")
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
  """Whether cells of text say it all: turns do as JSON text, trees, lists and numbers do not."""
  held = [v for v in row.values() if not isinstance(v, str)]
  return not {"instances", "candidates"} & row.keys() and all(
    turns.names_of(v) and not any(f'"{name}":' in json.dumps(v) for name in ("type", "replies"))
    for v in held
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
  """Every text in a row; of a text that holds JSON those in it."""
  if isinstance(value, (dict, list)):
    for inner in value.values() if isinstance(value, dict) else value:
      yield from strings(inner)
  elif isinstance(value, str):
    inside = from_json(value)
    yield from strings(inside) if isinstance(inside, (dict, list)) else [value]


def from_json(value):
  """What a text of JSON holds, else the value."""
  try:
    return json.loads(value) if isinstance(value, str) else value
  except ValueError:
    return value


def tokens(value):
  return [t for text in strings(value) for t in TOKEN.findall(text)]


def said(record):
  """The turns of a record, answers too."""
  if isinstance(record, Example):
    return record.messages
  return (*record.prompt, *(Message("assistant", t) for t in (record.chosen, record.rejected)))


def unmarked(row):
  """Tokens of turns that a mark of their own keeps from being trained on, and of no others."""
  found, everywhere = set(), Counts(tokens(row))
  mask = row.get("loss_mask")
  for value in map(from_json, row.values()):
    talk = value if isinstance(value, list) else []
    of_row = mask if isinstance(mask, list) and len(mask) == len(talk) else [1] * len(talk)
    for turn, on in zip(talk, of_row, strict=True):
      marks = [turn.get(k) for k in ("weight", "train", "loss")] if isinstance(turn, dict) else []
      if any(mark in (0, False) and mark is not None for mark in [*marks, on]):
        found |= set(tokens(turn))
  return {token for token in found if everywhere[token] == 1}


def check_roles(kind, row, record, counts):
  """No token of a row changed its role unsaid, or was trained on against its mark."""
  if formats.DIALOGUES in counts:
    return
  for m in said(record):
    for token in TOKEN.findall(m.content):
      assert ROLE_OF[token[0]] == m.role, (token, m.role, row)
      if kind == "examples" and m.role == "assistant" and m.train:
        assert token not in unmarked(row), (token, row)


def check_texts(row, record):
  """A text that is kept is kept whole: only white space around it may be gone."""
  texts = [text.replace("\r\n", "\n").strip() for text in strings(row)]
  for m in said(record):
    content = m.content.replace("\r\n", "\n").strip()
    for token in TOKEN.findall(content):
      held = [text for text in texts if token in text]
      several = [t for t in held if len(TOKEN.findall(t)) > 1 or "Human:" in t]  # transcripts
      assert any(t in content for t in held) or any(content in t for t in several), (m, row)


def check_lost(kind, row, record, counts):
  """Nothing vanished in silence."""
  if any(name.startswith("changed") for name in counts):
    return
  kept = {token for m in said(record) for token in TOKEN.findall(m.content)}
  for column, value in row.items():
    missing = set(tokens(value)) - kept
    if kind == "prompts":
      missing = {token for token in missing if ROLE_OF[token[0]] != "assistant"}
    told = [name for name in counts if name.startswith(f"{UNUSED}{column}")]
    assert not missing or told, (column, missing, row, counts)


def check_faithful(kind, row, record, counts):
  check_roles(kind, row, record, counts)
  check_texts(row, record)
  check_lost(kind, row, record, counts)


def check_line(text, folder):
  assert "\n" not in text
  assert text.startswith(f"{folder / 'row.jsonl'}:1: ")


def check_broken(kind, row, folder, format="auto") -> str:
  """records, dropped or refused; anything else fails."""
  try:
    record, counts = read_row(READERS[kind][0], row, folder, format)
  except UserError as e:
    check_line(str(e), folder)
    return "refused"
  if record is None:
    assert sum(n for name, n in counts.items() if name.startswith("dropped")) == 1, counts
    return "dropped"
  check_faithful(kind, row, record, counts)
  if kind == "pairs":
    check_order(row, record)
  return "records"


def check_order(row, record):
  """The worse answer is not the chosen one, unless the row itself says so."""
  if not row.get("judged_otherwise"):
    assert "r#" not in record.chosen, (record, row)
    assert "a#" not in record.rejected, (record, row)


def kinds_of(format):
  """The readers that take a format."""
  if formats.is_pair(format):
    return ("pairs", "prompts")
  return ("prompts",) if format in PROMPTS_ALONE else ("examples", "prompts")


def rows_of(format, meaning):
  """Rows of a meaning that are read as this format."""
  written = conversation_rows(meaning) | pair_rows(meaning) | prompt_rows(meaning)
  for row in written.values():
    try:
      if formats.detect(row, kinds_of(format)[0].rstrip("s")) == format:
        yield row
    except (ValueError, rows.Drop):
      pass  # of the other kind


@pytest.fixture(scope="module")
def table():
  """What became of the rows of every format; printed with `pytest -s`."""
  ends = {}
  yield ends
  print("\n| format | rows | read | dropped | one line |\n|---|---|---|---|---|")
  for format, found in ends.items():
    cells = (found[end] for end in ("records", "dropped", "refused"))
    print(f"| {format} | {found.total()} | {' | '.join(map(str, cells))} |")


@pytest.mark.parametrize("format", formats.FORMATS)
def test_broken_rows_of_every_format_are_right_or_refused(format, tmp_path, table):
  ends = table[format] = Counts()

  @settings(UNSHRUNK, max_examples=-(-MUTATIONS // A_MEANING))
  @given(meanings().filter(lambda m: any(rows_of(format, m))), st.randoms(use_true_random=False))
  def check(meaning, rng):
    for _ in range(A_MEANING):
      good, kind = rng.choice([*rows_of(format, meaning)]), rng.choice(kinds_of(format))
      row = broken(good, rng)
      if format == "implicit_text":  # a question beside them would make both texts answers
        row = {k: v for k, v in row.items() if k not in ("prompt", "messages")}
      asked = format if rng.random() < 0.3 else "auto"
      ends[check_broken(kind, row, tmp_path, asked)] += 1

  check()
  assert ends.total() >= MUTATIONS
  assert ends["records"], ends
  assert ends["refused"], ends


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
