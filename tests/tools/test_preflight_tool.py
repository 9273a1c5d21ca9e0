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


def test_rows_that_hold_words_of_held_out_questions(run, tiny_folder, tmp_path):
  """Word for word inside another text, or the whole of a short question; not its topic alone."""
  long = "name the four largest rivers of the old world and say where each of them ends please"
  held = [{"prompt": long}, {"prompt": "Who wrote Emma, then?"}]
  said = lambda text: [{"role": "user", "content": text}, {"role": "assistant", "content": "It is"}]
  rows = [
    {"id": "copied", "messages": said(f"Listen: {long.upper()} Now!")},
    {"id": "whole", "messages": said("I ask: who wrote Emma then")},
    {"id": "near", "messages": said("Name the four largest rivers of the new world, please")},
  ]
  files = [jsonl.write_rows(tmp_path / f"{n}.jsonl", r) for n, r in (("h", held), ("t", rows))]
  flags = ("--tokenizer", tiny_folder, "--heldout", files[0])
  figures = json.loads(run("preflight", "--json", *flags, files[1]))
  assert figures["contaminated"] == ["copied", "whole"]
  lines = run("preflight", *flags, files[1])
  assert "2 of 3 rows share 13 words with a held-out question, such as copied: 'name the" in lines
  assert (
    json.loads(run("preflight", "--json", "--ngram", 0, *flags, files[1]))["contaminated"] == []
  )
  pairs = [{"id": "p", "prompt": "q", "chosen": "who wrote emma then ?", "rejected": "no"}]
  file = jsonl.write_rows(tmp_path / "p.jsonl", pairs)
  assert json.loads(run("preflight", "--json", *flags, file))["contaminated"] == ["p"]
