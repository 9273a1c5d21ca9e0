"""Rows as other projects write them: names of columns, verdicts, packed files."""

import bz2
import csv
import gzip
import io
import json
import lzma

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import formats, rows
from xwinjax.data.records import Counts

Q, A, B = "Name a fruit.", "An apple.", "A rock."
said = lambda role, text: {"role": role, "content": text}
ASK, SAY, BAD = said("user", Q), said("assistant", A), said("assistant", B)
TALK = [("user", Q), ("assistant", A)]


ASKED = f"\n\nHuman: {Q}\n\nAssistant:"
DIALOGUE = f"{ASKED} {B}"
AS_JSON = lambda text: json.dumps([{"role": "assistant", "content": text}])


def read(row, write, reader=formats.read_examples):
  """(the only record or None, counts beside those of rows)."""
  counts = Counts()
  records = list(reader(write("some.jsonl", [row]), counts=counts))
  made = {k: n for k, n in counts.items() if k not in ("read", "kept")}
  return (records[0] if records else None), made


@pytest.mark.parametrize(
  "row",
  [
    {"input": Q, "output": A},
    {"Instruction": Q, "Response": A},
    {"QUESTION": Q, "ANSWER": A},
    {"user": Q, "assistant": A},
    {"human": Q, "gpt": A},
    {"inputs": Q, "targets": A},
    {"instruction": Q, "input": None, "output": A},
    {"text": f"### Human: {Q}\n### Assistant: {A}"},
    {"text": f"### Human: {Q}### Assistant: {A}"},
    {"text": f"Human: {Q}\nAssistant: {A}"},
    {"text": f"Human: {Q}\r\nAssistant: {A}"},
    {"conversation": [{"input": Q, "output": A}]},
    {"conversations": [{"human": Q, "assistant": A}]},
    {"conversations": [{"from": "human", "text": Q}, {"from": "bing", "text": A}]},
    {"conversations": [{"from": "user", "content": Q}, {"from": "chatgpt", "content": A}]},
    {"messages": [{"role": "User", "value": Q}, {"role": "Assistant", "value": A}]},
    {"dialog": [{"speaker": "human", "text": Q}, {"speaker": "assistant", "text": A}]},
    {"items": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]},
    {"data": [Q, A]},
    {"prompt": {"messages": [ASK], "parallel_tool_calls": True}, "completion": [SAY]},
  ],
)
def test_conversations_under_other_names(row, write):
  found, counts = read(row, write)
  assert [(m.role, m.content) for m in found.messages] == TALK
  assert counts == {}


def test_an_input_of_none_is_left_out_and_counted(write):
  found, counts = read({"instruction": Q, "input": "<noinput>", "output": A}, write)
  assert [(m.role, m.content) for m in found.messages] == TALK
  assert counts == {"changed: input <noinput> left out": 1}


@pytest.mark.parametrize(
  ("row", "says"),
  [
    ({"text": f"<|im_start|>user\n{Q}"}, "column 'text' holds no turns"),
    ({"text": A, "parent_id": "x", "role": "assistant"}, "column 'text' holds no turns"),
    ({"conversation": [{"input": Q, "output": 3}]}, "conversation[0]: field 'output': found int"),
    ({"conversation": [{"input": Q, "output": A, "image": "x"}]}, "holds image, which would be"),
    ({"messages": [{"role": "tool", "value": "3"}]}, "role 'tool' is not one of system"),
    ({"prompt": {"messages": [ASK], "tools": [{"name": "f"}]}, "completion": [SAY]}, "found dict"),
  ],
)
def test_what_is_no_conversation_gets_a_line(row, says, write):
  with pytest.raises(UserError) as e:
    read(row, write)
  assert says in str(e.value)
  assert "\n" not in str(e.value)


two = lambda a, b, **more: {"prompt": Q, a: A, b: B, **more}


@pytest.mark.parametrize(
  ("row", "margin"),
  [
    (two("response_a", "response_b", label="A"), 0),
    ({"question": Q, "response_A": B, "response_B": A, "label": "B>A"}, 0),
    ({"input": Q, "output_1": A, "output_2": B, "label": 1}, 0),
    ({"input": Q, "output_1": B, "output_2": A, "label": 2}, 0),
    (two("output_1", "output_2", preference=1.02), 0),
    (two("response_0", "response_1", better_response_id=0), 0),
    (two("answer_0", "answer_1", choice="0"), 0),
    ({"history": Q, "human_ref_A": A, "human_ref_B": B, "labels": 1}, 0),
    ({"context": [ASK], "response1": A, "response2": B, "overall_preference": -2}, 0),
    ({"winner": "model_b", "conversation_a": [ASK, BAD], "conversation_b": [ASK, SAY]}, 0),
    (two("chosen_response", "rejected_response"), 0),
    (two("accepted", "rejected"), 0),
    ({"Prompt": Q, "Chosen": A, "Rejected": B}, 0),
    ({"question": Q, "response_j": A, "response_k": B}, 0),
    ({"input": {"messages": [ASK]}, "preferred_output": [SAY], "non_preferred_output": [BAD]}, 0),
    (two("chosen", "rejected", score_chosen="8.5", score_rejected="3"), 5.5),
    ({"instruction": Q, "chosen": [ASK, SAY], "rejected": [ASK, BAD]}, 0),
    ({"prompt": Q, "answers": [{"answer": B, "rank": 2.0}, {"answer": A, "rank": 1.0}]}, 0),
    (
      {
        "instruction": Q,
        "completions": [
          {"response": B, "overall_score": 10, "annotations": {"honesty": {"Rating": "2"}}},
          {
            "response": A,
            "overall_score": 1,
            "annotations": {"honesty": {"Rating": "5"}, "help": {"Rating": "N/A"}},
          },
        ],
      },
      3,
    ),
  ],
)  # fmt: skip
def test_pairs_under_other_names(row, margin, write):
  pair, _ = read(row, write, formats.read_pairs)
  assert ([(m.role, m.content) for m in pair.prompt], pair.chosen, pair.rejected) == (
    TALK[:1],
    A,
    B,
  )
  assert pair.margin == margin


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    (two("response_a", "response_b", winner="tie"), "a tie"),
    (two("output_1", "output_2", preference=1.5), "a tie"),
    ({"prompt": Q, "answers": [{"answer": A, "rank": 1}]}, "fewer than two answers with a rating"),
    (
      {"prompt": Q, "answers": [{"answer": A, "score": 1}, {"answer": B, "score": 1}]},
      "all answers are rated the same",
    ),
    (
      {"prompt": {"role": "prompter", "text": Q, "replies": [{"role": "assistant", "text": A}]}},
      "no question with two ranked replies",
    ),
  ],
)
def test_pairs_without_a_winner_are_dropped(row, reason, write):
  pair, counts = read(row, write, formats.read_pairs)
  assert pair is None
  assert counts == {f"dropped: {reason}": 1}


@pytest.mark.parametrize(
  ("row", "says"),
  [
    (two("response_a", "response_b"), "no column says which is better"),
    (two("response_a", "response_b", label=1), "column 'label' is 1; expected one of A, B, tie"),
    (two("response_a", "response_b", label="good"), "column 'label' is 'good'"),
    (two("response_a", "response_b", label="A", winner="b"), "both give a verdict"),
    (two("response_0", "response_1", choice=2), "expected one of A, B, tie, 0, 1"),
    ({"response_a": A, "response_b": B + "x", "label": "A"}, "share no beginning"),
    ({"prompt": Q, "chosen": [A], "rejected": [B, "x"]}, "holds 2 answers, expected one"),
    ({"chosen": A, "rejected": "No."}, "share no beginning that could be the prompt"),
    ({"chosen": DIALOGUE, "rejected": A}, "field 'chosen': holds a whole transcript"),
    ({"prompt": ASKED, "chosen": A, "rejected": DIALOGUE}, "field 'rejected': holds a whole"),
    ({"chosen": AS_JSON(A), "rejected": AS_JSON(B)}, "no column holds the question"),
  ],
)
def test_pairs_that_say_nothing_clear_get_a_line(row, says, write):
  with pytest.raises(UserError) as e:
    read({"id": "a", **row}, write, formats.read_pairs)
  assert says in str(e.value)


def test_a_file_of_judged_answers_holds_prompts_whatever_the_verdict(write):
  prompt, _ = read(two("response_a", "response_b", label="tie"), write, formats.read_prompts)
  assert [(m.role, m.content) for m in prompt.messages] == TALK[:1]


def test_an_answer_that_is_a_dialogue_is_counted(write):
  row = {"prompt": Q, "chosen": A, "rejected": DIALOGUE}
  pair, counts = read(row, write, formats.read_pairs)
  assert (pair.rejected, counts[formats.DIALOGUES]) == (DIALOGUE, 1)
  _, counts = read({**row, "rejected": B}, write, formats.read_pairs)
  assert formats.DIALOGUES not in counts


def test_a_tree_gives_the_replies_ranked_first(write):
  def reply(text, rank, *more):
    return {"role": "assistant", "text": text, "rank": rank, "replies": [*more]}

  again = {"role": "prompter", "text": "More?", "replies": [reply("A pear.", 0)]}
  row = {"prompt": {"role": "prompter", "text": Q, "replies": [reply(B, 1), reply(A, 0, again)]}}
  example, counts = read(row, write)
  assert [m.content for m in example.messages] == [Q, A, "More?", "A pear."]
  assert counts["changed: of several replies the one ranked first"] == 1
  pair, counts = read(row, write, formats.read_pairs)
  assert (pair.chosen, pair.rejected) == (A, B)
  assert counts["changed: turns behind the ranked answers left out"] == 1


LINES = b"".join(json.dumps({"prompt": Q, "completion": A}).encode() + b"\r\n" for _ in range(2))


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
def test_packed_files_are_read(pack, tmp_path):
  ending = {gzip: "gz", bz2: "bz2", lzma: "xz"}[pack]
  path = tmp_path / f"a.jsonl.{ending}"
  path.write_bytes(pack.compress(b"\xef\xbb\xbf" + LINES))
  assert len(list(formats.read_examples(path))) == 2
  path.write_bytes(pack.compress(LINES)[:-9])
  with pytest.raises(UserError, match=rf"a\.jsonl\.{ending}: the .* file is damaged or cut short"):
    list(formats.read_examples(path))


def test_zstandard_and_arrow_are_read(tmp_path):
  pa = pytest.importorskip("pyarrow")
  with pa.CompressedOutputStream(str(tmp_path / "a.jsonl.zst"), "zstd") as f:
    f.write(LINES)
  table = pa.table({"prompt": [Q, Q], "completion": [A, A]})
  for name, write in (("b.arrow", pa.ipc.new_stream), ("c.arrow", pa.ipc.new_file)):
    with write(str(tmp_path / name), table.schema) as f:
      f.write_table(table)
  for path in sorted(tmp_path.iterdir()):
    assert [m.content for m in next(formats.read_examples(path)).messages] == [Q, A]
  (tmp_path / "c.arrow").write_bytes(b"ARROW1 and nothing")
  with pytest.raises(UserError, match="not a readable Arrow file"):
    list(formats.read_examples(tmp_path / "c.arrow"))


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_of_text_are_read(ending, delimiter, tmp_path):
  made = io.StringIO(newline="")
  writer = csv.writer(made, delimiter=delimiter)
  text = 'two\nlines, a "quote"\tand a tab'
  writer.writerows([["", "Prompt", "chosen", "rejected", "margin"], ["0", Q, text, "", "2"]])
  writer.writerow(["1", json.dumps([ASK]), text, B, "1.5"])
  path = tmp_path / f"a.{ending}"
  path.write_text("\ufeff" + made.getvalue(), encoding="utf-8", newline="")
  counts = Counts()
  (pair,) = formats.read_pairs(path, counts=counts)
  assert (pair.prompt[0].content, pair.chosen, pair.rejected, pair.margin) == (Q, text, B, 1.5)
  assert counts["dropped: empty answer"] == 1


@pytest.mark.parametrize(
  ("content", "says"),
  [
    ("prompt,completion\nQ\n", ":2: found 1 cells, expected 2"),
    ('prompt,completion\nQ,"A\n', ":2: not valid CSV: unexpected end of data"),
    ("prompt,prompt\nQ,A\n", ":1: column 'prompt' appears twice"),
    ("prompt,completion\n", ": holds no rows"),
    (b"prompt,completion\nQ,\xff\n", ": *not UTF-8"),
  ],
)
def test_tables_that_are_none_get_a_line(content, says, tmp_path):
  path = tmp_path / "a.csv"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(UserError) as e:
    list(formats.read_examples(path))
  assert says.removeprefix(": *") in str(e.value)
  assert str(e.value).startswith(str(path))


def test_a_table_s_bad_lines_are_skipped_and_folders_hold_tables(tmp_path):
  (tmp_path / "train.csv").write_text("prompt,completion\nQ\nQ,A\n")
  assert rows.files(tmp_path) == [tmp_path / "train.csv"]
  assert len(list(formats.read_examples(tmp_path, bad_rows="skip"))) == 1
