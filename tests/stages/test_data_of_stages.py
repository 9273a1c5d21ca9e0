"""What becomes of data on its way into a stage: several files, bad rows, counts in the manifest."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.recipes import given
from xwinjax.recipes.lima_config import DataConfig, LimaConfig
from xwinjax.stages import common, manifest, reward, sft
from xwinjax.stages.reward import RewardConfig
from xwinjax.stages.sft import SFTConfig
from xwinjax.stages.stage import Context, open_model
from xwinjax.stages.training import TrainConfig

TRAIN = TrainConfig(epochs=1.0, batch=BatchConfig(batch_size=8, buckets=1))
GOOD = {"instruction": "Who came?", "output": "Ann.", "source": "x"}
BAD = {"instruction": 7, "output": "Ann."}
PAIR = {"prompt": "Who came?", "chosen": "Ann.", "rejected": "Nobody."}


def test_a_pattern_is_read_and_the_manifest_keeps_the_counts(tiny_folder, tmp_path):
  for i in range(2):
    jsonl.write_rows(tmp_path / f"train-{i}.jsonl", [GOOD, BAD, GOOD])
  reads = {"model": tiny_folder, "data": f"{tmp_path}/train-*.jsonl"}
  stopped = Context()
  with pytest.raises(UserError, match=r"train-0\.jsonl:2: field 'instruction'.*train-1\.jsonl:2"):
    sft.STAGE.run(stopped, tmp_path / "sft", SFTConfig(train=TRAIN), reads)
  figures = sft.STAGE.run(Context(bad_rows="skip"), tmp_path / "sft", SFTConfig(train=TRAIN), reads)
  assert figures["items"] == 4
  kept = json.loads((tmp_path / "sft" / "manifest.json").read_text())["figures"]["counts"]
  assert kept == {
    "kept": 4,
    "turns": 4,
    "unused column: source": 4,
    "skipped: field 'instruction': found int, expected text": 2,
  }
  # What a finished stage has made holds whichever way bad rows are to be treated …
  assert sft.STAGE.run(stopped, tmp_path / "sft", SFTConfig(train=TRAIN), reads) == figures
  jsonl.write_rows(tmp_path / "train-2.jsonl", [GOOD])
  with pytest.raises(
    UserError, match=r"made with other settings: inputs\.data"
  ):  # … not other data
    sft.STAGE.run(stopped, tmp_path / "sft", SFTConfig(train=TRAIN), reads)


def test_pairs_keep_their_counts_too(tiny_folder, tmp_path):
  same = {**PAIR, "rejected": "Ann."}
  data = jsonl.write_rows(tmp_path / "pairs.jsonl", [PAIR, same, PAIR])
  reads = {"model": tiny_folder, "data": data, "heldout": data}
  figures = reward.STAGE.run(Context(), tmp_path / "rm", RewardConfig(train=TRAIN), reads)
  counts = {"read": 3, "kept": 2, "dropped: equal answers": 1}
  assert figures["rows"] == figures["heldout_rows"] == counts


def test_marked_answers_reach_the_items_of_training(tiny_folder, tmp_path):
  turn = lambda role, text, **more: {"role": role, "content": text, **more}
  row = [turn("user", "Who?"), turn("assistant", "Bob.", weight=0), turn("user", "Sure?")]
  model = open_model(Context(), tiny_folder)
  sizes = []
  for name, marks in (("marked", row), ("plain", [row[0], turn("assistant", "Bob."), row[2]])):
    rows = [{"messages": [*marks, turn("assistant", "Ann.")]}]
    file = jsonl.write_rows(tmp_path / f"{name}.jsonl", rows)
    sizes.append(int(sft.read_items(SFTConfig(), file, model).targets.sum()))
  assert 0 < sizes[0] < sizes[1]


def test_what_bad_rows_may_be():
  with pytest.raises(UserError, match=r"config\.bad_rows 'drop' is not one of stop, skip"):
    Context(bad_rows="drop")


def test_a_recipes_files_are_checked_with_its_bad_rows(tmp_path):
  data = DataConfig(train=str(jsonl.write_rows(tmp_path / "a.jsonl", [GOOD, BAD])))
  config = LimaConfig(data=data, bad_rows="skip", preflight=False)
  uses = {"train": given.Use(sft.STAGE, config.sft, "data")}
  given.check_files(config, uses, ("train",))
  with pytest.raises(UserError, match=r"a\.jsonl:2: field 'instruction'"):
    given.check_files(dataclasses.replace(config, bad_rows="stop"), uses, ("train",))


def test_the_identity_of_several_files_is_that_of_their_content(tmp_path):
  one, two = (jsonl.write_rows(tmp_path / n, [GOOD]) for n in ("a.jsonl", "b.jsonl"))
  pattern = common.input_file(f"{tmp_path}/*.jsonl", "data")
  before = manifest.fingerprint(pattern)
  assert before == manifest.fingerprint(common.input_file(f"{one},{two}", "data"))
  jsonl.write_rows(two, [GOOD, GOOD])
  manifest._digests.clear()
  assert manifest.fingerprint(pattern) != before
  with pytest.raises(UserError, match=r"config\.data: .*no file fits"):
    common.input_file(f"{tmp_path}/*.parquet", "data")
