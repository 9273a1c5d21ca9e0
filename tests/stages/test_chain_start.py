"""What the chain refuses before its first stage runs."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.recipes.xwin import RECIPE, DataConfig, XwinConfig
from xwinjax.stages.choose import ChooseConfig
from xwinjax.stages.common import ModelConfig
from xwinjax.stages.stage import Context

EXAMPLE = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
ROWS = {
  "sft": EXAMPLE,
  "prompts": {"prompt": "a"},
  "heldout_prompts": {"prompt": "a"},
  "pairs": {"prompt": "a", "chosen": "b", "rejected": "c"},
}


@pytest.fixture
def config(tiny_folder, tmp_path) -> XwinConfig:
  for name, row in ROWS.items():
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
  data = DataConfig(**{name: str(tmp_path / f"{name}.jsonl") for name in ROWS})
  return XwinConfig(model=ModelConfig(path=str(tiny_folder)), data=data)


def test_good_files_are_taken(config, tmp_path):
  RECIPE.check(config)


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_of_any_file_is_found_first(config, tmp_path, name):
  with (tmp_path / f"{name}.jsonl").open("a") as f:
    f.write('{"prompt": 3}\n')
  with pytest.raises(UserError, match=rf"{name}.jsonl:2: "):
    RECIPE.check(config)


def test_a_file_of_which_nothing_is_left_is_refused(config, tmp_path):
  equal = {"prompt": "a", "chosen": "b", "rejected": "b"}
  (tmp_path / "pairs.jsonl").write_text(json.dumps(equal) + "\n")
  with pytest.raises(UserError, match=r"config.data.pairs=.*: no row of it is of use"):
    RECIPE.check(config)


@pytest.mark.parametrize("field", ["sft.data", "sft.seed", "dpo.model", "evaluate.gold"])
def test_what_the_chain_decides_is_no_field(config, field):
  group, name = field.split(".")
  assert not hasattr(getattr(config, group), name)


def test_with_validation_prompts_a_step_of_dpo_is_chosen_and_evaluated(config, tmp_path):
  (tmp_path / "reward" / "model").mkdir(parents=True)  # the judge, which has to be there by then
  places = lambda c: {s.place: s for s in RECIPE.steps(c, Context(), tmp_path)}
  assert "choose" not in places(config)
  data = dataclasses.replace(config.data, validation_prompts=config.data.prompts)
  steps = places(dataclasses.replace(config, data=data))
  assert steps["choose"].reads["reference"] == tmp_path / "rs" / "model"
  assert steps["evaluate_dpo"].reads["model"] == tmp_path / "choose" / "model"
  assert places(config)["evaluate_dpo"].reads["model"] == tmp_path / "dpo" / "model"


def test_a_price_without_validation_prompts_is_refused(config, tmp_path):
  priced = dataclasses.replace(config, choose=ChooseConfig(price=0.1))
  with pytest.raises(UserError, match=r"config.choose.price is 0.1, .* no validation prompts"):
    RECIPE.check(priced)
  data = dataclasses.replace(config.data, validation_prompts=config.data.prompts)
  RECIPE.check(dataclasses.replace(priced, data=data))
