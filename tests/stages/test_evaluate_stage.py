"""What a model's evaluation measures, and with whom it is compared."""

import random

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates, jsonl
from xwinjax.data.records import messages_json
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.sandbox.judge import gold_judge
from xwinjax.sandbox.world import World
from xwinjax.stages import evaluate, sample
from xwinjax.stages.sample import GenerateConfig, SampleConfig
from xwinjax.stages.stage import Context

GENERATE = GenerateConfig(2, 4, sampler=SamplerConfig(4, 1, block=4, window=8))


@pytest.fixture
def inputs(tiny_folder, tmp_path):
  world = World(0, 16)
  world.save(tmp_path / "world.json")
  tasks = [world.task(random.Random(i)) for i in range(3)]
  rows = [{"id": "same", "messages": messages_json(t.prompt), "meta": t.meta()} for t in tasks]
  return {"model": tiny_folder, "prompts": jsonl.write_rows(tmp_path / "prompts.jsonl", rows)}


def run(folder, inputs, seed=0, **options):
  config = evaluate.EvaluateConfig(generate=GENERATE)
  return evaluate.STAGE.run(Context(seed=seed), folder, config, inputs, **options)


def test_answers_are_scored_by_all_that_are_given(inputs, tiny_folder, tmp_path):
  gold = {"gold": tmp_path / "world.json"}
  figures = run(tmp_path / "a", inputs | gold | {"reference": tiny_folder}, gold_judge=gold_judge)
  assert figures["prompts"] == 3
  assert figures["kl"] == pytest.approx(0, abs=1e-3)  # to itself
  assert 0 <= figures["gold_mean"] <= 5
  assert 0 <= figures["hallucination"] <= 1
  sets = list(candidates.read(tmp_path / "a" / "candidates.jsonl"))
  assert [s.id for s in sets] == ["same", "same#2", "same#3"]
  assert all(set(c.scores) == {"reference", "gold"} for s in sets for c in s.candidates)
  assert all(len(c.ids) == c.tokens for s in sets for c in s.candidates)

  previous = {"previous": tmp_path / "a" / "candidates.jsonl"}
  figures = run(tmp_path / "b", inputs | gold | previous, seed=1, gold_judge=gold_judge)
  assert figures["versus_previous"]["judge"] == "gold"
  with pytest.raises(UserError, match=r"something has to judge"):
    run(tmp_path / "c", inputs | previous)
  assert not (tmp_path / "c").exists()
  fewer = jsonl.write_rows(
    tmp_path / "fewer.jsonl", [row for _, row in jsonl.read_rows(inputs["prompts"])][:2]
  )
  with pytest.raises(UserError, match=r"candidates.jsonl: was measured on other prompts"):
    run(tmp_path / "d", inputs | gold | previous | {"prompts": fewer}, gold_judge=gold_judge)


def test_who_grades_is_no_part_of_the_identity(inputs, tmp_path, capsys):
  gold = {"gold": tmp_path / "world.json"}
  first = run(tmp_path / "a", inputs | gold, gold_judge=gold_judge)
  again = run(tmp_path / "a", inputs | gold, gold_judge=lambda *_: pytest.fail("judged again"))
  assert again == first
  assert "done before" in capsys.readouterr().err


def test_samples_keep_their_ids_whole_or_in_parts(inputs, tmp_path):
  folder, config = tmp_path / "s", SampleConfig(generate=GENERATE, shard=2)
  figures = sample.STAGE.run(Context(), folder, config, inputs)
  whole = (folder / "candidates.jsonl").read_bytes()
  sets = list(candidates.read(folder / "candidates.jsonl"))
  assert figures["tokens"] == sum(len(c.ids) for s in sets for c in s.candidates)
  assert figures["repeats"] == sum(s.repeats for s in sets)
  for name in ("manifest.json", "candidates.jsonl", "parts/00001.jsonl"):
    (folder / name).unlink()
  again = sample.STAGE.run(Context(), folder, config, inputs)
  assert (folder / "candidates.jsonl").read_bytes() == whole
  assert again | {"tokens_per_second": 0} == figures | {"tokens_per_second": 0}
