"""The recipe's files and what they say, on a sandbox too small to learn much."""

import json
import math
from pathlib import Path

import pytest
from small_lima import manifest, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("lima") / "run"
  result = run(workdir)
  assert result.returncode == 0, result.stderr[-2000:]
  return workdir, result, json.loads((workdir / "summary.json").read_text())


def test_the_token_ends_every_utterance_and_stays_in_every_model(finished):
  workdir, _, summary = finished
  [[name, eot]] = summary["tokens"].items()
  assert name == "<|eot|>"
  for model in ("tokens/model", "sft/model", "choose/model"):
    assert json.loads((workdir / model / "added_tokens.json").read_text()) == {name: eot}
    assert json.loads((workdir / model / "config.json").read_text())["vocab_size"] == eot + 1
  assert manifest(workdir, "sft")["config"]["model"]["dropout"] == [0.0, 0.2]


def test_kept_epochs_are_judged_and_the_best_is_chosen(finished):
  workdir, _, summary = finished
  epochs = summary["epochs"]
  assert [e["epoch"] for e in epochs] == [1, 2, 3, 4]
  assert [e["dev_score"] is not None for e in epochs] == [False, True, True, False]
  for e in epochs:
    assert e["dev_perplexity"] == pytest.approx(math.exp(e["dev_nll"]), rel=1e-4)
  best = max(epochs[1:3], key=lambda e: e["dev_score"])
  assert summary["epoch"] == best["epoch"]
  assert not (workdir / "sft" / "steps").exists()  # the chosen one is kept


def test_the_summary_is_of_the_test_prompts(finished):
  workdir, _, summary = finished
  rows = [json.loads(x) for x in (workdir / "judge" / "candidates.jsonl").read_text().splitlines()]
  scores = [c["scores"]["gold"] for row in rows for c in row["candidates"]]
  assert len(scores) == 12
  assert summary["score"] == pytest.approx(sum(scores) / 12)
  assert summary["score_ci"][0] <= summary["score"] <= summary["score_ci"][1]
  grades = summary["dialogues"]
  assert grades["turns"] == 4 == sum(grades[g]["turns"] for g in ("excellent", "pass", "fail"))


def test_it_ends_with_tables_and_paths(finished):
  workdir, result, _ = finished
  for text in (
    "dev perplexity",
    "chosen",
    "excellent",
    str(workdir / "summary.json"),
    str(workdir / "report.html"),
  ):
    assert text in result.stdout
  page = (workdir / "report.html").read_text()
  assert "Perplexity and quality by epoch" in page
  assert "http" not in page.replace("http://www.w3.org", "")


def test_the_same_command_does_nothing_again_and_another_choice_is_refused(finished):
  workdir, result, _ = finished
  before = {p: p.stat().st_mtime_ns for p in Path(workdir).rglob("manifest.json")}
  again = run(workdir)
  assert again.stdout == result.stdout
  assert before == {p: p.stat().st_mtime_ns for p in Path(workdir).rglob("manifest.json")}
  other = run(workdir, "--config.first_epoch=1")
  assert other.returncode == 2
  assert "keep was [2, 3] and is [1, 3]" in other.stderr
