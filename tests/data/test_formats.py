"""Every format from the page's row: detected, named, and refused or dropped with a reason."""

import json
import re
from pathlib import Path

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates, formats
from xwinjax.data.records import (
  Candidate,
  CandidateSet,
  Counts,
  Example,
  Message,
  Pair,
  example_json,
  pair_json,
)

Q, A = Message("user", "Name a fruit."), Message("assistant", "An apple.")

PAGE = (Path(__file__).parents[2] / "docs" / "data_formats.md").read_text(encoding="utf-8")
EXAMPLES = [
  {name: json.loads(row) for name, row in re.findall(r"^\| (\w+) \| `({.*})` \|$", part, re.M)}
  for part in re.split(r"^(?:## Pairs|Two formats hold .*)$", PAGE, flags=re.M)
]
CONVERSATIONS, PROMPTS_ALONE, PAIRS = EXAMPLES
PROMPTS = CONVERSATIONS | PROMPTS_ALONE | PAIRS


def test_the_page_has_an_example_of_every_format():
  assert set(PROMPTS) == set(formats.FORMATS)
  assert {name for name in formats.FORMATS if formats.is_pair(name)} == set(PAIRS)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_row_shows_its_format(name):
  assert formats.detect(PROMPTS[name]) == name
  if name in CONVERSATIONS:
    assert formats.detect(PROMPTS[name], "example") == name


@pytest.mark.parametrize("format", ["auto", "named"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_are_read_as_examples(name, format, write):
  path = write("some.jsonl", [{"id": "a", **CONVERSATIONS[name]}])
  examples = list(formats.read_examples(path, "auto" if format == "auto" else name))
  assert examples == [Example("a", (Q, A))]


@pytest.mark.parametrize("format", ["auto", "named"])
@pytest.mark.parametrize("name", PROMPTS)
def test_every_format_holds_prompts(name, format, write):
  path = write("some.jsonl", [{"id": "a", **PROMPTS[name]}])
  prompts = list(formats.read_prompts(path, "auto" if format == "auto" else name))
  assert prompts == [Example("a", (Q,))]


@pytest.mark.parametrize("format", ["auto", "named"])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_read(name, format, write):
  path = write("some.jsonl", [{"id": "a", **PROMPTS[name]}])
  pairs = list(formats.read_pairs(path, "auto" if format == "auto" else name))
  margin = 8.0 if name == "rated" else 0.0
  assert pairs == [Pair("a", (Q,), "An apple.", "A rock.", margin)]


def test_a_row_without_an_id_is_named_by_file_and_line(write):
  path = write("some.jsonl.gz", [CONVERSATIONS["lima"], PROMPTS["mt_bench"]])
  assert [p.id for p in formats.read_prompts(path)] == ["some-1", "81"]


def read_one(write, row, read=formats.read_examples):
  counts = Counts()
  records = list(read(write("some.jsonl", [{"id": "a", **row}]), counts=counts))
  return (records[0] if records else None), counts


def test_alpaca_input_follows_the_instruction(write):
  row = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
  assert read_one(write, row)[0].messages[0].content == "Add.\n1 and 2"


def test_alpaca_history_comes_first(write):
  row = {**CONVERSATIONS["alpaca"], "history": [["One?", "1"], ["Two?", "2"]]}
  said = [(m.role, m.content) for m in read_one(write, row)[0].messages]
  assert said == [
    ("user", "One?"),
    ("assistant", "1"),
    ("user", "Two?"),
    ("assistant", "2"),
    ("user", "Name a fruit."),
    ("assistant", "An apple."),
  ]


def test_a_system_turn_is_kept(write):
  row = {
    "conversations": [
      {"from": "system", "value": "Be brief."},
      *CONVERSATIONS["sharegpt"]["conversations"],
    ]
  }
  assert read_one(write, row)[0].messages == (Message("system", "Be brief."), Q, A)


def test_hh_answers_are_the_last_turns_of_their_transcripts(write):
  before = "\n\nHuman: One?\n\nAssistant: 1\n\nHuman: Two?\n\nAssistant: "
  pair, _ = read_one(write, {"chosen": before + "2", "rejected": before + "3"}, formats.read_pairs)
  assert [m.content for m in pair.prompt] == ["One?", "1", "Two?"]
  assert (pair.chosen, pair.rejected) == ("2", "3")


def test_alpaca_pairs_fall_back_to_output_as_the_chosen_answer(write):
  row = {"instruction": "Hi?", "output": "Hello.", "rejected": "No."}
  assert read_one(write, row, formats.read_pairs)[0].chosen == "Hello."


def test_turns_of_one_speaker_are_merged_and_counted(write):
  row = {
    "messages": [
      {"role": "user", "content": "Hi?"},
      {"role": "user", "content": "There?"},
      {"role": "assistant", "content": "Yes."},
    ]
  }
  example, counts = read_one(write, row)
  assert example.messages[0].content == "Hi?\n\nThere?"
  assert counts == {"read": 1, "kept": 1, "changed: merged turns of one speaker": 1}


def test_a_last_question_without_an_answer_is_cut_and_counted(write):
  example, counts = read_one(write, {"conversations": [Q.content, A.content, "And?"]})
  assert example.messages == (Q, A)
  assert counts["changed: last turn without an answer cut"] == 1


def test_a_prompt_ends_where_its_last_answer_began(write):
  turns = [{"from": who, "value": who} for who in ("human", "gpt", "gpt")]
  prompt, _ = read_one(write, {"conversations": turns}, formats.read_prompts)
  assert prompt.messages == (Message("user", "human"),)


@pytest.mark.parametrize(
  ("read", "row", "reason"),
  [
    (formats.read_examples, {"instruction": "Hi?", "output": " "}, "empty answer"),
    (formats.read_examples, {"prompt": "Hi?"}, "no answer"),
    (formats.read_examples, PROMPTS["mt_bench"], "no answer"),
    (formats.read_examples, {"messages": []}, "no turns"),
    (formats.read_examples, {"conversations": ["Hi?", "", "So?", "Yes."]}, "empty turn"),
    (
      formats.read_examples,
      {"conversations": [{"from": "gpt", "value": "Hello."}]},
      "assistant turn first",
    ),
    (
      formats.read_examples,
      {
        "messages": [
          {"role": "user", "content": "Hi?"},
          {"role": "system", "content": "Be brief."},
          {"role": "assistant", "content": "Hello."},
        ]
      },
      "system turn in the middle",
    ),
    (
      formats.read_examples,
      {"messages": [{"role": "system", "content": "1"}] * 2},
      "two system turns",
    ),
    (formats.read_prompts, {"prompt": " "}, "no question"),
    (formats.read_pairs, {"prompt": "Hi?", "chosen": "A", "rejected": ""}, "empty answer"),
    (formats.read_pairs, {"prompt": "Hi?", "chosen": "A", "rejected": "A"}, "equal answers"),
    (
      formats.read_pairs,
      {"chosen": "\n\nHuman: One?\n\nAssistant: 1", "rejected": "\n\nHuman: Two?\n\nAssistant: 2"},
      "answers to different prompts",
    ),
    (
      formats.read_pairs,
      {
        "chosen": "\n\nHuman: One?\n\nAssistant: 1\n\nHuman: Two?",
        "rejected": "\n\nHuman: One?\n\nAssistant: 1",
      },
      "transcript without a last answer",
    ),
  ],
)
def test_useless_rows_are_dropped_and_counted(read, row, reason, write):
  record, counts = read_one(write, row, read)
  assert record is None
  assert counts[f"dropped: {reason}"] == 1
  assert counts["read"] == 1 == sum(n for k, n in counts.items() if k.startswith("dropped"))


@pytest.mark.parametrize(
  ("read", "row", "says"),
  [
    (formats.read_examples, {"a": 1, "b": 2}, "unknown format (keys: a, b, id)"),
    (
      formats.read_examples,
      {"instruction": 7, "output": "x"},
      "field 'instruction': found int, expected text",
    ),
    (
      formats.read_examples,
      {"messages": {"role": "user"}},
      "field 'messages': found dict, expected a list of messages",
    ),
    (formats.read_examples, {"messages": [{}, 7]}, "messages[0]: field 'role': found nothing"),
    (formats.read_examples, {"messages": [7]}, "messages[0]: found int, expected an object"),
    (formats.read_examples, {"messages": ["Hi?", 7]}, "a turn is not text"),
    (
      formats.read_examples,
      {"messages": [{"role": "tool", "content": ""}]},
      "messages[0]: role 'tool' is not one of system, user, assistant",
    ),
    (
      formats.read_examples,
      {"messages": [{"role": "user"}]},
      "field 'content': found nothing, expected text",
    ),
    (
      formats.read_examples,
      {"conversations": [{"from": "robot", "value": "Hi?"}]},
      "conversations[0]: from 'robot' is not one of",
    ),
    (formats.read_examples, {"conversations": None}, "unknown format (keys: id; null: conv"),
    (formats.read_examples, {"instruction": "Hi?", "instances": []}, "a list of objects"),
    (
      formats.read_examples,
      {"instruction": "Hi?", "output": "x", "history": [["a", 1]]},
      "history[0]: expected [question, answer]",
    ),
    (formats.read_examples, PROMPTS["hh"], "format 'hh' holds pairs, not conversations"),
    (formats.read_examples, {**CONVERSATIONS["lima"], "meta": 1}, "field 'meta': found int"),
    (formats.read_pairs, CONVERSATIONS["lima"], "format 'lima' does not hold pairs"),
    (
      formats.read_pairs,
      {"chosen": "Hello.", "rejected": "No."},
      "share no beginning that could be the prompt",
    ),
    (
      formats.read_pairs,
      {**PROMPTS["pairs"], "margin": "big"},
      "field 'margin': found 'big', expected a number",
    ),
    (formats.read_pairs, {**PROMPTS["pairs"], "margin": 10**400}, "too large"),
    (
      formats.read_pairs,
      {**PROMPTS["pairs"], "chosen": [{"role": "user", "content": "x"}]},
      "field 'chosen': expected one assistant message",
    ),
    (
      candidates.read,
      {"prompt": "Hi?", "candidates": [{"text": 1}]},
      "field 'text': found int, expected text",
    ),
    (
      candidates.read,
      {"prompt": "Hi?", "candidates": [{"text": "x", "logp": "y"}]},
      "field 'logp': found 'y', expected a number",
    ),
    (
      candidates.read,
      {"prompt": "Hi?", "candidates": [{"text": "x", "scores": [1]}]},
      "candidates[0]: field 'scores': expected numbers by name",
    ),
    (
      candidates.read,
      {"prompt": "Hi?", "candidates": [{"text": "x", "ids": [1, "2"]}]},
      "candidates[0]: field 'ids': expected a list of token numbers",
    ),
  ],
)
def test_a_bad_row_is_named_by_file_and_line(read, row, says, write):
  good = {formats.read_pairs: "pairs", candidates.read: "candidates"}.get(read, "lima")
  path = write("some.jsonl", [PROMPTS[good], {"id": "a", **row}])
  with pytest.raises(UserError) as e:
    list(read(path))
  assert str(e.value).startswith(f"{path}:2: ")
  assert says in str(e.value)
  assert "\n" not in str(e.value)


def test_an_unknown_format_is_refused_before_reading(tmp_path):
  with pytest.raises(UserError, match="format 'csv' is not one of auto, candidates, messages"):
    list(formats.read_examples(tmp_path / "none.jsonl", "csv"))


def test_what_stages_write_is_what_readers_read(write):
  example = Example("e", (Message("system", "S"), Q, A), {"score": 1})
  pair = Pair("p", (Q,), "Hello.", "No.", 0.5, {"gold": [1, 2]})
  candidate = Candidate("Hello.", -1.5, 3, "length", {"rm": 0.25}, (5, 6, 7))
  scored = CandidateSet("c", (Q,), (candidate,), {"k": 1}, 4)
  for record, row, read in (
    (example, example_json(example), formats.read_examples),
    (pair, pair_json(pair), formats.read_pairs),
    (scored, candidates.row(scored), candidates.read),
  ):
    [again] = read(write("some.jsonl", [row]))
    assert vars(again) == vars(record)
