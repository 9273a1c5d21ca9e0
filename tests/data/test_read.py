"""Whole files of pairs and prompts."""

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, read


def test_prompts_get_distinct_ids_and_the_counts_are_said(tmp_path):
  rows = [{"id": "a", "prompt": "Hi?"}, {"id": "a", "prompt": "Ho?"}, {"id": "b", "prompt": " "}]
  path, said = jsonl.write_rows(tmp_path / "p.jsonl", rows), []
  assert [p.id for p in read.prompts(path, say=said.append)] == ["a", "a#2"]
  assert said == [f"{path}: read 3 · kept 2 · dropped: no question 1"]
  assert [p.id for p in read.prompts(path, "prompt", 1)] == ["a"]


def test_a_file_without_prompts_is_refused(tmp_path):
  path = jsonl.write_rows(tmp_path / "p.jsonl", [{"prompt": " "}])
  with pytest.raises(UserError, match=r"p.jsonl: holds no prompts"):
    read.prompts(path)


def test_pairs_come_with_their_counts(tmp_path):
  rows = [{"prompt": "Hi?", "chosen": c, "rejected": "no"} for c in ("a", "no", "b", "c")]
  path, said = jsonl.write_rows(tmp_path / "p.jsonl", rows), []
  pairs, counts = read.pairs(path, limit=2, say=said.append)
  assert [p.chosen for p in pairs] == ["a", "b"]
  assert counts == {"read": 3, "kept": 2, "dropped: equal answers": 1}
  assert len(said) == 1
