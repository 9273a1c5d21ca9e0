"""What the losses' data look like in files, and the two stages that train on them."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, unpaired
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Counts
from xwinjax.stages import dpo, preferences, reference
from xwinjax.stages.config import identity
from xwinjax.stages.dpo import DPOConfig
from xwinjax.stages.stage import Context, open_model
from xwinjax.stages.training import TrainConfig
from xwinjax.train.optim import OptimConfig

ONE = Context()
TRAIN = TrainConfig(4.0, OptimConfig(lr=3e-3), BatchConfig(batch_size=8, buckets=1))
QUESTIONS = ("What colour is it?", "How old is it?", "Where is it?", "Who is it?")
LABELLED = [
  {"prompt": q, "completion": a, "label": good}
  for q, a, good in zip(
    QUESTIONS, ("Red.", "Go away", "Here.", "No"), (True, False) * 2, strict=True
  )
]
PAIRS = [{"prompt": q, "chosen": "That is known.", "rejected": "No"} for q in QUESTIONS]
SCORED = [
  {
    "prompt": q,
    "candidates": [
      {"text": t, "scores": {"rm": s}} for t, s in (("a", 1.0), ("b", 2.5), ("c", 0.0), ("d", 2.0))
    ],
  }
  for q in QUESTIONS
]
FILES = {"pairs": PAIRS, "unpaired": LABELLED, "lists": SCORED}


@pytest.fixture(scope="module")
def model(tiny_folder):
  return open_model(ONE, tiny_folder)


def written(tmp_path, rows):
  return jsonl.write_rows(tmp_path / "data.jsonl", rows)


def test_an_answer_stands_beside_another_prompts(tmp_path, model):
  file, config = written(tmp_path, LABELLED), DPOConfig(variant="kto")
  answers = unpaired.read(file, Counts())
  pairs = unpaired.with_others(answers, file)
  assert [(p.chosen, p.rejected, p.margin) for p in pairs] == [
    ("Red.", "Go away", 1.0),
    ("Go away", "Here.", -1.0),
    ("Here.", "No", 1.0),
    ("No", "Red.", -1.0),
  ]
  made, counts = preferences.read(config, "unpaired", file, model, "stop")
  assert made.fields["desirable"].tolist() == [1, 0, 1, 0]
  assert counts["kept"] == 4


def test_a_pair_is_two_answers_and_neither_stands_beside_the_other(tmp_path):
  file = written(tmp_path, PAIRS[:2])
  answers = unpaired.read(file, Counts())
  assert [(a.answer, a.desirable) for a in answers] == [("That is known.", True), ("No", False)] * 2
  others = [p.rejected for p in unpaired.with_others(answers, file)]
  assert others == ["No", "That is known."] * 2  # an answer beside itself would be no pair


def test_answers_that_say_the_same_to_several_prompts_are_all_kept(tmp_path, model):
  rows = [
    {"prompt": q, "completion": a, "label": True} for q, a in zip(QUESTIONS, "yyyn", strict=True)
  ]
  file = written(tmp_path, rows)
  made, counts = preferences.read(DPOConfig(variant="kto"), "unpaired", file, model, "stop")
  assert (len(made), counts["kept"]) == (4, 4)
  rows = [{**row, "completion": "y"} for row in rows]
  with pytest.raises(UserError, match="all answers are to one prompt, or the same"):
    preferences.read(DPOConfig(variant="kto"), "unpaired", written(tmp_path, rows), model, "stop")


def test_lists_that_are_all_too_short_are_one_line(tmp_path, model):
  config = DPOConfig(variant="lipo", answers=5)
  with pytest.raises(
    UserError, match=r"no list of 5 answers can be made; .*fewer than 5 answers 4"
  ):
    preferences.read(config, "lists", written(tmp_path, SCORED), model, "stop")


@pytest.mark.parametrize(
  ("changes", "line"),
  [
    ({"variant": "lipo", "format": "hh"}, "config.format is for pairs"),
    ({"variant": "kto", "format": "hh"}, "config.format is for pairs"),
    ({"answers": 5}, "config.answers belongs to losses of lists"),
    ({"variant": "tdpo", "length_normalised": True}, "has its own normalisation"),
    ({"variant": "ipo + ipo"}, "names 'ipo' twice"),
  ],
)
def test_settings_that_a_loss_does_not_take_are_refused(changes, line):
  with pytest.raises(UserError, match=line):
    dpo.check(DPOConfig(**changes))


def test_a_recipe_refuses_losses_of_lists_before_it_begins():
  dpo.check(DPOConfig(variant="lipo"))
  with pytest.raises(UserError, match="takes lists, and a recipe makes pairs"):
    dpo.check_in_a_chain(DPOConfig(variant="lipo"))


def test_a_reference_takes_only_settings_of_its_kind():
  reference.check(reference.ReferenceConfig(kind="lists", answers=3))
  with pytest.raises(UserError, match=r"config\.answers belongs to losses of lists"):
    reference.check(reference.ReferenceConfig(answers=3))


def test_more_rivals_than_tokens_are_one_line(tmp_path, tiny_folder):
  config = DPOConfig(variant="cringe", rivals=4096)
  with pytest.raises(UserError, match=r"config\.rivals is 4096; the model has"):
    dpo.make(ONE, config, tmp_path, tiny_folder, written(tmp_path, PAIRS))


@pytest.mark.parametrize(
  ("rows", "line"),
  [
    (
      [LABELLED[0] | {"label": "yes"}],
      "data.jsonl:1: field 'label': expected true or false, found",
    ),
    ([{"prompt": "Why?", "completion": "So."}], "neither a column 'label' of true or false, nor a"),
    (LABELLED[:1] * 2, "all answers are to one prompt"),
  ],
)
def test_answers_without_a_label_or_another_prompt_are_refused(tmp_path, rows, line):
  file = written(tmp_path, rows)
  with pytest.raises(UserError) as e:
    unpaired.with_others(unpaired.read(file, Counts()), file)
  assert line in str(e.value)


def test_lists_are_of_evenly_spaced_ranks_best_first(tmp_path, model):
  file = written(tmp_path, [*SCORED, {"prompt": "Why?", "candidates": SCORED[0]["candidates"][:2]}])
  made, counts = preferences.read(DPOConfig(answers=3), "lists", file, model, "stop")
  assert made.fields["scores"].tolist() == [[2.5, 1.0, 0.0]] * 4
  assert preferences.answers_of(made) == 3
  assert counts["dropped: fewer than 3 answers"] == 1
  with pytest.raises(UserError, match=r"without a score 'gold'"):
    preferences.read(DPOConfig(score="gold"), "lists", file, model, "stop")


def test_bad_lists_stop_the_run_or_are_left_out(tmp_path, model):
  unscored = {"prompt": "Why?", "candidates": [{"text": "a"}, {"text": "b"}]}
  file = written(tmp_path, [*SCORED, unscored, {"prompt": "Who?"}])
  config = DPOConfig(answers=3)
  line = r"jsonl:5: .*without a score 'rm'.* 2 bad rows.*Mend, or leave out with bad_rows=skip"
  with pytest.raises(UserError, match=line):
    preferences.read(config, "lists", file, model, "stop")
  made, counts = preferences.read(config, "lists", file, model, "skip")
  assert len(made) == counts["kept"] == 4
  assert sum(n for reason, n in counts.items() if reason.startswith("skipped: ")) == 2


@pytest.mark.parametrize("variant", ["kto", "plackett_luce", "tdpo", "simpo"])
def test_a_loss_trains_on_its_data(tmp_path, tiny_folder, variant):
  config = DPOConfig(variant=variant, train=TRAIN)
  kind = dpo.reference_of(config).kind
  inputs = {"model": tiny_folder, "data": written(tmp_path, FILES[kind])}
  if variant != "simpo":
    reference.STAGE.run(ONE, tmp_path / "reference", dpo.reference_of(config), inputs)
    inputs["reference"] = tmp_path / "reference" / "logps.jsonl"
  figures = dpo.STAGE.run(ONE, tmp_path / "dpo", config, inputs)
  assert figures["steps"] == 4
  assert figures["loss_last"] < figures["loss_first"]
  first = json.loads((tmp_path / "dpo" / "metrics.jsonl").read_text().splitlines()[0])
  of_chance = {"kto": 0.5, "plackett_luce": 3.1781, "tdpo": 0.6931}  # log 4! and log 2
  if variant in of_chance:
    assert first["loss"] == pytest.approx(of_chance[variant], abs=2e-3)


def test_log_probs_of_other_data_are_refused(tmp_path, tiny_folder):
  config, data = DPOConfig(variant="kto", train=TRAIN), written(tmp_path, PAIRS)
  inputs = {"model": tiny_folder, "data": data}
  reference.STAGE.run(ONE, tmp_path / "reference", dpo.reference_of(DPOConfig(train=TRAIN)), inputs)
  inputs["reference"] = tmp_path / "reference" / "logps.jsonl"
  with pytest.raises(
    UserError, match="made with another model, template, tokenizer or other pairs"
  ):
    dpo.STAGE.run(ONE, tmp_path / "dpo", config, inputs)


@pytest.mark.parametrize(
  ("settings", "line"),
  [
    ({"gap": 1.0}, "config.gap belongs to variant 'simpo'; set it to 0.5"),
    ({"variant": "ipo", "label_smoothing": 0.1}, "belongs to variant 'sigmoid' or 'robust'"),
    ({"variant": "odds_ratio", "beta": 0.2}, "config.beta belongs to variant 'sigmoid' or 'ipo'"),
    ({"rivals": 3}, "config.rivals belongs to variant 'cringe'; set it to 5"),
    ({"answers": 3}, "config.answers belongs to losses of lists; set it to 4"),
    (
      {"variant": "kto", "nll_weight": 1.0},
      "config.nll_weight is for chosen answers, and 'kto' has",
    ),
    (
      {"variant": "simpo", "length_normalised": True},
      "config.length_normalised is for losses agai",
    ),
    ({"variant": "kto + ipo"}, "config.variant 'kto + ipo' mixes losses of pairs and unpaired"),
    ({"variant": "2*"}, "config.variant '' is not one of sigmoid, ipo"),
    ({"variant": "1e9*ipo"}, "'1e9' is no weight; expected 0 to 1000"),
  ],
)
def test_settings_that_no_loss_takes_are_refused(settings, line):
  with pytest.raises(UserError) as e:
    dpo.check(DPOConfig(**settings))
  assert line in str(e.value)
  assert "\n" not in str(e.value)


def test_a_missing_reference_is_refused_where_a_loss_takes_one():
  with pytest.raises(UserError, match=r"config.reference is empty; 'ipo' needs"):
    dpo.check(DPOConfig(variant="ipo"), reference=None)
  dpo.check(DPOConfig(variant="simpo"), reference=None)


def test_new_settings_leave_the_identity_of_older_runs_alone():
  before = {"format", "limit", "max_length", "beta", "variant", "label_smoothing"}
  before |= {"length_normalised", "nll_weight", "train"}
  assert set(identity(DPOConfig())) == before
  assert set(identity(reference.ReferenceConfig())) == {"format", "limit", "max_length"}
  set_one = dataclasses.replace(DPOConfig(variant="simpo"), gap=1.0)
  assert set(identity(set_one)) == before | {"gap"}
