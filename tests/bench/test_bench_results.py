"""What is said about measured figures."""

import json

import jax
import pytest
from benchmark import results

from xwinjax.core import host
from xwinjax.core.errors import UserError
from xwinjax.model import parameters
from xwinjax.testing.tiny import tiny_config


def test_the_ratio_is_that_of_medians_to_the_peer_s_best_setting():
  peer = {"f32": [10.0, 99.0, 11.0], "bf16": [20.0, 19.0, 21.0]}
  row = results.make_row(
    "train_sft", [30.0, 50.0, 40.0], {"compiles": 2}, peer_runs=peer, stock_runs=[8.0]
  )
  assert (row["ours"], row["peer"], row["peer_setting"], row["ratio"]) == (40, 20, "bf16", 2.0)
  assert row["stock_ratio"] == 5.0
  assert row["runs"] == [30.0, 50.0, 40.0]
  means = sum(row["runs"]) / 3 / (sum(peer["f32"]) / 3)  # a mean would be led astray by one run
  assert row["ratio"] != pytest.approx(means)


def test_seconds_are_better_when_fewer():
  assert results.make_row("start", [2.0], {}, peer_runs={"a": [6.0], "b": [4.0]})["ratio"] == 2.0
  assert results.speedup(2.0, 4.0, "tok/s") == 0.5


def made(**rows):
  return {"rows": [results.make_row(name, [x], {"compiles": 0}) for name, x in rows.items()]}


def test_compare_takes_the_rows_that_both_have():
  old, new = made(train_sft=10.0, start=6.0, load=1.0), made(train_sft=30.0, start=3.0)
  found = {row["name"]: row["ratio"] for row in results.compare(new, old)}
  assert found == {"train_sft": 3.0, "start": 2.0}
  assert "3.00×" in results.comparison(results.compare(new, old))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": []}', '{"rows": [{"name": "x"}]}'])
def test_a_file_of_something_else_is_refused(text, tmp_path):
  (tmp_path / "old.json").write_text(text)
  with pytest.raises(UserError, match=r"old\.json"):
    results.read(tmp_path / "old.json")


def test_what_json_printed_is_read_back(tmp_path):
  (tmp_path / "old.json").write_text(json.dumps(made(load=2.0)))
  assert results.read(tmp_path / "old.json")["rows"][0]["ours"] == 2.0


def curve(losses, tokens=100, targets=40):
  return {"losses": losses, "tokens": tokens, "targets": targets}


@pytest.mark.parametrize(
  ("theirs", "agree"),
  [
    (curve([5.0, 4.01, 3.0]), True),
    (curve([5.0, 4.5, 3.0]), False),  # another loss
    (curve([5.0, 4.0]), False),  # fewer steps
    (curve([5.0, 4.0, 3.0], tokens=101), False),
    (curve([5.0, 4.0, 3.0], targets=39), False),
    (curve([5.0, 4.0, 3.0], targets=0), True),  # a reward model has none
  ],
)
def test_curves_agree_when_losses_and_tokens_do(theirs, agree):
  assert results.agreement(curve([5.0, 4.0, 3.0]), theirs)["agree"] is agree


def test_the_table_leaves_out_what_no_row_has():
  text = results.table(made(train_sft=12345.0))
  assert "12,300" in text
  assert "peer" not in text


def test_peaks_are_known_by_the_device_s_name():
  assert host.peak_flops("NVIDIA H200") == 989e12
  assert host.peak_flops("AMD EPYC") is None


def test_mfu_counts_six_operations_a_parameter_and_token(monkeypatch):
  from xwinjax.stages import training

  assert training.mfu_of(tiny_config()) is None
  monkeypatch.setattr(host, "peak_flops", lambda kind: 6e6 * parameters.count(tiny_config()))
  share = training.mfu_of(tiny_config())
  assert share is not None
  assert share(5e5 * jax.device_count()) == pytest.approx(0.5)
