"""Rows and files broken in hundreds of ways give records, counted drops or one line; never more."""

import copy
import dataclasses
import json
import random

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates, conversation_formats, formats, rows
from xwinjax.data.records import Counts

ROWS = [
  {
    "id": "1",
    "messages": [
      {"role": "system", "content": "S"},
      {"role": "user", "content": "Q"},
      {"role": "assistant", "content": "A"},
    ],
    "meta": {"k": [1]},
  },
  {"instruction": "Q", "input": "x", "output": "A", "history": [["q", "a"]]},
  {"instruction": "Q", "input": "", "chosen": "A", "rejected": "B", "margin": 1.5},
  {"instruction": "Q", "output": "A", "generator": "g"},
  {"id": 7, "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
  {"conversations": ["Q", "A", "Q", "A"]},
  {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"},
  {
    "prompt": [{"role": "user", "content": "Q"}],
    "chosen": "A",
    "rejected": [{"role": "assistant", "content": "B"}],
    "margin": 2,
  },
  {"prompt": "Q", "completion": [{"role": "assistant", "content": "A"}]},
  {"instruction": "Q", "instances": [{"input": "x", "output": "A"}]},
  {"question_id": 81, "turns": ["Q", "Q"]},
  {
    "prompt": "Q",
    "candidates": [
      {"text": "A", "logp": -1.0, "tokens": 3, "finish": "stop", "scores": {"rm": 0.5}}
    ],
  },
]
JUNK = (
  None,
  True,
  0,
  -1,
  10**400,
  1.5,
  "",
  " ",
  "x" * 1000,
  "\n\nHuman: a\n\nAssistant: b",
  [],
  {},
  [[]],
  [None],
  [{}],
  {"role": "user"},
  [1, "a"],
  {"a": {"b": []}},
  "\ud800",
)
READERS = (
  formats.read_examples,
  formats.read_prompts,
  formats.read_prompts,
  formats.read_pairs,
  lambda path, _, counts: candidates.read(path, counts),
)


def places(value, path=()):
  """The paths of everything inside a row."""
  inner = (
    value.items()
    if isinstance(value, dict)
    else enumerate(value)
    if isinstance(value, list)
    else ()
  )
  for key, v in inner:
    yield (*path, key)
    yield from places(v, (*path, key))


def mutated_row(rng: random.Random):
  """A row with one to three of its fields, at any depth, deleted, replaced, added or doubled."""
  row = copy.deepcopy(rng.choice(ROWS))
  for _ in range(rng.choice((1, 1, 2, 3))):
    *path, key = rng.choice([*places(row), ("new",)])
    holder = row
    for name in path:
      holder = holder[name]
    act = rng.choice(("delete", "replace", "replace", "double"))
    if act == "replace" or key == "new":
      holder[key] = rng.choice(JUNK)
    elif act == "delete":
      del holder[key]
    elif isinstance(holder, list):
      holder.insert(key, holder[key])
    else:
      holder[rng.choice(("extra", "chosen", "prompt", "messages"))] = holder[key]
  return row


def mutated_file(rng: random.Random) -> bytes:
  """Rows as bytes, now and then cut short, with junk inside or in another encoding."""
  lines = [json.dumps(mutated_row(rng)) for _ in range(rng.choice((1, 1, 1, 3)))]
  text = ("[" + ",\n".join(lines) + "]") if rng.random() < 0.3 else "\n".join(lines)
  blob, how = text.encode(), rng.random()
  if how < 0.1:
    blob = blob[: rng.randrange(len(blob))]
  elif how < 0.15:
    at = rng.randrange(len(blob))
    blob = blob[:at] + rng.randbytes(rng.randint(1, 8)) + blob[at:]
  elif how < 0.2:
    blob = text.replace("Q", "ä").encode(rng.choice(("latin-1", "utf-16", "utf-32")))
  elif how < 0.22:
    blob = rng.randbytes(200)
  return blob


def check(path, rng: random.Random) -> str:
  """Reads a file with some reader; returns what came of it: "records", "dropped" or "refused"."""
  counts = Counts()
  read = rng.choice(READERS)
  format = rng.choice(formats.FORMATS) if rng.random() < 0.1 else "auto"
  try:
    records = list(read(path, format, counts))
  except UserError as e:
    line = str(e)
    return "refused" if line.startswith(f"{path}:") and "\n" not in line else f"odd: {line}"
  dropped = sum(n for reason, n in counts.items() if reason.startswith("dropped: "))
  assert counts["kept"] == len(records)
  assert counts["read"] == len(records) + dropped
  for record in records:
    json.dumps(vars(record), default=vars, allow_nan=False, ensure_ascii=False).encode()
  return "records" if records else "dropped"


def test_three_hundred_broken_files(tmp_path):
  outcomes = Counts()
  for seed in range(300):
    rng = random.Random(seed)
    blob = mutated_file(rng)
    path = tmp_path / f"{seed}.{'json' if blob.startswith(b'[') else 'jsonl'}"
    path.write_bytes(blob)
    outcomes[check(path, rng)] += 1
  assert set(outcomes) == {"records", "dropped", "refused"}, outcomes
  assert min(outcomes.values()) >= 5, outcomes


def test_twin_a_reader_that_trusts_its_rows_does_not_survive(tmp_path, monkeypatch):
  lima = dataclasses.replace(conversation_formats.FORMATS["lima"], read=lambda *_: 1 / 0)
  monkeypatch.setitem(conversation_formats.FORMATS, "lima", lima)
  with pytest.raises(ZeroDivisionError):
    test_three_hundred_broken_files(tmp_path)


def test_twin_rows_that_vanish_uncounted_are_noticed(tmp_path, monkeypatch):
  each = rows.each
  monkeypatch.setattr(rows, "each", lambda path, counts, *more: each(path, Counts(), *more))
  with pytest.raises(AssertionError):
    test_three_hundred_broken_files(tmp_path)
