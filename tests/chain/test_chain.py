"""The chain's files and what it says, on a sandbox too small to learn much."""

import json
import math
import shutil

import pytest
from small_chain import run_chain, summary_of

pytestmark = pytest.mark.slow


def rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_summary_holds_what_other_programs_read(finished):
  summary = summary_of(finished[0])
  assert [row["stage"] for row in summary["stages"]] == ["base", "sft", "rs", "dpo"]
  for row in summary["stages"]:
    low, high = row["gold_ci"]
    assert low <= row["gold_mean"] <= high
    assert set(row["best_of"]) == {"1", "2", "4", "8"}
    assert math.isclose(row["best_of"]["1"], row["gold_mean"], abs_tol=1e-4)
    assert all(math.isfinite(row[name]) for name in ("rm_mean", "kl", "mean_length"))
  assert summary["stages"][0]["win_rate_vs_previous"] is None
  assert all(0 <= row["win_rate_vs_previous"] <= 1 for row in summary["stages"][1:])
  assert 0 <= summary["reward_model"]["heldout_accuracy"] <= 1


def test_ends_with_the_table_and_the_paths(finished):
  workdir, result = finished
  for text in ("stage", "best of 1", str(workdir / "summary.json"), str(workdir / "report.html")):
    assert text in result.stdout
  assert "<svg" in (workdir / "report.html").read_text()


def test_rs_trains_on_the_best_and_dpo_on_best_and_worst_by_the_reward_model(finished):
  workdir, _ = finished
  scored = {row["id"]: row["candidates"] for row in rows(workdir / "score" / "candidates.jsonl")}
  may = lambda x: x["finish"] != "length" and x["text"].strip()  # neither cut off nor empty
  texts = {id: sorted(filter(may, c), key=lambda x: -x["scores"]["rm"]) for id, c in scored.items()}
  chosen = rows(workdir / "select" / "examples.jsonl")
  assert chosen
  for example in chosen:
    assert example["messages"][-1]["content"] == texts[example["id"]][0]["text"]
  for pair in rows(workdir / "select" / "pairs.jsonl"):
    id = next(id for id in texts if pair["id"].startswith(id))
    assert pair["chosen"][-1]["content"] == texts[id][0]["text"]
    assert pair["rejected"][-1]["content"] == texts[id][-1]["text"]


def test_only_heldout_pairs_carry_gold_scores(finished):
  workdir, _ = finished
  assert all("gold" not in json.dumps(row) for row in rows(workdir / "label" / "pairs.jsonl"))
  assert all("gold" in json.dumps(row) for row in rows(workdir / "label" / "heldout_pairs.jsonl"))


def test_dpo_starts_at_log_2_and_sft_learns(finished):
  workdir, _ = finished
  first = rows(workdir / "dpo" / "metrics.jsonl")[0]
  assert first["loss"] - first["nll_chosen"] == pytest.approx(math.log(2), abs=1e-4)
  figures = json.loads((workdir / "sft" / "manifest.json").read_text())["figures"]
  assert figures["heldout_nll"] < figures["heldout_nll_before"]


def test_a_finished_chain_does_nothing_again(finished):
  workdir, _ = finished
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob("manifest.json")}
  again = run_chain(workdir)
  assert again.returncode == 0
  assert again.stdout == finished[1].stdout
  assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("manifest.json")}


def test_changed_settings_are_refused_by_name_and_redone_on_demand(finished, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(finished[0], workdir)
  refused = run_chain(workdir, "--config.dpo.beta=0.3")
  assert refused.returncode == 2
  assert "beta was 0.1 and is 0.3" in refused.stderr
  assert "Traceback" not in refused.stderr
  done = run_chain(workdir, "--config.dpo.beta=0.3", "--redo")
  assert done.returncode == 0
  assert summary_of(workdir)["stages"][:3] == summary_of(finished[0])["stages"][:3]
  assert summary_of(workdir)["stages"][3] != summary_of(finished[0])["stages"][3]
