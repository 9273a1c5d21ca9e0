"""The summary and its sentences say what the figures say."""

import json

import pytest

from xwinjax import report
from xwinjax.core.errors import UserError
from xwinjax.report import chain as xwin
from xwinjax.report import chain_files, pages, tables, warnings


def test_summary_holds_each_evaluation_as_it_is(work):
  summary = xwin.summary(work)
  assert [row["stage"] for row in summary["stages"]] == ["base", "sft", "rs", "dpo"]
  for row in summary["stages"]:
    figures = work.figures(f"evaluate_{row['stage']}")
    for key in ("gold_mean", "gold_ci", "rm_mean", "rm_ci", "kl", "mean_length", "ended_share"):
      assert row[key] == figures[key], key
    if row["stage"] != "base":
      versus = figures["versus_previous"]
      assert (row["win_rate_vs_previous"], row["win_rate_ci"]) == (versus["win_rate"], versus["ci"])
      assert row["gain_vs_previous"] == versus["gain"]
    assert row["best_of"] == {str(k): figures["gold_best_of_k"][k - 1] for k in (1, 2, 4, 8)}
    assert row["seconds"] == 12.5
  assert summary["stages"][0]["win_rate_vs_previous"] is None
  assert summary["reward_model"]["heldout_accuracy"] == work.figures("reward")["heldout_accuracy"]
  assert (summary["device"], summary["seed"]) == ("1 x toy (cpu)", 3)
  json.dumps(summary, allow_nan=False)


def test_text_table_lines_up_and_says_the_figures(work):
  summary = xwin.summary(work)
  lines = report.text(summary, "xwin").splitlines()
  sft = summary["stages"][1]
  assert f"{sft['gold_mean']:.2f} [{sft['gold_ci'][0]:.2f}, {sft['gold_ci'][1]:.2f}]" in lines[2]
  assert f"{sft['win_rate_vs_previous']:.1%}" in lines[2]
  assert lines[0].index("gold") == lines[2].index(f"{sft['gold_mean']:.2f}")
  assert lines[0].endswith("best of 1 → 8")
  assert "held-out accuracy" in lines[-1]
  assert "contradict gold" in lines[-1]


def test_text_table_without_gold_has_no_gold_column(chain_without_gold):
  text = xwin.text(xwin.summary(xwin.Run(chain_without_gold)))
  assert "gold" not in text
  assert "RM score" in text


def versus(mean, low, high):
  gain = {"mean": mean, "ci": [low, high], "significant": low > 0 or high < 0}
  return {"judge": "gold", "win_rate": 0.7, "ci": [0.6, 0.8], "gain": gain}


@pytest.mark.parametrize(
  ("gain", "said"),
  [
    ((0.022, -0.004, 0.046), "RS and SFT: no significant difference, +0.022 [−0.004,"),
    ((1.18, 1.08, 1.28), "RS beats SFT: +1.18 [+1.08, +1.28] gold points"),
    ((-0.4, -0.6, -0.2), "RS is worse than SFT: −0.40 [−0.60, −0.20] gold points"),
  ],
)
def test_comparison_says_what_the_interval_says(gain, said):
  assert xwin.comparison("RS", "SFT", versus(*gain)).startswith(said)


def test_comparison_twin_an_interval_around_zero_is_not_called_a_win():
  right, wrong = versus(0.1, -0.1, 0.3), versus(0.1, -0.1, 0.3)
  wrong["gain"]["significant"] = True  # the sign of one end forgotten
  assert "beats" not in xwin.comparison("RS", "SFT", right)
  assert "beats" in xwin.comparison("RS", "SFT", wrong)


@pytest.mark.parametrize(
  ("made", "text"),
  [
    (tables.number(3.894, ci=[3.7969, 3.978]), "3.89 [3.80, 3.98]"),
    (tables.number(-0.001), "0.00"),
    (tables.number(-1.5, 1), "−1.5"),
    (tables.number(None), "–"),
    (tables.percent(0.5, [0.4, 0.6]), "50.0% [40.0%, 60.0%]"),
    (tables.seconds(59.94), "59.9 s"),
    (tables.seconds(75), "1 min 15 s"),
    (tables.seconds(3700), "1 h 01 min"),
  ],
)
def test_numbers_for_people(made, text):
  assert made == text


def test_notes_name_what_is_wrong(work):
  said = " ".join(warnings.notes(work))
  assert "dpo: 2 updates were not finite" in said
  assert "12% of answers were cut off" in said  # 1 of 8 by construction
  assert "above chance" not in said


def test_notes_twin_a_reward_model_at_chance_is_named(chain):
  work = xwin.Run(chain)
  work.manifests["reward"]["figures"]["heldout_accuracy_ci"] = [0.45, 0.6]
  assert "accuracy is not above chance" in " ".join(warnings.notes(work))


@pytest.mark.parametrize(
  ("place", "figure", "value", "said"),
  [
    ("reward", "card", {"truth": {"accuracy": 0.52, "ci": [0.42, 0.62]}}, "nearly blind to truth"),
    ("evaluate_dpo", "kl", 40.0, "DPO is far from SFT: 40.00 nats"),
    ("evaluate_dpo", "mean_length", 1e3, "times as many tokens as RS"),
    ("evaluate_dpo", "ended_share", 0.1, "DPO ends fewer of its answers than RS"),
  ],
)
def test_what_moved_the_wrong_way_is_said(chain, place, figure, value, said):
  work = xwin.Run(chain)
  assert said not in " ".join(warnings.notes(work))
  work.manifests[place]["figures"][figure] = value
  assert said in " ".join(warnings.notes(work))


def test_loss_spikes_are_said(work, monkeypatch):
  assert "dpo: the loss jumped at step 7, 31." in warnings.notes(work)
  figures = work.manifests["dpo"]["figures"]
  monkeypatch.setitem(figures, "loss_spikes", [1, 2, 3, 4, 5, 6, 7])
  assert "dpo: the loss jumped at step 1, 2, 3, 4, 5 and 2 more." in warnings.notes(work)
  monkeypatch.setitem(figures, "loss_spikes", [])
  assert "jumped" not in " ".join(warnings.notes(work))


def test_a_gamed_reward_model_and_displaced_answers_are_said(chain, monkeypatch):
  work = xwin.Run(chain)
  figures, before = (work.manifests[f"evaluate_{n}"]["figures"] for n in ("dpo", "rs"))
  figures["versus_previous"]["gain"] = {"mean": -0.4, "ci": [-0.6, -0.2], "significant": True}
  figures["rm_mean"], before["rm_mean"] = 2.0, 1.0
  rows = [{"gain_chosen": 0.0}] * 9 + [{"gain_chosen": -3.0}]
  monkeypatch.setattr(work, "metrics", lambda name: rows if name == "dpo" else [])
  said = " ".join(warnings.notes(work))
  assert "DPO is worse than RS: −0.40 [−0.60, −0.20]." in said
  assert "the reward model is being gamed" in said
  assert "DPO made the chosen answers less likely (−3.00 nats" in said
  rows[-1] = {"gain_chosen": 0.2}
  assert "less likely" not in " ".join(warnings.notes(work))


def steps(*rows):
  keys = ("step", "tokens", "rows", "length", "wait_s", "seconds", "first_of_shape")
  return [dict(zip(keys, row, strict=True)) for row in rows]


def test_speed_leaves_out_the_steps_that_compiled():
  rows = steps(
    (1, 30, 4, 10, 0.0, 9.0, True), (2, 30, 4, 10, 0.5, 1.0, False), (3, 20, 4, 10, 0.0, 1.0, False)
  )
  assert chain_files.speed(rows) == chain_files.Speed(3, 80, 25.0, 9.0, 0.25, pytest.approx(1 / 3))


def test_speed_twin_counting_the_compilation_changes_it():
  rows = steps((1, 30, 4, 10, 0.0, 9.0, False), (2, 50, 4, 10, 0.5, 2.0, False))
  found = chain_files.speed(rows)
  assert found is not None
  assert found.tokens_per_second != pytest.approx(25.0)


def test_timing_says_where_a_killed_chain_stands(killed):
  work = xwin.Run(killed("reward"))
  states = {row[0]: row[1] for row in pages.timing(work).rows}
  assert states["sft"] == "done"
  assert states["pretrain"] == "done, from the cache"
  assert states["reward"] == "begun, 40 steps"
  assert states["dpo"] == "not begun"


def test_a_line_of_metrics_cut_short_is_left_out(killed):
  folder = killed("dpo")
  with (folder / "dpo" / "metrics.jsonl").open("a") as f:
    f.write('{"step": 41, "lo')
  assert xwin.Run(folder).metrics("dpo")[-1]["step"] == 40


def test_a_damaged_manifest_is_named(killed):
  folder = killed("dpo")
  (folder / "sft" / "manifest.json").write_text('{"stage": ')
  with pytest.raises(UserError, match=r"sft/manifest.json: damaged; delete"):
    xwin.Run(folder)


@pytest.mark.parametrize("make", [lambda p: p / "nowhere", lambda p: p])
def test_a_folder_that_is_not_a_chains_is_refused(tmp_path, make):
  with pytest.raises(UserError, match=r"no such folder|holds no stage of a chain"):
    xwin.Run(make(tmp_path))
