"""The files people have: every row of them read, kept or dropped for a reason."""

import gzip
import json

import pytest

from xwinjax.data import formats
from xwinjax.data.conversation_formats import NOTHING
from xwinjax.data.records import UNUSED, Counts

EXAMPLES, PROMPTS, PAIRS = formats.read_examples, formats.read_prompts, formats.read_pairs
FILES = [
  (
    EXAMPLES,
    "alpagasus/claude_t45.json",
    {"kept": 5301, "dropped: empty answer": 4, "changed: input <noinput> left out": 56},
  ),
  (EXAMPLES, "rasbt/instruction-data.json", {"kept": 1100}),
  (EXAMPLES, "lima/lima.json.gz", {"kept": 1029}),
  (EXAMPLES, "sharegpt/dummy_conversation.json", {"kept": 500}),
  (EXAMPLES, "self-instruct/seed_tasks.jsonl", {"kept": 175}),
  (EXAMPLES, "self-instruct/user_oriented_instructions.jsonl", {"kept": 252}),
  (
    EXAMPLES,
    "alpaca-eval/text_davinci_003_outputs.json",
    {"kept": 803, "dropped: empty answer": 2},
  ),
  (PROMPTS, "alpaca-eval/text_davinci_003_outputs.json", {"kept": 805}),
  (PROMPTS, "mt-bench/question.jsonl", {"kept": 80, "changed: only the first question read": 80}),
  (PROMPTS, "reward-bench/first200.jsonl", {"kept": 200}),
  (PROMPTS, "votes/mtbench_human_first100.jsonl", {"kept": 100}),
  (PROMPTS, "votes/pandalm_first200.json", {"kept": 200}),
  (PROMPTS, "bon16/bon16.jsonl.gz", {"kept": 805}),
  (
    PAIRS,
    "rasbt/instruction-data-with-preference.json",
    {"kept": 1094, "dropped: equal answers": 6},
  ),
  (
    PAIRS,
    "hh-rlhf/helpful-base-test.jsonl.gz",
    {
      "kept": 2339,
      "dropped: empty turn": 1,
      "dropped: answers to different prompts": 9,
      "dropped: equal answers": 2,
      "dropped: empty answer": 3,
      "changed: merged turns of one speaker": 6,
    },
  ),
  (
    PAIRS,
    "hh-rlhf/harmless-base-test.jsonl.gz",
    {
      "kept": 2303,
      "dropped: answers to different prompts": 5,
      "dropped: empty answer": 4,
      "changed: merged turns of one speaker": 4,
    },
  ),
]


def rows_of(path):
  """The rows as the standard library reads them."""
  with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as f:
    text = f.read()
  return json.loads(text if text[0] == "[" else f"[{','.join(filter(None, text.split(chr(10))))}]")


@pytest.mark.parametrize(("read", "file", "expected"), FILES)
def test_every_row_is_kept_or_dropped_for_a_reason(read, file, expected, shared):
  counts = Counts()
  records = list(read(shared / file, counts=counts))
  assert len(records) == expected["kept"]
  said = {name: n for name, n in counts.items() if not name.startswith(UNUSED)}
  assert said == {"read": len(rows_of(shared / file)), **expected}


def test_columns_that_nobody_reads_are_counted(shared):
  counts = Counts()
  assert len(list(PAIRS(shared / "rasbt/instruction-data-with-preference.json", counts=counts)))
  assert counts[f"{UNUSED}output"] == counts["kept"]
  list(PROMPTS(shared / "votes/mtbench_human_first100.jsonl", counts=counts))
  unused = {n.removeprefix(UNUSED) for n in counts if n.startswith(UNUSED)}
  assert {"response_a", "response_b", "label", "model_a", "judge", "turn"} <= unused


def test_lima_turns_are_all_there(shared):
  path = shared / "lima" / "lima.json.gz"
  expected = [[t for pair in row.get("history", []) for t in pair] for row in rows_of(path)]
  read = [[m.content for m in e.messages][:-2] for e in formats.read_examples(path)]
  assert read == expected
  assert sum(map(bool, expected)) == 29  # multi-turn conversations


def test_hh_answers_end_their_transcripts(shared):
  path = shared / "hh-rlhf" / "helpful-base-test.jsonl.gz"
  rows = rows_of(path)
  pairs = list(formats.read_pairs(path))
  for pair in pairs:
    row = rows[int(pair.id.rpartition("-")[2]) - 1]
    assert row["chosen"].endswith(pair.chosen)
    assert row["rejected"].rstrip().endswith(pair.rejected)
    assert row["chosen"].startswith("\n\nHuman: " + pair.prompt[0].content[:20])


def test_alpaca_questions_and_answers_are_those_of_the_file(shared):
  path = shared / "alpagasus" / "claude_t45.json"
  rows = [row for row in rows_of(path) if row["output"].strip()]
  for row, example in zip(rows, formats.read_examples(path), strict=True):
    question, answer = example.messages
    given = "" if row["input"].strip("<>(). \n").lower() in NOTHING else row["input"]
    assert question.content == "\n".join(filter(str.strip, (row["instruction"], given)))
    assert answer.content == row["output"]
