import json

from xwinjax.data import jsonl


def test_a_table_of_cases_of_ones_own(run, tmp_path):
  turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
  row = {"instruction": "Q", "context": "C", "response": "A"}
  (tmp_path / "dolly").mkdir()
  (tmp_path / "wrapped-json").mkdir()
  jsonl.write_rows(tmp_path / "dolly" / "dolly.jsonl", [row])
  wrapped = tmp_path / "wrapped-json" / "data.json"
  jsonl.write_json(wrapped, {"version": 1, "data": [{"messages": turns}]})
  rows = json.loads(run("field", "--json", tmp_path))
  assert [(r["case"], r["ok"]) for r in rows] == [("dolly", True), ("wrapped-json", True)]
  wrapped.write_text("{")  # the twin
  (line,) = run("field", tmp_path, "wrapped-json").splitlines()
  assert line.split()[:2] == ["wrapped-json", "read"]
  assert " NO " in line


def test_without_the_folder_it_says_so(run, tmp_path):
  assert run("field", tmp_path / "none") == ""
