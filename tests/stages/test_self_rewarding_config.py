"""What the loop refuses before anything starts, and its small stages."""

import dataclasses
import functools
import json
import sys
from pathlib import Path

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import formats, jsonl
from xwinjax.recipes import cli
from xwinjax.recipes.self_rewarding_config import SelfRewardingConfig, check
from xwinjax.stages import config, mix
from xwinjax.stages.stage import Context

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # configs/ablations imports from configs/


def loaded(spec) -> SelfRewardingConfig:
  return config.from_config_dict(SelfRewardingConfig, cli.load(spec))


@pytest.fixture
def sandbox() -> SelfRewardingConfig:
  return loaded("configs/self_rewarding.py:sandbox")


def changed(config, path, value):
  """The config with one field changed, by its dotted name."""
  first, _, rest = path.partition(".")
  if rest:
    value = changed(getattr(config, first), rest, value)
  return dataclasses.replace(config, **{first: value})


@pytest.mark.parametrize(
  ("path", "value", "said"),
  [
    ("eft", "some", "config.eft 'some' is not one of data, rankings, none"),
    ("prompts_by", "me", "config.prompts_by 'me' is not one of self, base"),
    ("train_on", "all", "config.train_on 'all' is not one of pairs, best, best_and_seed"),
    ("judge.by", "you", "config.by 'you' is not one of self, rm, logps, gold"),
    ("data.ift", "x.jsonl", "config.sandbox.on makes the data itself"),
  ],
)
def test_what_cannot_be_is_refused_by_name(sandbox, path, value, said):
  check(sandbox)
  with pytest.raises(UserError, match=said):
    check(changed(sandbox, path, value))


@pytest.mark.parametrize("field", ["sft.data", "instruct.seeds", "dpo.model.path", "judge.seed"])
def test_what_a_recipe_decides_is_no_field(sandbox, field):
  with pytest.raises(AttributeError):
    functools.reduce(getattr, field.split("."), sandbox)


def test_without_the_sandbox_files_are_needed(sandbox, tmp_path, tiny_folder):
  own = changed(changed(sandbox, "sandbox.on", False), "model.path", str(tiny_folder))
  with pytest.raises(UserError, match=r"config\.data\.ift is empty"):
    check(own)
  row = {"prompt": "Hi?", "completion": "Hi."}
  (tmp_path / "f").write_text(json.dumps(row))
  for field in ("ift", "heldout_prompts"):
    own = changed(own, f"data.{field}", str(tmp_path / "f"))
  with pytest.raises(UserError, match=r"config\.data\.eft is empty"):
    check(own)
  check(changed(own, "eft", "none"))
  check(changed(own, "data.eft", str(tmp_path / "f")))
  with pytest.raises(UserError, match=r"config\.data\.rankings is empty"):
    check(changed(own, "eft", "rankings"))
  with pytest.raises(UserError, match="which only the sandbox has"):
    check(changed(changed(own, "eft", "none"), "judge.by", "gold"))
  with pytest.raises(UserError, match=r"config\.data\.pairs is empty"):
    check(changed(changed(own, "eft", "none"), "judge.by", "rm"))


def test_every_ablation_is_a_config_that_differs_from_the_base():
  from configs.ablations.self_rewarding import ROWS

  plain = config.identity(loaded("configs/self_rewarding.py:sandbox"))
  for row in ROWS:
    differences = config.differences(
      plain, config.identity(loaded(f"configs/ablations/self_rewarding.py:{row}"))
    )
    same = row in ("base", "candidates_4", "judgements_3")
    two = row in ("base_writes", "no_eft")
    assert len(differences) == (0 if same else 2 if two else 1), row


@pytest.mark.parametrize("variant", ["sandbox", "laptop", "llama", "llama2_70b"])
def test_every_variant_keeps_what_the_paper_gives(variant):
  c = loaded(f"configs/self_rewarding.py:{variant}")
  assert (c.rounds, c.judge.samples, c.sample.generate.samples, c.dpo.beta) == (2, 3, 4, 0.1)
  assert (c.sample.generate.params.temperature, c.sample.generate.params.top_p) == (0.7, 0.9)
  assert (c.instruct.generate.params.temperature, c.instruct.generate.params.top_p) == (0.6, 0.9)
  assert (c.instruct.shots, c.instruct.own_shots) == (6, 2)
  assert c.instruct.filters.rouge == (0.99 if variant == "sandbox" else 0.7)


def test_mixed_files_keep_all_conversations_under_distinct_ids(tmp_path):
  row = lambda id, text: {
    "id": id,
    "messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": text}],
  }
  one = jsonl.write_rows(tmp_path / "one.jsonl", [row("a", "1"), row("b", "2")])
  two = jsonl.write_rows(tmp_path / "two.jsonl", [row("a", "3")])
  stage, config_ = mix.stage("ift", "eft"), mix.MixConfig(("auto", "auto"))
  stage.run(Context(), tmp_path / "mix", config_, {"ift": one, "eft": two})
  path = tmp_path / "mix" / "mixed.jsonl"
  found = [(e.id, e.messages[-1].content) for e in formats.read_examples(path)]
  assert found == [("a", "1"), ("b", "2"), ("a#2", "3")]
  figures = json.loads((tmp_path / "mix" / "manifest.json").read_text())["figures"]
  assert figures == {"ift": 2, "eft": 1}
