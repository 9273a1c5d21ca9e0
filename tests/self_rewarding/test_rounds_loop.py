"""The rounds' files and what they say, on a sandbox too small to learn much."""

import json
import math

import pytest
from small_loop import rows, run_loop, summary_of

pytestmark = pytest.mark.slow


def manifest(workdir, stage):
  return json.loads((workdir / stage / "manifest.json").read_text())


def test_summary_holds_a_row_a_model(finished):
  summary = summary_of(finished[0])
  assert [row["model"] for row in summary["models"]] == ["baseline", "M1", "M2", "M3"]
  for row in summary["models"]:
    low, high = row["gold_ci"]
    assert low <= row["gold_mean"] <= high
    assert 0 <= row["judge"]["expected"]["pairwise_accuracy"] <= 1
    assert (row["inflation"] is None) == (row["self_mean"] is None)
  assert summary["models"][0]["versus_baseline"] is None
  for row in summary["models"][1:]:
    versus = row["versus_baseline"]
    assert math.isclose(versus["win"] + versus["tie"] + versus["lose"], 1, abs_tol=1e-9)
  assert [row["round"] is None for row in summary["models"]] == [True, True, False, False]


def test_ends_with_the_table_and_the_paths(finished):
  workdir, result = finished
  for text in ("SFT baseline", str(workdir / "summary.json"), str(workdir / "report.html")):
    assert text in result.stdout
  page = (workdir / "report.html").read_text()
  assert "The paper's numbers" in page or "The paper&#39;s numbers" in page
  assert "62.5/27.7/9.8" in page


def test_each_round_starts_from_the_model_before_it(finished):
  workdir, _ = finished
  m1 = manifest(workdir, "M2/sample")["inputs"]["model"]
  assert m1 == manifest(workdir, "M1/sft")["outputs"]["model"]
  for stage in ("M2/reference", "M2/dpo"):
    assert manifest(workdir, stage)["inputs"]["model"] == m1
  assert manifest(workdir, "M2/judge")["inputs"]["judge_model"] == m1
  m2 = manifest(workdir, "M2/choose")["outputs"]["model"]
  for stage in ("M3/instruct", "M3/sample", "M3/reference", "M3/dpo", "M2/evaluate"):
    assert manifest(workdir, stage)["inputs"]["model"] == m2
  assert manifest(workdir, "M3/judge")["inputs"]["judge_model"] == m2
  assert m2 != m1


def test_m1_is_trained_on_judging_examples_and_the_baseline_is_not(finished):
  workdir, _ = finished
  counts = manifest(workdir, "M1/mix")["figures"]
  assert counts == {"ift": 180, "eft": 160}
  assert manifest(workdir, "baseline/sft")["figures"]["counts"]["kept"] == 180
  assert manifest(workdir, "M1/sft")["figures"]["counts"]["kept"] == 340


def test_pairs_are_the_judges_highest_against_its_lowest(finished):
  workdir, _ = finished
  scored = {row["id"]: row["candidates"] for row in rows(workdir / "M2/judge/candidates.jsonl")}
  pairs = rows(workdir / "M2/pairs/pairs.jsonl")
  assert pairs
  for pair in pairs:
    usable = [c for c in scored[pair["id"]] if c["finish"] != "length" and c["text"].strip()]
    values = [c["scores"]["self"] for c in usable]
    by_text = {c["text"]: c["scores"]["self"] for c in usable}
    assert by_text[pair["chosen"][0]["content"]] == max(values)
    assert by_text[pair["rejected"][0]["content"]] == min(values)


def test_the_first_loss_of_dpo_is_log_2_in_each_round(finished):
  for model in ("M2", "M3"):
    first = rows(finished[0] / model / "dpo" / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_a_checkpoint_is_chosen_and_the_others_are_gone(finished):
  workdir, _ = finished
  figures = manifest(workdir, "M2/choose")["figures"]
  assert len(figures["steps"]) >= 2
  best = max(figures["steps"].values(), key=lambda f: f["score"])
  assert figures["score"] == best["score"]
  assert not (workdir / "M2" / "dpo" / "steps").exists()


def test_the_same_command_does_nothing_again(finished):
  workdir, result = finished
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob("manifest.json")}
  again = run_loop(workdir)
  assert again.returncode == 0
  assert again.stdout == result.stdout
  assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("manifest.json")}
