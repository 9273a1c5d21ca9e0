import json

import jax
import pytest

from xwinjax.core.errors import UserError


@pytest.mark.slow
def test_rows_of_a_made_up_model(run, tmp_path):
  flags = (
    "--shape",
    "tiny",
    "--rounds",
    1,
    "--steps",
    2,
    "--batch",
    2,
    "--buckets",
    1,
    "--max_length",
    128,
    "--json",
  )
  text = run("bench", "train_sft", "load", *flags)
  found = json.loads(text)
  assert [row["name"] for row in found["rows"]] == ["train_sft", "load"]
  assert found["machine"]["cores"] >= 1
  (tmp_path / "old.json").write_text(text)
  again = run("bench", "load", *flags[:-1], "--compare", tmp_path / "old.json")
  assert "compared with" in again


@pytest.mark.slow
def test_the_server_answers_all_clients_of_the_bench(run):
  pytest.importorskip("openai", reason="needs the extra [judge]")
  flags = ("--shape", "tiny", "--rounds", 1, "--steps", 2, "--batch", 2, "--max_length", 128)
  (row,) = json.loads(run("bench", "serve", *flags, "--max_new", 24, "--json"))["rows"]
  assert row["unit"] == "tok/s"
  assert (row["answered"], row["lost"]) == (16, 0)
  assert row["tokens"] > 0
  assert row["p50_seconds"] <= row["p95_seconds"]
  assert row["offline_ratio"] == pytest.approx(row["ours"] / row["offline"])


@pytest.mark.parametrize(
  ("words", "says"),
  [
    (["train"], "'train' is not one of"),
    (["growth", "load"], "alone"),
    (["all", "--peer", "python3", "--shape", "tiny"], "leave --shape"),
    (["train_sft", "--engine", "python3"], "--engine is measured on sampling rows"),
    (["growth", "--engine", "python3"], "growth has no such side; leave --engine out"),
    (["serve", "--peer", "python3"], "serve has no such side; leave --peer out"),
    (["train_sft", "--plot", "x.png"], "--plot is of growth"),
    (["all", "--curves", "x.png"], "--curves needs --peer"),
    (["all", "--compare", "/no/such.json"], "/no/such.json"),
    (["all", "--data", "/no/folder"], "--data /no/folder"),
    (["load", "--model", "/no/folder"], "--model /no/folder"),
  ],
)
def test_wrong_arguments_get_one_line(run, words, says):
  with pytest.raises(UserError, match=says) as error:
    run("bench", *words)
  assert "\n" not in str(error.value)


def test_a_number_out_of_bounds_gets_one_line(run, capsys):
  with pytest.raises(SystemExit):
    run("bench", "all", "--rounds", "0")
  assert capsys.readouterr().err.startswith("error: argument --rounds: is 0; expected 1 to 4096;")


def test_a_device_this_machine_lacks_is_refused(run):
  lacking = "tpu" if jax.default_backend() == "gpu" else "gpu"
  with pytest.raises(UserError, match=f"--device {lacking}: jax finds none here"):
    run("bench", "load", "--device", lacking)
