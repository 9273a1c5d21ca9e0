import json

from xwinjax.data import jsonl

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It is"}]


def test_lines_for_people_and_json(run, tiny_folder, tmp_path):
  file = jsonl.write_rows(tmp_path / "a.jsonl", [{"messages": TURNS, "source": "x"}] * 2)
  flags = ("--tokenizer", tiny_folder, "--heldout", file)
  lines = run("preflight", *flags, file).splitlines()
  assert lines[0].split() == ["template", "vicuna"]
  assert any(line.split() == ["unused", "columns", "source"] for line in lines)
  assert [line.split()[1] for line in lines if line.startswith("!")] == [
    "duplicates",
    "duplicates",
    "overlap",
  ]
  figures = json.loads(run("preflight", "--json", *flags, file))
  assert figures["overlap"] == 2
  assert figures["duplicates"] == {"rows": 1, "prompts": 1}
