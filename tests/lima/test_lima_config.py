"""The paper's numbers in the configs, and what is refused before anything starts."""

import pytest

from configs import lima as configs
from configs.ablations import lima_diversity, lima_multiturn, lima_quality, lima_quantity
from experiments import lima
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.recipes import lima_config
from xwinjax.recipes.lima_config import LimaConfig
from xwinjax.stages.config import from_config_dict
from xwinjax.train import optim

ABLATIONS = (lima_diversity, lima_quality, lima_quantity, lima_multiturn)


def config_of(variant: str, module=configs) -> LimaConfig:
  return from_config_dict(LimaConfig, module.get_config(variant))


def test_the_recipe_of_65b_is_the_papers():
  c = config_of("65b")
  o = c.sft.train.optim
  assert (o.lr, o.final_lr, o.schedule, o.warmup) == (1e-5, 1e-6, "linear", 0.0)
  assert (o.beta1, o.beta2, o.weight_decay) == (0.9, 0.95, 0.1)
  assert (c.sft.train.epochs, c.sft.train.batch.batch_size) == (15.0, 32)
  assert (c.sft.max_length, c.sft.too_long) == (2048, "cut")
  assert (c.model.template, c.model.dropout) == ("lima", (0.0, 0.3))
  assert (c.first_epoch, c.last_epoch) == (5, 10)
  for generate in (c.choose.generate, c.evaluate.generate, c.dialogues.generate):
    p = generate.params
    assert (p.temperature, p.top_p, p.repetition_penalty) == (0.7, 0.9, 1.2)
  assert c.evaluate.generate.samples == 5


def test_smaller_models_have_less_dropout_and_larger_batches():
  c = config_of("7b")
  assert (c.model.dropout, c.sft.train.batch.batch_size) == ((0.0, 0.2), 64)


def test_the_sandbox_decodes_without_a_penalty():
  """Its answers must repeat the question's names."""
  assert config_of("sandbox").evaluate.generate.params.repetition_penalty == 1.0
  assert config_of("laptop").evaluate.generate.params.repetition_penalty == 1.2


def test_the_learning_rate_falls_from_the_first_step_to_the_last():
  rate = optim.schedule(config_of("65b").sft.train.optim, 480)
  assert float(rate(0)) == pytest.approx(1e-5)  # no warm-up
  assert float(rate(240)) == pytest.approx(5.5e-6)
  assert float(rate(480)) == pytest.approx(1e-6)


@pytest.mark.parametrize("module", ABLATIONS, ids=lambda m: m.__name__.split(".")[-1])
@pytest.mark.parametrize("variant", ["sandbox", "7b", "65b"])
def test_every_row_of_every_ablation_is_a_config(module, variant):
  made = {row: config_of(f"{variant}/{row}", module) for row in module.ROWS}
  assert config_of(variant, module) == next(iter(made.values()))
  assert len(set(map(repr, made.values()))) == len(made)  # each differs from the others
  for c in made.values():
    if c.sandbox.on:
      lima_config.check(c)


def test_rows_differ_in_one_thing():
  quantity = [
    config_of(f"sandbox/x{n}", lima_quantity).sandbox.community.examples
    for n in lima_quantity.TIMES
  ]
  assert quantity == [64, 128, 256, 512, 1024]
  assert config_of("7b/x16", lima_quantity).sft.limit == 32_000
  both = [
    config_of(f"sandbox/{r}", lima_quality).sandbox.community for r in ("filtered", "unfiltered")
  ]
  assert (both[0].filtered, both[1].filtered) == (True, False)
  assert both[0].examples == both[1].examples
  none, some = (
    config_of(f"sandbox/{r}", lima_multiturn).sandbox.community for r in ("none", "dialogues_30")
  )
  assert (none.dialogues, some.dialogues) == (0, 30)
  assert "follow_up" not in none.kinds == some.kinds


def test_a_row_that_does_not_exist():
  with pytest.raises(UserError, match="no variant 'x3'"):
    lima_quantity.get_config("sandbox/x3")


@pytest.fixture
def said(tmp_path, capsys):
  """said(flags…): the one line with which the command refuses."""

  def call(*flags):
    assert lima.command([f"--workdir={tmp_path}/l", *flags]) == 2
    assert not (tmp_path / "l").exists()
    return capsys.readouterr().err.strip().removeprefix("error: ")

  return call


def test_what_the_recipe_decides_is_no_field(said):
  for field in ("sft.data", "tokens.template", "choose.model.path", "choose.judge.by"):
    assert "unknown field config." in said(f"--config.{field}=x")
  assert said("--config.data.train=x").startswith("config.sandbox.on makes the data itself")


def test_epochs_that_do_not_exist(said):
  assert said("--config.last_epoch=20").startswith("epochs 5 to 20 are to be kept of 15")


def test_without_the_sandbox_files_and_a_judge_are_needed(said, tiny_folder, tmp_path):
  laptop = ("--config=configs/lima.py:laptop", f"--config.model.path={tiny_folder}")
  assert "config.reward is empty" in said(*laptop)
  assert "needs the sandbox" in said(*laptop, "--config.judge.by=gold")
  judged = (*laptop, "--config.judge.by=self", f"--config.judge.model={tiny_folder}")
  assert said(*judged) == "config.data.train is empty; it names what is to be read"
  rows = [{"prompt": "Hi?", "completion": "Hi."}]
  data = jsonl.write_rows(tmp_path / "data.jsonl", rows)
  bad = jsonl.write_rows(tmp_path / "bad.jsonl", [*rows, {"foo": 1}])
  files = [f"--config.data.{name}={data}" for name in ("train", "dev")]
  assert said(*judged, *files, f"--config.data.test_prompts={bad}").startswith(f"{bad}:2: unknown")


def test_help_says_what_is_read_and_written(capsys):
  assert lima.command(["--help"]) == 0
  text = capsys.readouterr().out
  for word in ("--workdir=FOLDER", "data.dev", "first_epoch=5", "top_p=0.9"):
    assert word in text
  assert "config.sft.data" not in text
