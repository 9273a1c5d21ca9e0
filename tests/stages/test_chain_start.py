"""What the chain refuses before its first stage runs."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.recipes.xwin import RECIPE, DataConfig, XwinConfig
from xwinjax.stages.common import ModelConfig

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
