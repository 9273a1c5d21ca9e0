"""What a look at data before a run finds, and that it finds it only where it is."""

import dataclasses

import pytest

from xwinjax.data import preflight
from xwinjax.data.preflight import Look, Settings
from xwinjax.data.templates import Renderer

GOOD = [
  {"id": i, "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
  for i, q, a in (("a", "Where is it?", "In the box."), ("b", "Who came?", "Ann came."))
]


@pytest.fixture
def bad_lines(write, vicuna):
  """bad_lines(rows) -> {name: text} of what someone should look at."""

  def find(rows, renderer=vicuna, kind="example", **more):
    look = Look(write("rows.jsonl", rows), Settings(kind, **more), renderer)
    return {line.name: line.text for line in preflight.lines(look) if line.bad}

  return find


def test_good_rows_have_nothing_to_look_at(bad_lines, write, vicuna):
  assert bad_lines(GOOD) == {}
  assert bad_lines([{"prompt": "Hi?", "chosen": "a", "rejected": "b"}], kind="pair") == {}
  assert bad_lines(GOOD, kind="prompt") == {}
  look = Look(write("rows.jsonl", GOOD), Settings("example"), vicuna)
  figures = preflight.figures(look)
  assert figures["rows"] == {"read": 2, "kept": 2}
  assert 0 < figures["tokens"]["supervised"] < figures["tokens"]["total"] == sum(look.lengths)
  assert {id for _, id in look.longest} == {"a", "b"}


def test_rows_that_are_left_out_and_columns_are_named(bad_lines, write, vicuna):
  rows = [*GOOD, {"messages": []}, {"messages": [{"role": "tool", "content": "x"}]}]
  assert bad_lines(rows, bad_rows="skip")["rows"].startswith("skipped: messages: role 'tool'")
  look = Look(write("rows.jsonl", [{**GOOD[0], "source": "x"}]), Settings("example"), vicuna)
  assert preflight.Line("unused columns", "source") in preflight.lines(look)


def test_cuts_and_ends_are_counted(bad_lines):
  long = {"id": "long", "prompt": "Why? " * 30, "completion": "So. " * 30}
  assert bad_lines([*GOOD, long], max_length=60)["tokens"] == "dropped: longer than 60 tokens: 1"
  cut = bad_lines([*GOOD, {**long, "prompt": "Why?"}], max_length=60, too_long="cut")
  assert cut["end token"] == "supervised at the end of 2 of 3; not of long"
  assert bad_lines([long], max_length=60)["tokens"] == "nothing is left to train on"


def test_text_that_the_vocabulary_loses_is_counted(bad_lines, vicuna, monkeypatch):
  monkeypatch.setattr(vicuna.tokenizer, "decode", lambda *_: "x")
  assert bad_lines(GOOD)["answers"] == "2 of 2 are not what their tokens decode to: a, b"


@pytest.mark.parametrize("parts", [(), "twice"])
def test_bos_is_there_once(bad_lines, vicuna, parts):
  start = vicuna.template.start * 2 if parts == "twice" else ()
  renderer = Renderer(dataclasses.replace(vicuna.template, start=start), vicuna.tokenizer)
  assert bad_lines(GOOD, renderer)["BOS"] == f"{len(start)} in 2 items"


def test_duplicates_and_overlap_are_counted(bad_lines, write, vicuna):
  other = {**GOOD[0], "messages": [GOOD[0]["messages"][0], {"role": "assistant", "content": "No."}]}
  assert bad_lines([*GOOD, other])["duplicates"] == "1 of 3 prompts repeat another"
  assert bad_lines([*GOOD, GOOD[0]])["duplicates"] == "1 of 3 prompts repeat another"
  look = lambda name, rows: Look(write(name, rows), Settings("example"), vicuna)
  trained = look("train.jsonl", GOOD)
  found = preflight.overlap(
    look(
      "dev.jsonl",
      [
        other,
        {
          **other,
          "messages": [
            {"role": "user", "content": "When?"},
            {"role": "assistant", "content": "Now."},
          ],
        },
      ],
    ),
    [trained],
  )
  assert found.bad
  assert found.text == "1 of 2 held-out prompts are among those trained on"
