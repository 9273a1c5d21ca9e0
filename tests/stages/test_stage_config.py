"""Configs between dataclasses and ConfigDicts; what names a run."""

import dataclasses

import pytest

from xwinjax.core.errors import UserError
from xwinjax.stages import config as configs
from xwinjax.stages.config import group, plumbing


@dataclasses.dataclass(frozen=True)
class Optim:
  lr: float = 0.1
  clip: float | None = None
  betas: tuple[float, float] = (0.9, 0.95)

  def __post_init__(self):
    if self.lr < 0:
      raise ValueError(f"lr {self.lr} is negative")


@dataclasses.dataclass(frozen=True)
class Mesh:
  data: int = -1


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage."""

  path: str = plumbing("")  # where it is
  steps: int = 10  # how many
  stop: bool = False
  names: tuple[str, ...] = ()
  optim: Optim = group(Optim, lr=0.5)
  mesh: Mesh = plumbing(Mesh)


def test_a_config_survives_its_config_dict():
  stage = Stage("x", 3, True, ("a", "b"), Optim(1.0, 2.0, (0.1, 0.2)), Mesh(4))
  assert configs.from_config_dict(Stage, configs.to_config_dict(stage)) == stage
  assert configs.from_config_dict(Stage, {}) == Stage()
  assert Stage().optim.lr == 0.5


def test_every_stages_defaults_survive():
  from xwinjax.recipes.xwin import XwinConfig

  config = XwinConfig()
  assert configs.from_config_dict(XwinConfig, configs.to_config_dict(config)) == config


def test_whole_numbers_and_lists_are_taken_for_floats_and_tuples():
  values = configs.to_config_dict(Stage())
  values.optim.lr, values.optim.betas, values.names = 1, [0, 1], ["a"]
  stage = configs.from_config_dict(Stage, values)
  assert (stage.optim.lr, stage.optim.betas, stage.names) == (1.0, (0.0, 1.0), ("a",))
  assert isinstance(stage.optim.lr, float)


@pytest.mark.parametrize(
  ("values", "says"),
  [
    ({"stps": 3}, "unknown field config.stps; did you mean 'steps'?"),
    ({"optim": {"rate": 3}}, "unknown field config.optim.rate; there are betas, clip, lr"),
    ({"steps": "3"}, "config.steps is '3' (str); expected int"),
    ({"steps": 3.0}, "config.steps is 3.0 (float); expected int"),
    ({"steps": True}, "config.steps is True (bool); expected int"),
    ({"stop": 1}, "config.stop is 1 (int); expected bool"),
    ({"path": None}, "config.path is None (NoneType); expected str"),
    ({"optim": 3}, "config.optim is 3; expected a group of fields"),
    ({"optim": {"clip": "x"}}, "config.optim.clip is 'x' (str); expected float"),
    ({"optim": {"betas": (0.9,)}}, "config.optim.betas is (0.9,); expected 2 values"),
    ({"optim": {"lr": True}}, "config.optim.lr is True (bool); expected float"),
    ({"names": "a"}, "config.names is 'a'; expected a tuple"),
    ({"names": ("a", 1)}, "config.names is 1 (int); expected str"),
    ({"optim": {"lr": -1.0}}, "config.optim: lr -1.0 is negative"),
  ],
)
def test_a_wrong_value_is_named(values, says):
  with pytest.raises(UserError) as e:
    configs.from_config_dict(Stage, values)
  assert str(e.value) == says


def test_the_identity_leaves_plumbing_out():
  expected = {
    "steps": 10,
    "stop": False,
    "names": [],
    "optim": {"lr": 0.5, "clip": None, "betas": [0.9, 0.95]},
  }
  assert configs.identity(Stage()) == expected
  assert configs.identity(Stage(path="elsewhere", mesh=Mesh(8))) == expected
  for change in ({"steps": 11}, {"names": ("a",)}, {"optim": Optim()}):  # the twin
    assert configs.identity(Stage(**change)) != expected


def test_the_identity_of_a_real_run_does_not_depend_on_where_it_runs():
  from xwinjax.stages import sft
  from xwinjax.stages.alone import Alone

  config = Alone(sft.STAGE).config()
  moved = dataclasses.replace(
    config,
    data="other/place.jsonl",
    mesh=type(config.mesh)(data=2, fsdp=4),
    model=dataclasses.replace(config.model, path="other", remat="full", scan_layers=True),
    train=dataclasses.replace(config.train, loop=type(config.train.loop)(checkpoint_every=7)),
  )
  assert configs.identity(moved) == configs.identity(config)
  assert configs.identity(dataclasses.replace(config, z_loss=0.1)) != configs.identity(config)


def test_differences_name_every_changed_field():
  old = {"a": {"b": {"c": 1}, "d": 2}, "e": [1], "gone": 0}
  new = {"a": {"b": {"c": 3}, "d": 2}, "e": [1, 2], "new": {"x": 1}}
  assert configs.differences(old, new) == [
    "a.b.c was 1 and is 3",
    "e was [1] and is [1, 2]",
    "gone was 0 and is None",
    "new was None and is {'x': 1}",
  ]
  assert configs.differences(old, old) == []


def test_a_variant_is_chosen_by_name():
  assert configs.choose({"a": 1, "b": 2}, "b") == 2
  with pytest.raises(UserError, match="no variant 'c'; there are a, b"):
    configs.choose({"a": 1, "b": 2}, "c")


def test_a_config_describes_its_fields():
  text = configs.describe(Stage())
  lines = [" ".join(line.split()) for line in text.split("\n")]
  assert {"steps=10 how many", "path='' where it is", "optim.lr=0.5"} <= set(lines)
