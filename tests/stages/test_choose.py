"""The checkpoint whose answers the judge likes best is kept."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.data.records import messages_json
from xwinjax.eval import overoptimisation
from xwinjax.recipes import judges
from xwinjax.sandbox import judge as sandbox_judge
from xwinjax.sandbox.world import World
from xwinjax.stages import choose
from xwinjax.stages.choose import STAGE, ChooseConfig
from xwinjax.stages.config import identity
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

  def run(scores, folder=None, kls=None, **changes):
    jsonl.write_json(trained / "manifest.json", {"figures": scores})
    kls, inputs = kls or {}, {}
    for step, score in scores.items():
      model = trained / "steps" / f"{step:07d}" if step else tmp_path / "start"
      kl = {"kl": kls[step], "std": 2.0} if step in kls else {}
      jsonl.write_json(model / "made_up.json", {"score": score, **kl})
      if step:
        seal.seal_part(model)
      else:
        inputs["reference"] = model
    judge = judges.make(JudgeConfig(by="gold"), gold=tmp_path / "world.json")
    if folder is None:
      return judge, prompts
    inputs |= {"trained": trained / "manifest.json", "prompts": prompts}
    return STAGE.run(Context(), folder, ChooseConfig(**changes), inputs, judge=judge)

  def measured(context, config, by, path, step, folder):
    looked.append(step)
    return json.loads((path / "made_up.json").read_text())

  monkeypatch.setattr(choose, "measured", measured)
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


# Score over KL bends: a nat buys 1, then 0.5, then 0.1; the start's scores have a spread of 2.
SCORES, KLS = {0: 0.0, 10: 1.0, 20: 1.5, 30: 1.7}, {0: 0.0, 10: 1.0, 20: 2.0, 30: 4.0}


@pytest.mark.parametrize(("price", "step"), [(0.0, 30), (0.15, 20), (0.35, 10), (1.0, 0)])
def test_a_price_on_kl_stops_where_a_nat_buys_less(stage, tmp_path, price, step):
  figures = stage[0](SCORES, tmp_path / "choose", KLS, price=price)
  assert (figures["step"], figures["score"]) == (step, SCORES[step])
  kept = json.loads((tmp_path / "choose" / "model" / "made_up.json").read_text())
  assert kept["score"] == SCORES[step]


def test_twin_a_stage_that_forgets_the_price_is_noticed(stage, tmp_path, monkeypatch):
  real = overoptimisation.worth_it
  monkeypatch.setattr(overoptimisation, "worth_it", lambda scores, kls, _: real(scores, kls, 0.0))
  with pytest.raises(AssertionError):
    test_a_price_on_kl_stops_where_a_nat_buys_less(stage, tmp_path, 0.15, 20)


def test_a_price_without_a_reference_is_refused(stage, tmp_path):
  with pytest.raises(UserError, match=r"config.price is 0.5, .* or set the price to 0"):
    stage[0]({1: 1.0}, tmp_path / "choose", price=0.5)


def test_settings_of_older_runs_are_what_they_were():
  assert not {"price", "branches", "batch"} & set(identity(ChooseConfig()))
  assert "price" in identity(ChooseConfig(price=0.1))


def test_a_training_that_kept_no_models_is_refused(stage, tmp_path):
  with pytest.raises(UserError, match=r"holds no models; delete .* to train again"):
    stage[0]({}, tmp_path / "choose")


def test_a_checkpoint_is_measured_by_its_answers(tiny_folder, stage, tmp_path, monkeypatch):
  monkeypatch.undo()
  judge, prompts = stage[0]({1: 1.0})
  config = ChooseConfig(GenerateConfig(samples=2, max_new=4))
  path = _as_step(tiny_folder, tmp_path)
  by = choose.Measures(judge, prompts)
  found = choose.measured(Context(), config, by, path, 1, tmp_path / "v")
  assert found["answers"] == found["judged"] == 2
  assert found["score"] is not None
  assert 0 <= found["score"] <= 5
  assert json.loads((tmp_path / "v" / "scores.json").read_text()) == found
  world = tmp_path / "world.json"
  by = choose.Measures(judge, prompts, tiny_folder, world, sandbox_judge.gold_judge)
  more = choose.measured(Context(), config, by, path, 1, tmp_path / "w")
  assert more["gold"] == more["score"] == found["score"]
  assert more["kl"] == pytest.approx(0.0, abs=1e-3)  # to itself


def _as_step(folder, tmp_path):
  path = tmp_path / "0000001"
  path.symlink_to(folder)
  return path
