"""The driver of recipes: a list of steps, run once, in a folder of its own."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.recipes import recipe
from xwinjax.recipes.recipe import Recipe, Step
from xwinjax.stages.common import MeshConfig, ModelConfig
from xwinjax.stages.stage import Context, Stage


@dataclasses.dataclass(frozen=True)
class Times:
  times: int = 2


@dataclasses.dataclass(frozen=True)
class Config:
  write: Times = dataclasses.field(default_factory=Times)
  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
  seed: int = 0


def write(context: Context, config: Times, folder, text=None, end=".", shout=None):
  words = text.read_text() if text else "word"
  (folder / "parts").mkdir()
  (folder / "text").write_text(words * config.times + end)
  return {"seed": context.seed}


STAGE = Stage("write", Times, write, {"text?": "what is repeated"}, ("text",), uses=("seed",))


def steps(config, context, folder):
  yield Step("one", STAGE, config.write, {})
  first = folder / "one" / "text"
  yield Step("two", STAGE, config.write, {"text": first}, options={"end": "!"}, spare="one/parts")


RECIPE = Recipe("xwin", Config, lambda config: None, steps)


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
  monkeypatch.setattr(recipe, "summary", lambda folder: {"folder": folder.name})


def identity(folder):
  return json.loads((folder / "manifest.json").read_text())["config"]


def test_steps_run_in_order_and_read_what_earlier_ones_wrote(tmp_path):
  run = tmp_path / "run"
  assert recipe.run(RECIPE, Config(), run) == {"folder": "run"}
  assert (run / "two" / "text").read_text() == "wordword.wordword.!"
  assert not (run / "one" / "parts").exists()  # nobody needs it any more
  assert json.loads((run / "recipe.json").read_text())["recipe"] == "xwin"


def test_hyper_parameters_seed_and_options_are_the_identity(tmp_path):
  recipe.run(RECIPE, Config(seed=3), tmp_path / "run")
  assert identity(tmp_path / "run" / "two") == {"times": 2, "seed": 3, "end": "!"}
  assert identity(tmp_path / "run" / "one") == {"times": 2, "seed": 3}


def test_what_may_change_bits_is_recorded_and_no_identity(tmp_path):
  stage = dataclasses.replace(STAGE, uses=("model", "mesh", "seed"))
  context = Context(ModelConfig(remat="full", attention="xla"), MeshConfig(data=1, fsdp=2))
  stage.run(context, tmp_path / "s", Times(), {})
  record = json.loads((tmp_path / "s" / "manifest.json").read_text())
  mesh = {"data": 1, "fsdp": 2, "tensor": 1}
  changed = {"scan_layers": False, "remat": "full", "attention": "xla"}
  assert record["computed"] == {**changed, "mesh": mesh}
  known = record["config"]["model"].keys() | record["computed"].keys()
  fields = {field.name for field in dataclasses.fields(ModelConfig)}
  assert fields - {"path"} <= known  # a new one is in either
  stage.run(context.with_model(remat="none"), tmp_path / "s", Times(), {})  # done before


def test_a_function_among_the_options_is_no_identity(tmp_path):
  STAGE.run(Context(), tmp_path / "s", Times(), {}, shout=str.upper)
  assert identity(tmp_path / "s") == {"times": 2, "seed": 0}


def test_an_input_that_is_missing_or_not_there(tmp_path):
  needy = dataclasses.replace(STAGE, reads={"text": "what is repeated"})
  with pytest.raises(UserError, match=r"config\.text is empty"):
    needy.run(Context(), tmp_path / "s", Times(), {})
  with pytest.raises(UserError, match=r"config\.text=nowhere: no such file"):
    STAGE.run(Context(), tmp_path / "s", Times(), {"text": "nowhere"})
  assert not (tmp_path / "s").exists()


def test_another_recipes_folder_is_refused(tmp_path):
  recipe.run(RECIPE, Config(), tmp_path / "run")
  other = dataclasses.replace(RECIPE, name="lima")
  with pytest.raises(
    UserError, match=r"run: holds a run of experiments\.xwin; use another workdir"
  ):
    recipe.run(other, Config(), tmp_path / "run")
