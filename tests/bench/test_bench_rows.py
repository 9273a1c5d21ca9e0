"""Rows measured on a tiny random model, beside a peer that only pretends."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from benchmark import growth, results, run, training, work
from benchmark.peer import Peer, settings_of
from benchmark.spoken import Spoken

from xwinjax.core.errors import UserError
from xwinjax.data.batching import BatchConfig
from xwinjax.model import parameters
from xwinjax.train import objectives

SETTINGS = run.Settings(1, 3, BatchConfig(4, buckets=2, bucket_places=0), samples=4, new=4)
MACHINE = {
  "matmul_f32": 1e11,
  "matmul_bf16": 2e11,
  "bandwidth": 1e10,
  "peak_bf16": None,
  "devices": 1,
}
KEYS = {"name", "ours", "peer", "ratio", "unit", "runs", "roofline_share", "compiles"}
FAKE = Path(__file__).with_name("fake_peer.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return work.sandbox(tmp_path_factory.mktemp("work"), rows=(48, 24), max_length=128)


@pytest.fixture(scope="module")
def opened(made):
  return run.open_model(made, SETTINGS)


@pytest.fixture(scope="module")
def peer(made):
  peer = Peer(sys.executable, FAKE, made, 4)
  yield peer
  peer.close()


@pytest.fixture(scope="module")
def rows(made, peer):
  names = ["train_sft", "train_dpo", "sample", "load"]
  said: list[str] = []
  found = run.measure(names, made, SETTINGS, MACHINE, peer, say=said.append)
  return {row["name"]: row for row in found}, said


@pytest.mark.slow
def test_rows_hold_what_they_promise(rows):
  found, said = rows
  assert list(found) == [
    "train_sft",
    "train_dpo",
    "train_dpo_cached",
    "sample_4",
    "sample_1",
    "load",
  ]
  assert all(row.keys() >= KEYS for row in found.values())
  json.dumps(found)
  assert found["train_dpo"]["ours"] < found["train_dpo_cached"]["ours"]  # pays for the reference
  assert found["train_sft"]["peer_setting"] == "bf16, grouped"
  assert found["train_sft"]["ratio"] == found["train_sft"]["ours"] / 600.0
  assert found["train_sft"]["stock_ratio"] == found["train_sft"]["ours"] / 200.0
  assert found["train_dpo"]["peer_setting"] == "bf16, grouped, live"
  assert found["sample_1"]["peer"] == 50.0
  assert found["load"]["peer"] is None
  assert any("no C++ compiler" in line for line in said)  # a setting that fails is left out


@pytest.mark.slow
def test_nothing_compiles_while_the_clock_runs(rows):
  found, _ = rows
  assert {name: row["compiles_while_timed"] for name, row in found.items()} == dict.fromkeys(
    found, 0
  )


@pytest.mark.slow
def test_twin_a_shape_that_was_not_warmed_is_noticed(made, opened, monkeypatch):
  monkeypatch.setattr(training.Training, "_warm", lambda self: None)
  row = training.Training("train_sft", opened, made, BatchConfig(3, buckets=1), 1)
  assert row.run().facts["compiles_while_timed"] > 0


def test_batches_are_spread_over_the_row_lengths(made, opened):
  items = training.items_of("train_sft", opened, made)
  plan = training.batching.make_plan(items, BatchConfig(2, buckets=4, bucket_places=0), seed=0)
  some = training.spread(plan, len(plan.batches) // 3)
  mean = lambda p: np.mean([b.length for b in p.batches])
  assert len(some.batches) == len(plan.batches) // 3
  assert mean(some) == pytest.approx(mean(plan), rel=0.15)
  assert training.spread(plan, 0) is plan


def test_operations_are_those_of_the_sizes(opened):
  items = growth.random_items(2, 8, opened.config.vocab_size)
  c = opened.config
  weights = parameters.count(c) - c.vocab_size * c.dim - c.dim * (1 + 2 * c.num_layers)
  scores = 4 * c.num_layers * c.num_heads * c.head_dim * (8 * 9 / 2)
  wanted = 2 * (2 * 8 * weights + scores + 2 * 4 * c.dim * c.vocab_size)
  assert work.flops(c, items, range(2)) == wanted
  assert work.flops(c, items, range(2), head=False) == wanted - 2 * 2 * 4 * c.dim * c.vocab_size


def test_loss_curves_are_of_the_rows_as_they_stand(made, opened):
  found = training.curve("train_sft", opened, made, 4, 1)
  items = training.items_of("train_sft", opened, made)
  batch = training.batching.build_batch(items, training.in_order(items, 4, 1), 0)
  objective = objectives.sft(opened.config.replace(dtype="float32", operands=""))
  loss = jax.jit(lambda p, b: objective(p, b, None)[0].value())(opened.params, batch)
  assert found["losses"] == [pytest.approx(float(loss), abs=1e-5)]
  assert found["tokens"] == int(items.lengths[:4].sum())
  assert found["targets"] == int(items.targets[:4].sum())


def test_the_peer_gets_the_rows_and_keeps_their_order_when_told(peer, made):
  setting = settings_of("train_reward", 8, compiled=False)[0]
  argv = peer.run(setting)["argv"]
  assert argv["data"] == str(made.pairs)
  assert int(argv["rows"]) == 4 * 4 * setting.steps
  found = peer.curve("sft", 3, 1e-3)
  assert found["losses"] == [2.0, 1.9, 1.8]
  assert (found["tokens"], found["targets"]) == (36, 15)


def test_a_peer_that_fails_says_so_in_one_line(peer, made, tmp_path):
  compiled = settings_of("train_sft", 8, compiled=True)[-1]
  with pytest.raises(UserError, match="RuntimeError: no C"):
    peer.run(compiled)
  assert peer.run(settings_of("train_sft", 8, compiled=True)[0])["value"] == 300.0  # goes on
  with pytest.raises(UserError, match="no such file"):
    Peer(sys.executable, tmp_path / "none.py", made, 4)
  with pytest.raises(UserError, match="--peer /no/python"):
    Peer("/no/python", FAKE, made, 4)


FAKE_ENGINE = """
import json, sys
print(json.dumps({"engine": "Fake 1.0"}), flush=True)
for line in sys.stdin:
  job = json.loads(line)
  assert job["prompts"][0][0] == "<s>", job
  print(json.dumps({"speeds": {"slow": 1.0, "fast": 2.0 * job["samples"]}}), flush=True)
"""


def test_an_engine_draws_the_same_samples_and_its_best_setting_counts(made, tmp_path):
  (tmp_path / "engine.py").write_text(FAKE_ENGINE)
  engine = Spoken("the engine", "--engine", [sys.executable, str(tmp_path / "engine.py")], {})
  rows = run.measure(["sample"], made, SETTINGS, MACHINE, engine=engine)
  engine.close()
  assert [row["engine"] for row in rows] == [2.0 * SETTINGS.samples, 2.0]
  assert rows[0]["engine_setting"] == "Fake 1.0, fast"
  assert rows[0]["engine_ratio"] == pytest.approx(rows[0]["ours"] / rows[0]["engine"])
  assert "engine" in results.table({"rows": rows}).splitlines()[0]


def test_words_become_rows():
  assert run.expand(["train_dpo", "sample", "train_dpo"], 64) == [
    "train_dpo_cached",
    "sample_64",
    "sample_1",
  ]
  assert len(run.expand(["all"], 64)) == 7


def test_pictures_are_drawn(tmp_path):
  from benchmark import charts as bench_charts

  both = {"ours": {"losses": [2.0, 1.0]}, "peer": {"losses": [2.0, 1.0]}, "steps": 2, "apart": 0.0}
  bench_charts.loss_curves(tmp_path / "a.png", {"train_sft": both}, "a machine")
  rows = [{"size": s, "seconds": float(s), "times": float(s)} for s in (1, 2, 4)]
  bench_charts.growth(tmp_path / "b.png", {"batch": rows}, "a machine")
  assert all((tmp_path / f"{name}.png").stat().st_size > 2000 for name in "ab")
