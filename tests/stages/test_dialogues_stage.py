"""Dialogues held with a model turn by turn."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.sandbox.judge import grader
from xwinjax.sandbox.world import World
from xwinjax.stages import dialogues
from xwinjax.stages.dialogues import STAGE, DialoguesConfig
from xwinjax.stages.sample import GenerateConfig
from xwinjax.stages.stage import Context


def test_each_turn_is_answered_before_the_next_is_asked(tiny_folder, tmp_path):
  world = World(0, 16)
  world.save(tmp_path / "world.json")
  task = {
    "kind": "follow_up",
    "number": 1,
    "names": [],
    "facts": [[world.names[0], "food", "fish"]],
  }
  turns = jsonl.write_rows(
    tmp_path / "turns.jsonl",
    [
      {"id": "a", "turns": ["What colour is it?", "And what?"], "meta": {"tasks": [task] * 2}},
      {"id": "b", "turns": ["Where?"], "meta": {"tasks": [task]}},
      {"id": "c", "turns": ["Where is it? " * 60, "And?"], "meta": {"tasks": [task] * 2}},
    ],
  )
  config = DialoguesConfig(
    GenerateConfig(1, 8, SamplingParams(0.7), sampler=SamplerConfig(8, 1, block=4, window=8))
  )
  inputs = {"model": tiny_folder, "turns": turns, "gold": tmp_path / "world.json"}
  figures = STAGE.run(Context(), tmp_path / "d", config, inputs, grader=grader)
  rows = {row["id"]: row for _, row in jsonl.read_rows(tmp_path / "d" / "dialogues.jsonl")}
  assert [m["role"] for m in rows["a"]["messages"]] == ["user", "assistant"] * 2
  assert len(rows["a"]["grades"]) == 2
  assert len(rows["b"]["messages"]) == 2
  assert rows["c"]["messages"] == []  # too long for the model from its first question
  assert figures["unanswered"] == 2
  assert figures["turns"] == 3 == sum(figures["grades"].values())
  second = json.loads((tmp_path / "d" / "turn2" / "parts" / "00000.jsonl").read_text())
  assert second["prompt"] == rows["a"]["messages"][:3]


@pytest.mark.parametrize("row", [{"turns": []}, {"turns": ["Hi", ""]}, {"prompt": "Hi"}])
def test_rows_that_are_no_list_of_questions(tmp_path, row):
  path = jsonl.write_rows(tmp_path / "t.jsonl", [{"turns": ["Hi"]}, row])
  with pytest.raises(UserError, match=r"t.jsonl:2: expected {\"turns\""):
    dialogues.read_turns(path)
