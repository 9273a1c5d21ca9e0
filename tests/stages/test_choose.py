"""The checkpoint whose answers the judge likes best is kept."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.data.records import messages_json
from xwinjax.recipes import judges
from xwinjax.sandbox.world import World
from xwinjax.stages import choose
from xwinjax.stages.choose import STAGE, ChooseConfig
from xwinjax.stages.sample import GenerateConfig
from xwinjax.stages.score import JudgeConfig
from xwinjax.stages.stage import Context


@pytest.fixture
def stage(tmp_path, monkeypatch):
  """run(scores by step …) -> the stage's figures over made-up checkpoints."""
  World(0, 16).save(tmp_path / "world.json")
  task = World(0, 16).task(__import__("random").Random(0))
  row = {"id": "a", "messages": messages_json(task.prompt), "meta": task.meta()}
  prompts = jsonl.write_rows(tmp_path / "prompts.jsonl", [row])
  trained = tmp_path / "dpo"
  looked = []

  def run(scores, folder=None, **changes):
    jsonl.write_json(trained / "manifest.json", {"figures": scores})
    for step, score in scores.items():
      model = trained / "steps" / f"{step:07d}"
      jsonl.write_json(model / "made_up.json", {"score": score})
      seal.seal_part(model)
    judge = judges.make(JudgeConfig(by="gold"), gold=tmp_path / "world.json")
    if folder is None:
      return judge, prompts
    inputs = {"trained": trained / "manifest.json", "prompts": prompts}
    return STAGE.run(Context(), folder, ChooseConfig(**changes), inputs, judge=judge)

  def measured(context, config, judge, path, prompts, folder):
    looked.append(int(path.name))
    return json.loads((path / "made_up.json").read_text())

  monkeypatch.setattr(choose, "mean_score", measured)
  return run, looked


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
  figures = stage[0](scores, tmp_path / "choose")
  assert figures["step"] == step
  kept = json.loads((tmp_path / "choose" / "model" / "made_up.json").read_text())
  assert kept == {"score": scores[step]}
  assert figures["score"] == scores[step]


def test_patience_ends_the_search(stage, tmp_path):
  run, looked = stage
  figures = run({1: 2.0, 2: 1.0, 3: 1.5, 4: 9.0}, tmp_path / "choose", patience=2)
  assert looked == [1, 2, 3]
  assert figures["step"] == 1


def test_a_training_that_kept_no_models_is_refused(stage, tmp_path):
  with pytest.raises(UserError, match=r"holds no models; delete .* to train again"):
    stage[0]({}, tmp_path / "choose")


def test_a_checkpoint_is_measured_by_its_answers(tiny_folder, stage, tmp_path, monkeypatch):
  monkeypatch.undo()
  judge, prompts = stage[0]({1: 1.0})
  config = ChooseConfig(GenerateConfig(samples=2, max_new=4))
  path = _as_step(tiny_folder, tmp_path)
  found = choose.mean_score(Context(), config, judge, path, prompts, tmp_path / "v")
  assert found["answers"] == found["judged"] == 2
  assert found["score"] is not None
  assert 0 <= found["score"] <= 5
  assert json.loads((tmp_path / "v" / "scores.json").read_text()) == found


def _as_step(folder, tmp_path):
  path = tmp_path / "0000001"
  path.symlink_to(folder)
  return path
