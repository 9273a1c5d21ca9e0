"""Run in a copy of the repository: a file of {"q", "a"} rows is read, by name and by its keys."""

import json
import sys
from pathlib import Path

from xwinjax.data import formats
from xwinjax.data.records import Counts, Message

ROWS = [{"q": "Which way is north?", "a": "That way."}, {"q": "Which way is south?"}]


def main(folder: Path) -> None:
  assert Path(formats.__file__).is_relative_to(Path.cwd()), "another copy is imported"
  folder.mkdir()
  file = folder / "rows.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  asked = [Message("user", row["q"]) for row in ROWS]
  for format in ("auto", "qa"):
    counts = Counts()
    (example,) = formats.read_examples(file, format, counts)
    assert example.messages == (asked[0], Message("assistant", ROWS[0]["a"]))
    assert counts["dropped: no answer"] + counts["dropped: empty answer"] == 1, counts
    assert [p.messages for p in formats.read_prompts(file, format)] == [(m,) for m in asked]
  assert formats.detect({"prompt": "Why?", "q": 1}) == "prompt"


if __name__ == "__main__":
  main(Path(sys.argv[1]))
  print("works")
