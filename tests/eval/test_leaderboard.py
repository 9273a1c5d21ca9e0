"""AlpacaEval's win rates against alpaca_eval 0.6.6 and the published leaderboards."""

import csv
import dataclasses
import json
import math
import random

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the extra [leaderboard]")

from experiments import leaderboard as command
from xwinjax.core.errors import UserError
from xwinjax.eval import leaderboard

BASE = {"generator_1": "base", "generator_2": "m", "annotator": "gpt"}


def made_up(n=60, seed=0):
  """Annotations by a judge that likes length; the official package was given the same."""
  rng, rows = random.Random(seed), []
  for i in range(n):
    a, b = rng.randint(5, 80), rng.randint(25, 110)
    p = 1 / (1 + math.exp(-(b - a) / 30 + 0.8 + rng.gauss(0, 1)))
    share = [round(p, 3), round(p), 0.5][i % 3]
    rows.append(
      {"instruction": f"q{i}", "output_1": "x" * a, "output_2": "y" * b, **BASE}
      | {"preference": None if i == 7 else 1 + share}
    )
  return rows


def made_up_gamed(n=60, seed=1):
  rng = random.Random(seed)
  difficulty = [round(rng.gauss(0, 1), 3) for _ in range(n)]
  return [
    [round(rng.random(), 3), round(sign * rng.random(), 3), difficulty[i], False, i]
    for sign in (-1, 1)
    for i in range(n)
  ]


@pytest.fixture
def files(tmp_path):
  annotations, gamed = tmp_path / "annotations.json", tmp_path / "df_gamed.csv"
  annotations.write_text(json.dumps(made_up()))
  names = ["preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline", "index"]
  with gamed.open("w", newline="") as file:
    csv.writer(file).writerows([names, *made_up_gamed()])
  return annotations, gamed


def rows_of(annotations, gamed=None):
  known = leaderboard.read_gamed(gamed) if gamed else None
  return list(leaderboard.rows(leaderboard.read([annotations]), known))


def test_all_figures_are_the_official_packages(files):
  """The numbers are alpaca_eval 0.6.6's for these rows, printed by it."""
  (row,) = rows_of(*files)
  assert {k: row[k] for k in ("n_wins", "n_wins_base", "n_draws", "n_total")} == OFFICIAL_COUNTS
  for key, value in OFFICIAL.items():
    assert row[key] == pytest.approx(value, rel=1e-9), key
  (minimal,) = rows_of(files[0])
  assert minimal["length_controlled_winrate"] == pytest.approx(OFFICIAL_MINIMAL, rel=1e-9)


OFFICIAL_COUNTS = {"n_wins": 22, "n_wins_base": 17, "n_draws": 20, "n_total": 59}
OFFICIAL = {
  "win_rate": 50.618644067796616,
  "standard_error": 4.125983207887846,
  "discrete_win_rate": 54.23728813559322,
  "length_controlled_winrate": 39.58883194876118,
  "lc_standard_error": 0.15602901901798108,
}
OFFICIAL_MINIMAL = 36.7304194810296


def test_length_control_is_about_the_lengths_of_the_rows_own_answers(files):
  """The twin: with lengths of other rows nothing is controlled, and the raw rate comes out."""
  (entry,) = leaderboard.read([files[0]])
  right = leaderboard.length_controlled(entry, None)["length_controlled_winrate"]
  raw = leaderboard.win_rate(entry.preferences())["win_rate"]
  outputs = [r.outputs for r in entry.rows]
  random.Random(2).shuffle(outputs)
  mixed = [dataclasses.replace(r, outputs=o) for r, o in zip(entry.rows, outputs, strict=True)]
  wrong = leaderboard.length_controlled(dataclasses.replace(entry, rows=mixed), None)
  assert raw - right > 10
  assert abs(wrong["length_controlled_winrate"] - raw) < 5


def test_the_official_package_agrees_where_it_is_installed(files, monkeypatch):
  glm = pytest.importorskip("alpaca_eval.metrics.glm_winrate", reason="needs alpaca_eval")
  monkeypatch.setattr(glm, "hf_hub_download", lambda **_: str(files[1]))
  import pandas as pd  # pyright: ignore[reportMissingImports]

  official = glm.get_length_controlled_winrate(pd.DataFrame(made_up()), save_weights_dir=None)
  (row,) = rows_of(*files)
  assert abs(row["length_controlled_winrate"] - official["length_controlled_winrate"]) < 0.1


def test_weighted_preferences_are_weighed_and_not_rounded():
  row = leaderboard.win_rate(np.array([0.9, 0.6, 0.2, np.nan]))
  assert row["win_rate"] == pytest.approx(100 * 1.7 / 3)
  assert (row["discrete_win_rate"], row["n_total"]) == (pytest.approx(200 / 3), 3)


def write(path, *rows):
  path.write_text("\n".join(json.dumps(row) for row in rows))
  return path


ROW = {"instruction": "q", "output_1": "a", "output_2": "bb", **BASE, "preference": 2}


def test_draws_nulls_repeats_and_text_numbers(tmp_path):
  rows = [{**ROW, "instruction": f"q{i}", "preference": p} for i, p in enumerate((0, 1.5, "2"))]
  path = write(tmp_path / "a.jsonl", *rows, rows[0], {**ROW, "preference": None})
  (entry,) = leaderboard.read([path])
  assert [r.preference for r in entry.rows] == [1.5, 1.5, 2, None]
  (row,) = rows_of(path)
  assert row["n_draws"] == 2
  assert row["notes"] == [
    "1 without a preference",
    "1 annotated twice (the first counts)",
    "no length-controlled win rate: 3 annotations are too few",
  ]


def test_a_pair_told_the_other_way_round_is_turned(tmp_path):
  other = {**ROW, "instruction": "r", "generator_1": "m", "generator_2": "base", "preference": 1.25}
  path = write(tmp_path / "a.jsonl", ROW, other)
  (entry,) = leaderboard.read([path])
  assert (entry.model, [r.preference for r in entry.rows]) == ("m", [2, 1.75])
  (turned,) = leaderboard.read([path], baseline="m")
  assert (turned.model, [r.preference for r in turned.rows]) == ("base", [1, 1.25])


def test_several_files_models_and_annotators(tmp_path):
  one = write(tmp_path / "a.jsonl", ROW, {**ROW, "generator_2": "n", "preference": 1})
  two = write(tmp_path / "b.json", {**ROW, "annotator": "claude"})
  rows = list(leaderboard.rows(leaderboard.read([one, two]), None))
  assert [(r["annotator"], r["model"], r["win_rate"]) for r in rows] == [
    ("claude", "m", 100),
    ("gpt", "m", 100),
    ("gpt", "n", 0),
  ]


def test_outputs_may_be_missing(tmp_path):
  bare = {k: v for k, v in ROW.items() if not k.startswith("output")}
  (row,) = rows_of(write(tmp_path / "a.json", bare))
  assert (row["win_rate"], row["avg_length"]) == (100, None)
  assert "outputs are missing" in row["notes"][0]


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"preference": 3}, "a.jsonl:2: field 'preference': found 3, expected 1 to 2, 0 or null"),
    ({"preference": True}, "found True"),
    ({"preference": "m"}, "found 'm'"),
    ({"generator_2": None}, "field 'generator_2': found None"),
    ({"instruction": 5}, "field 'instruction': found 5"),
  ],
)
def test_garbled_rows_end_in_a_line(tmp_path, capsys, change, said):
  path = write(tmp_path / "a.jsonl", ROW, {**ROW, **change})
  assert command.command([str(path)]) == 2
  told = capsys.readouterr().err
  assert said in told
  assert told.count("\n") == 1


def test_difficulties_go_with_the_whole_set_only(files):
  annotations, gamed = files
  annotations.write_text(json.dumps(made_up()[:-1]))
  (row,) = rows_of(annotations, gamed)
  assert row["length_controlled_winrate"] is None
  assert "59 annotations, but df_gamed.csv knows 60 instructions" in row["notes"][-1]


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("a,b\n1,2\n", ":1: lacks column 'index'"),
    (
      "preference,std_delta_len,instruction_difficulty,not_gamed_baseline,index\nx,1,1,False,0\n",
      "df_gamed.csv:2: ",
    ),
  ],
)
def test_another_csv_is_refused(tmp_path, text, said):
  path = tmp_path / "df_gamed.csv"
  path.write_text(text)
  with pytest.raises(UserError, match=said):
    leaderboard.read_gamed(path)


def test_the_published_rows(shared, capsys, tmp_path):
  """Raw figures to all digits; length control without df_gamed.csv is named as another."""
  folder = shared / "alpaca-eval"
  names = ("annotations_alpaca_eval_gpt4", "annotations_weighted_gpt4_turbo")
  board = tmp_path / "board.csv"
  paths = [str(folder / name / "alpaca-7b.json.gz") for name in names]
  assert command.command([*paths, "--csv", str(board)]) == 0
  assert "LC knows lengths alone" in capsys.readouterr().out
  head, *found = csv.reader(board.open())
  published = [row[1:] for row in csv.reader((folder / "leaderboard_alpaca-7b.csv").open())]
  for ours, names, theirs in zip(found, published[::2], published[1::2], strict=True):
    expected = dict(zip(names, theirs, strict=True))
    mine = dict(zip(head, ours, strict=True))
    raw = ("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total")
    for key in (*raw, "discrete_win_rate", "avg_length"):
      assert float(mine[key]) == pytest.approx(float(expected[key]), rel=1e-12), key
    assert "length_controlled_winrate" not in mine
