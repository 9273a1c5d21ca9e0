"""The checkpoint whose answers the judge likes best is kept."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import messages_json
from xwinjax.sandbox.world import World
from xwinjax.stages import choose
from xwinjax.stages.choose import ChooseConfig


@pytest.fixture
def stage(tmp_path, monkeypatch):
  """config(scores by step …) -> the config of a stage over made-up checkpoints."""
  World(0, 16).save(tmp_path / "world.json")
  task = World(0, 16).task(__import__("random").Random(0))
  row = {"id": "a", "messages": messages_json(task.prompt), "meta": task.meta()}
  prompts = jsonl.write_rows(tmp_path / "prompts.jsonl", [row])
  trained = tmp_path / "dpo"
  looked = []

  def config(scores, **changes):
    jsonl.write_json(trained / "manifest.json", {"figures": scores})
    for step, score in scores.items():
      jsonl.write_json(trained / "steps" / f"{step:07d}" / "made_up.json", {"score": score})
    plain = ChooseConfig(trained=str(trained), prompts=str(prompts), **changes)
    judge = dataclasses.replace(plain.judge, by="gold", gold=str(tmp_path / "world.json"))
    return dataclasses.replace(plain, judge=judge)

  def measured(config, path, folder):
    looked.append(int(path.name))
    return json.loads((path / "made_up.json").read_text())

  monkeypatch.setattr(choose, "mean_score", measured)
  return config, looked


@pytest.mark.parametrize(
  ("scores", "step"),
  [
    ({10: 1.0, 20: 3.0, 30: 2.0}, 20),
    ({10: 1.0, 20: 1.0}, 10),
    ({10: None, 20: 0.5}, 20),
    ({10: None, 20: None}, 20),
    ({100: 2.0, 20: 1.0}, 100),
  ],
)
def test_the_best_is_kept_and_the_earliest_of_equals(stage, tmp_path, scores, step):
  figures = choose.run(stage[0](scores), tmp_path / "choose")
  assert figures["step"] == step
  kept = json.loads((tmp_path / "choose" / "model" / "made_up.json").read_text())
  assert kept == {"score": scores[step]}
  assert figures["score"] == scores[step]


def test_patience_ends_the_search(stage, tmp_path):
  config, looked = stage
  figures = choose.run(config({1: 2.0, 2: 1.0, 3: 1.5, 4: 9.0}, patience=2), tmp_path / "choose")
  assert looked == [1, 2, 3]
  assert figures["step"] == 1


def test_a_training_that_kept_no_models_is_refused(stage, tmp_path):
  config = stage[0]({1: 1.0})
  (tmp_path / "dpo" / "steps" / "0000001" / "made_up.json").unlink()
  (tmp_path / "dpo" / "steps" / "0000001").rmdir()
  with pytest.raises(UserError, match=r"holds no models; delete .* to train again"):
    choose.run(config, tmp_path / "choose")


def test_a_checkpoint_is_measured_by_its_answers(tiny_folder, stage, tmp_path, monkeypatch):
  monkeypatch.undo()
  plain = stage[0]({1: 1.0})
  generate = dataclasses.replace(plain.generate, samples=2, max_new=4)
  found = choose.mean_score(
    dataclasses.replace(plain, generate=generate), _as_step(tiny_folder, tmp_path), tmp_path / "v"
  )
  assert found["answers"] == found["judged"] == 2
  assert found["score"] is not None
  assert 0 <= found["score"] <= 5
  assert json.loads((tmp_path / "v" / "scores.json").read_text()) == found


def _as_step(folder, tmp_path):
  path = tmp_path / "0000001"
  path.symlink_to(folder)
  return path
