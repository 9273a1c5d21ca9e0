"""Situations that people of other projects met, each with a file of its own kind."""

import json
from pathlib import Path

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import formats, items, read
from xwinjax.data.records import UNUSED, Counts, Message

USER, ASSISTANT = ("user", "Where is it?"), ("assistant", "In the box.")


def turn(role, text, **more):
  return {"role": role, "content": text, **more}


def one(row, write, reader=formats.read_examples, **more):
  """(the record of the only row, counts)."""
  counts = Counts()
  records = list(reader(write("rows.jsonl", [row]), counts=counts, **more))
  return (records[0] if records else None), counts


def said(record):
  return [(m.role, m.content) for m in record.messages]


def refused(row, write, reader=formats.read_examples, **more):
  with pytest.raises(UserError) as e:
    one(row, write, reader, **more)
  assert "\n" not in str(e.value)
  return str(e.value)


# A column that changes what a row means


@pytest.mark.parametrize("column", ["system", "system_prompt"])
@pytest.mark.parametrize(
  "row",
  [
    {"instruction": USER[1], "output": ASSISTANT[1]},
    {
      "conversations": [
        {"from": "human", "value": USER[1]},
        {"from": "gpt", "value": "In the box."},
      ]
    },
    {"prompt": [turn(*USER)], "completion": ASSISTANT[1]},
    {"question": USER[1], "response": ASSISTANT[1]},
    {"text": "\n\nHuman: Where is it?\n\nAssistant: In the box."},
  ],
)
def test_a_system_column_opens_the_conversation(row, column, write):
  example, counts = one({**row, column: "Be brief."}, write)
  assert said(example) == [("system", "Be brief."), USER, ASSISTANT]
  assert counts["changed: system column opens the conversation"] == 1
  pair = {"prompt": USER[1], "chosen": "a", "rejected": "b", column: "Be brief."}
  assert one(pair, write, formats.read_pairs)[0].prompt[0] == Message("system", "Be brief.")


def test_a_system_column_and_another_system_turn_are_refused(write):
  row = {"messages": [turn("system", "One."), turn(*USER), turn(*ASSISTANT)], "system": "Two."}
  assert "column 'system' and the system turn differ" in refused(row, write)
  example, _ = one({**row, "system": "One."}, write)
  assert said(example)[0] == ("system", "One.")
  row["messages"][0]["content"] = ""
  assert said(one(row, write)[0])[:2] == [("system", "Two."), USER]


@pytest.mark.parametrize(
  "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}]
)
def test_marked_answers_carry_no_loss(mark, write, vicuna):
  wrong, right = turn("assistant", "On the moon.", **mark), turn(*ASSISTANT)
  row = {"messages": [turn(*USER), wrong, turn("user", "No. Again?"), right]}
  made = items.tokenize_examples([one(row, write)[0]], vicuna, 200)
  trained = vicuna.tokenizer.decode([int(t) for t in made.tokens[made.mask == 1]])
  assert "box" in trained
  assert "moon" not in trained
  plain = {"messages": [{k: v for k, v in t.items() if k not in mark} for t in row["messages"]]}
  twin = items.tokenize_examples([one(plain, write)[0]], vicuna, 200)
  assert twin.tokens.tolist() == made.tokens.tolist()  # the same tokens, and more loss
  assert twin.mask.sum() > made.mask.sum()


def test_the_last_answer_alone_is_none_where_it_is_marked(write, vicuna):
  row = {"messages": [turn(*USER), turn(*ASSISTANT), turn(*USER), turn("assistant", "x", weight=0)]}
  made = items.tokenize_examples([one(row, write)[0]], vicuna, 200, loss_on="last")
  assert made.counts == {"dropped: no supervised token": 1}


@pytest.mark.parametrize(
  ("row", "says"),
  [
    ({"messages": [turn(*USER), turn(*ASSISTANT, weight=0.5)]}, "weight is 0.5; expected 0 or 1"),
    ({"messages": [turn(*USER), turn(*ASSISTANT, train="no")]}, "train is 'no'; expected 0 or 1"),
    ({"messages": [turn(*USER, train=True), turn(*ASSISTANT)]}, "on a turn that is no answer"),
    ({"messages": [turn(*USER), turn(*ASSISTANT, train=False, weight=1)]}, "train differ"),
    ({"messages": [turn(*USER), turn(*ASSISTANT, mask=1)]}, "holds mask, which would be lost"),
    ({"messages": [turn(*USER), turn(*ASSISTANT)], "loss_mask": [1]}, "a list of 2 times 0 or 1"),
    (
      {"messages": [turn(*USER), turn("assistant", "x", weight=0), turn(*ASSISTANT)]},
      "of two answers in a row one is marked",
    ),
  ],
)
def test_marks_that_cannot_be_followed_are_refused(row, says, write):
  assert says in refused(row, write)


def test_a_row_without_an_answer_to_train_on_is_dropped(write):
  example, counts = one({"messages": [turn(*USER), turn(*ASSISTANT, weight=0)]}, write)
  assert example is None
  assert counts["dropped: every answer is marked as not to be trained on"] == 1


DOLLY = {"instruction": "Who?", "context": "Ann came.", "response": "Ann.", "category": "qa"}


@pytest.mark.parametrize("reader", [formats.read_examples, formats.read_prompts])
def test_dollys_context_belongs_to_its_question(reader, write):
  record, counts = one(DOLLY, write, reader)
  assert said(record)[0] == ("user", "Who?\nAnn came.")
  assert counts[f"{UNUSED}category"] == 1
  assert not any("empty answer" in name for name in counts)


@pytest.mark.parametrize(
  ("column", "value"),
  [
    ("images", ["a.png"]),
    ("tools", [{"name": "clock"}]),
    ("tools", '[{"name": "clock"}]'),
    ("context", "Ann came."),
    ("history", [["a", "b"]]),
    ("weight", 0.2),
    ("loss_weight", 0.2),
    ("train_on", [0]),
    ("label", False),
    ("kto_tag", False),
    ("train", False),
  ],
)
def test_a_column_that_would_be_lost_is_refused(column, value, write):
  row = {"messages": [turn(*USER), turn(*ASSISTANT)], column: value}
  assert f"column {column!r}" in refused(row, write)
  example, counts = one(row, write, format="messages")  # asked for by name
  assert example is not None
  assert counts[f"{UNUSED}{column}"] == 1
  for nothing in (None, "", []):
    assert one({**row, column: nothing}, write)[0] is not None


def test_columns_that_change_nothing_are_named(write):
  row = {"messages": [turn(*USER, name="Ann"), turn(*ASSISTANT)], "source": "x", "topic": 3}
  _, counts = one({**row, "id": 1, "tools": "[]", "weight": 1, "label": True}, write)
  unused = {name.removeprefix(UNUSED) for name in counts if name.startswith(UNUSED)}
  assert unused == {"messages.name", "source", "topic", "tools", "weight", "label"}


# A column that is read as what it is


def test_a_transcript_in_the_prompt_is_its_turns(write):
  asked = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Where is it?\n\nAssistant:"
  row = {"prompt": asked, "chosen": " In the box.", "rejected": " On the moon.", "response": " x"}
  turns_ = [("user", "Hi."), ("assistant", "Hello."), USER]
  pair, counts = one(row, write, formats.read_pairs)
  assert [(m.role, m.content) for m in pair.prompt] == turns_
  assert (pair.chosen, pair.rejected) == ("In the box.", "On the moon.")
  assert counts["as rm_static"] == 1
  assert said(one(row, write, formats.read_prompts)[0]) == turns_
  plain, _ = one(row, write, formats.read_pairs, format="pairs")
  assert plain.prompt == (Message("user", asked),)  # forced


@pytest.mark.parametrize("column", ["prompt", "instruction", "question"])
def test_a_transcript_may_stand_in_any_column_of_a_question(column, write):
  row = {column: "Be brief.\n\nHuman: Where is it?\n\nAssistant:"}
  answered = {"prompt": "completion", "instruction": "output", "question": "answer"}[column]
  example, counts = one({**row, answered: " In the box."}, write)
  assert said(example) == [("system", "Be brief."), USER, ASSISTANT]
  assert counts["as hh_prompt"] == 1
  pair, _ = one({**row, "chosen": " a", "rejected": " b"}, write, formats.read_pairs)
  assert [m.content for m in pair.prompt] == ["Be brief.", "Where is it?"]


@pytest.mark.parametrize(
  "asked",
  [
    "\n\nHuman: Hi.\n\nAssistant:",
    "Human: Hi.\nAssistant:",
    "### Instruction:\nHi.\n\n### Response:\n",
    "<s>[INST] Hi. [/INST]",
    "A chat. USER: Hi. ASSISTANT:",
    "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n",
  ],
)
def test_a_question_that_is_written_in_a_template_is_counted(asked, write):
  name = "questions with the words of a template or transcript in them"
  _, counts = one({"messages": [turn("user", asked), turn(*ASSISTANT)]}, write)
  assert counts[name] == 1
  _, counts = one({"messages": [turn("user", f"What is {asked} for?"), turn(*ASSISTANT)]}, write)
  assert counts[name] == 0


def test_answers_that_begin_with_the_question_are_counted(write):
  row = {"prompt": "Who?", "chosen": "Who? Ann.", "rejected": "Who? Bob."}
  _, counts = one(row, write, formats.read_pairs)
  assert counts["both answers begin with the question"] == 1
  _, counts = one({**row, "chosen": "Ann."}, write, formats.read_pairs)
  assert counts["both answers begin with the question"] == 0


def test_text_that_only_mentions_a_transcript_is_text(write):
  for asked in ("Human: Rights, a summary?", "Go on:\n\nHuman: Hi.\n\nAssistant: Hello.", "Human:"):
    prompt, _ = one({"prompt": asked}, write, formats.read_prompts)
    assert said(prompt) == [("user", asked)]


WHOLE = {
  "chosen": [turn(*USER), turn(*ASSISTANT)],
  "rejected": [turn(*USER), turn("assistant", "On the moon.")],
}


def test_whole_dialogues_as_pairs_with_scores(write):
  row = {"prompt": USER[1], **WHOLE, "messages": WHOLE["chosen"], "score_chosen": 8.5}
  pair, counts = one({**row, "score_rejected": 3}, write, formats.read_pairs)
  assert pair.prompt == (Message(*USER),)
  assert (pair.chosen, pair.rejected, pair.margin) == ("In the box.", "On the moon.", 5.5)
  assert counts[f"{UNUSED}messages"] == 1
  _, counts = one({**row, "score_rejected": 9}, write, formats.read_pairs)
  assert counts["chosen is scored below rejected"] == 1
  assert said(one(row, write)[0]) == [USER, ASSISTANT]  # SFT takes the conversation


def test_a_prompt_that_is_none_of_the_dialogues_questions_is_refused(write):
  says = refused({"prompt": "Who?", **WHOLE}, write, formats.read_pairs)
  assert "column 'prompt' is no question of 'chosen'" in says
  other = {**WHOLE, "rejected": [turn("user", "Who?"), turn(*ASSISTANT)]}
  pair, counts = one(other, write, formats.read_pairs)
  assert pair is None
  assert counts["dropped: answers to different prompts"] == 1


def test_a_joined_set_reads_what_each_row_holds(write):
  columns = ("messages", "instruction", "input", "output", "prompt", "chosen", "rejected")
  empty = dict.fromkeys(columns)
  rows = [
    {**empty, "messages": [turn(*USER), turn(*ASSISTANT)]},
    {**empty, "instruction": USER[1], "input": "", "output": ASSISTANT[1]},
    {**dict.fromkeys(columns, ""), "messages": json.dumps([turn(*USER), turn(*ASSISTANT)])},
  ]
  examples = list(formats.read_examples(write("joined.jsonl", rows)))
  assert [said(e) for e in examples] == [[USER, ASSISTANT]] * 3


@pytest.mark.parametrize(
  ("row", "format", "says"),
  [
    ({"instruction": "Hi?", "output": "x"}, "sharegpt", "field 'conversations': found nothing"),
    ({"instruction": "Hi?", "output": "x"}, "hh", "format 'hh' holds pairs, not conversations"),
    (
      {"messages": [turn(*USER), turn(*ASSISTANT)]},
      "sharegpt",
      "field 'conversations': found nothing",
    ),
    ({"instruction": "Hi?", "output": "x"}, "prompt", "field 'prompt': found nothing"),
  ],
)
def test_a_wrong_format_by_name_gets_a_line(row, format, says, write):
  assert says in refused(row, write, format=format)


# Rows that one cannot use, among those one can

TOOL = [
  turn("user", "What time is it?"),
  turn("assistant", None, tool_calls=[{"function": {"name": "clock"}}]),
  turn("tool", "12:00"),
  turn("assistant", "It is noon."),
]


@pytest.mark.parametrize(
  ("messages", "says"),
  [
    (TOOL, "messages[1]: holds tool_calls"),
    ([TOOL[0], *TOOL[2:]], "messages[1]: role 'tool' is not one of"),
    (
      [turn("user", [{"type": "image_url", "image_url": {}}]), turn(*ASSISTANT)],
      "type 'image_url'",
    ),
    ([turn(*USER), turn("assistant", "x", prefix=True)], "holds prefix, which would be lost"),
  ],
)
def test_what_no_template_can_write_is_one_bad_row(messages, says, write):
  good = {"messages": [turn(*USER), turn(*ASSISTANT)]}
  path = write("log.jsonl", [good, {"messages": messages}, good])
  with pytest.raises(UserError, match=r"log\.jsonl:2: ") as e:
    list(formats.read_examples(path))
  assert says in str(e.value)
  assert len(list(formats.read_examples(path, bad_rows="skip"))) == 2


def test_parts_nulls_and_developers_are_read(write):
  parts = [{"type": "text", "text": "Where"}, {"type": "text", "text": "is it?"}]
  row = {
    "messages": [
      turn("developer", "Be brief.", tool_calls=None, name=None),
      turn("user", parts),
      turn("assistant", [{"type": "text", "text": "In the box."}], tool_calls=[]),
    ]
  }
  example, counts = one(row, write)
  assert said(example) == [("system", "Be brief."), ("user", "Where\nis it?"), ASSISTANT]
  assert counts["changed: developer turn read as a system turn"] == 1
  assert counts["changed: text parts joined by newlines"] == 1
  example, counts = one({"messages": [turn(*USER), turn("assistant", None)]}, write)
  assert example is None
  assert counts["dropped: empty answer"] == 1


@pytest.mark.parametrize(
  ("chosen", "rejected", "prompt", "answers"),
  [
    ("\r\n\r\nHuman: Hi\r\nyou.\r\n\r\nAssistant: A", "{}B", "Hi\nyou.", ("A", "B")),
    ("Human: Hi.\n\nAssistant: A", "{}B", "Hi.", ("A", "B")),
    ("\n\nHuman: Hi.\n\nAssistant: So.\n\nAssistant: A", "{}B", "Hi.", ("So.\n\nA", "So.\n\nB")),
    ("\n\nHuman: Is Human: a label?\n\nAssistant: A", "{}Human: is", "Is Human: a label?", None),
  ],
)
def test_odd_transcripts_are_read(chosen, rejected, prompt, answers, write):
  row = {"chosen": chosen, "rejected": rejected.format(chosen[:-1])}
  pair, _ = one(row, write, formats.read_pairs)
  assert pair.prompt == (Message("user", prompt),)
  assert (pair.chosen, pair.rejected) == (answers or ("A", "Human: is"))


@pytest.mark.parametrize(
  ("chosen", "reason"),
  [
    ("\n\nHuman: Hi.", "transcript without a last answer"),
    ("\n\nHuman: Hi.\n\nAssistant: ", "empty answer"),
    ("\n\nHuman: Bye.\n\nAssistant: A", "answers to different prompts"),
    ("\n\nAssistant: Hello.\n\nHuman: Hi.\n\nAssistant: A", "answers to different prompts"),
  ],
)
def test_transcripts_of_no_use_are_dropped(chosen, reason, write):
  row = {"chosen": chosen, "rejected": "\n\nHuman: Hi.\n\nAssistant: B"}
  pair, counts = one(row, write, formats.read_pairs)
  assert pair is None
  assert counts[f"dropped: {reason}"] == 1


def test_equal_ids_are_told_apart(write):
  rows = [{"id": i, "prompt": f"Q{n}"} for n, i in enumerate(["a", "a#2", "a", "b", "a"])]
  ids = [p.id for p in read.prompts(write("p.jsonl", rows))]
  assert ids == ["a", "a#2", "a#3", "b", "a#4"]


def test_prompts_that_fill_the_length_are_dropped(write, vicuna):
  rows = [{"prompt": "Where is it? " * n, "completion": "In the box."} for n in (1, 50, 2)]
  made = items.tokenize_examples(formats.read_examples(write("a.jsonl", rows)), vicuna, 100)
  assert made.counts == {"kept": 2, "turns": 2, "dropped: longer than 100 tokens": 1}
  assert made.targets.min() > 0


# The files themselves, where they are

CASES = [
  ("system-column/alpaca.json", "example", 8, "changed: system column opens the conversation"),
  ("system-column/sharegpt.json", "example", 8, "changed: system column opens the conversation"),
  ("system-column/pairs.jsonl", "pair", 8, "changed: system column opens the conversation"),
  ("turn-weights/weights.jsonl", "example", 8, ""),
  ("turn-weights/train_false.jsonl", "example", 8, ""),
  ("dolly/dolly.jsonl", "example", 10, f"{UNUSED}category"),
  ("dolly/dolly.jsonl", "prompt", 10, f"{UNUSED}category"),
  ("hh-in-prompt/rm_static.jsonl", "pair", 8, "as rm_static"),
  ("hh-in-prompt/rm_static.jsonl", "prompt", 8, "as rm_static"),
  ("ultrafeedback/train_prefs.jsonl", "pair", 8, f"{UNUSED}messages"),
  ("ultrafeedback/train_prefs-00000-of-00001.parquet", "pair", 8, f"{UNUSED}messages"),
  ("wrapped-json/data.json", "example", 8, ""),
  ("parquet-shards", "example", 8, f"{UNUSED}prompt_id"),
  ("parquet-shards/data/*.parquet", "example", 8, f"{UNUSED}prompt_id"),
  ("parquet-shards/data/train-00001-of-00002.parquet", "example", 4, f"{UNUSED}prompt_id"),
  ("tool-calls/developer.jsonl", "example", 9, "changed: developer turn read as a system turn"),
  ("tool-calls/parts.jsonl", "example", 9, ""),
  ("tool-calls/tools.jsonl", "example", 8, "skipped: messages: holds tool_calls"),
  ("hh-odd/hh.jsonl", "pair", 4, "dropped: empty answer"),
  ("hh-odd/hh_one_turn.jsonl", "pair", 2, "dropped: transcript without a last answer"),
  ("duplicate-ids/prompts.jsonl", "prompt", 8, ""),
]
READ = {
  "example": formats.read_examples,
  "pair": formats.read_pairs,
  "prompt": formats.read_prompts,
}


@pytest.mark.parametrize(("file", "kind", "kept", "count"), CASES)
def test_field_files(file, kind, kept, count, shared):
  path = Path(shared / "field" / file)
  counts = Counts()
  records = list(READ[kind](path, counts=counts, bad_rows="skip"))
  assert len(records) == kept == counts["kept"]
  assert not count or counts[count] > 0, counts
  texts = " ".join(repr(vars(r)) for r in records)
  assert "Human: Hi" not in texts
  if file.startswith("turn-weights"):
    assert all(
      [m.train for m in r.messages if m.role == "assistant"] == [False, True] for r in records
    )
  if file.startswith("dolly"):
    assert sum("\n" in r.messages[0].content for r in records) == 2
