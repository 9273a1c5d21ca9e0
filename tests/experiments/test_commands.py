"""Every command's help, and each stage alone on files a person made by hand."""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
from trials import runs

from xwinjax.data import jsonl
from xwinjax.recipes import cli
from xwinjax.stages import config as configs

ROOT = Path(__file__).parents[2]
STAGES = ("sft", "reward", "sample", "score", "select", "reference", "dpo", "evaluate")


def command(name):
  return importlib.import_module(f"experiments.{name}").command


def leaves(config, prefix=""):
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      yield from leaves(value, f"{prefix}{field.name}.")
    else:
      yield f"{prefix}{field.name}"


@pytest.mark.parametrize("name", STAGES)
def test_help_tells_example_outputs_and_every_field(name, capsys):
  assert command(name)(["--help"]) == 0
  said = capsys.readouterr().out
  assert f"python -m experiments.{name} --config=configs/{name}.py --workdir=" in said
  assert "manifest.json" in said
  config = configs.from_config_dict(command(name).kind, cli.load(command(name).default))
  missing = [leaf for leaf in leaves(config) if f" {leaf}=" not in said]
  assert missing == []


def test_help_of_the_chain_lists_stages_in_order(capsys):
  assert command("xwin")(["--help"]) == 0
  said = capsys.readouterr().out
  stages = [
    "world",
    "pretrain",
    "sft",
    "label",
    "reward",
    "sample",
    "score",
    "select",
    "rs",
    "reference",
    "dpo",
    "evaluate_…",
  ]
  places = [said.index(f"\n  {stage}  ") for stage in stages]
  assert places == sorted(places)
  assert "  rs.train.epochs=" in said
  assert "rs.model.path" not in said  # the chain fills it in


def test_help_shows_the_values_of_the_variant(capsys):
  assert command("sft")(["--config=configs/sft.py:llama", "--help"]) == 0
  assert "train.optim.lr=2e-05" in capsys.readouterr().out


def test_every_config_file_fits_its_command():
  for name in (*STAGES, "xwin"):
    for variant in ("sandbox", "llama"):
      values = cli.load(f"configs/{name}.py:{variant}")
      configs.from_config_dict(command(name).kind, values)


def test_commands_are_short():
  for file in (ROOT / "experiments").glob("*.py"):
    assert len(file.read_text().splitlines()) <= 75, file


COLOURS = ("red", "blue", "green", "white")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
  folder = tmp_path_factory.mktemp("files")
  ask = lambda c: [{"role": "user", "content": f"Is {c} a colour?"}]
  return {
    "sft": jsonl.write_rows(
      folder / "sft.jsonl",
      [{"instruction": f"Is {c} a colour?", "output": f"Yes, {c} is one."} for c in COLOURS],
    ),
    "pairs": jsonl.write_rows(
      folder / "pairs.jsonl",
      [{"prompt": ask(c), "chosen": f"Yes, {c} is.", "rejected": "No."} for c in COLOURS],
    ),
    "prompts": jsonl.write_rows(
      folder / "prompts.jsonl", [{"id": c, "messages": ask(c)} for c in COLOURS]
    ),
    "long": jsonl.write_rows(
      folder / "long.jsonl",
      [
        {"id": "long", "prompt": "word " * 200, "chosen": "Yes", "rejected": "No"},
        {"id": "fits", "prompt": "Is red one?", "chosen": "Yes", "rejected": "No"},
      ],
    ),
  }


def figures(folder):
  return json.loads((folder / "manifest.json").read_text())["figures"]


@pytest.mark.slow
def test_each_stage_alone_reads_what_a_person_wrote_twice_to_the_same_bits(
  by_hand, tiny_folder, tmp_path, capsys
):
  def run(name, **fields):
    flags = [f"--config.{k.replace('__', '.')}={v}" for k, v in fields.items()]
    workdir, again = tmp_path / name, tmp_path / "again" / name
    spec = f"--config=configs/{name}.py:sandbox"
    for folder in (workdir, again):
      assert command(name)([spec, f"--workdir={folder}", *flags]) == 0, capsys.readouterr().err
      assert f"wrote {folder}/manifest.json" in capsys.readouterr().out
    assert len(runs.results(workdir)) >= 2
    assert runs.results(workdir) == runs.results(again)
    return workdir

  draw = {"generate__samples": 4, "generate__max_new": 8}
  sft = run("sft", model__path=tiny_folder, data=by_hand["sft"], heldout=by_hand["sft"])
  assert figures(sft)["heldout_nll"] < figures(sft)["heldout_nll_before"]
  reward = run("reward", model__path=sft / "model", data=by_hand["pairs"], heldout=by_hand["long"])
  assert figures(reward)["heldout_pairs"] == 1  # the long one was left out before training
  sample = run("sample", model__path=sft / "model", prompts=by_hand["prompts"], **draw)
  score = run("score", model__path=reward / "model", candidates=sample / "candidates.jsonl")
  select = run(
    "select", candidates=score / "candidates.jsonl", ended_only="false", rejected="rank:-1"
  )
  reference = run("reference", model__path=sft / "model", data=select / "pairs.jsonl")
  dpo = run(
    "dpo",
    model__path=sft / "model",
    data=select / "pairs.jsonl",
    reference=reference / "logps.jsonl",
    nll_weight=0.0,
  )
  assert figures(dpo)["loss_first"] == pytest.approx(0.693147, abs=1e-3)
  evaluate = run(
    "evaluate",
    model__path=dpo / "model",
    prompts=by_hand["prompts"],
    reward=reward / "model",
    reference=sft / "model",
    **draw,
  )
  assert figures(evaluate)["prompts"] == 4
