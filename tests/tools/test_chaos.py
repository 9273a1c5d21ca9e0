"""The tools that break things, at the size of a test; docs/reliability.md has larger tables."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from trials import damage, fuzz, memory, mutants, runs

from xwinjax import report
from xwinjax.core.errors import UserError

ROOT = Path(__file__).parents[2]


def call(*words, cache=None):
  """A tool in a process of its own: (exit status, its JSON)."""
  where = {"XWINJAX_CACHE": str(cache)} if cache else {}
  done = subprocess.run(
    [sys.executable, *map(str, words), "--json"],
    cwd=ROOT,
    env=runs.environment(PYTHONPATH=str(ROOT), **where),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout, done.stderr[-2000:]
  return done.returncode, json.loads(done.stdout)


def test_every_bug_still_fits_the_code():
  rows = mutants.fitting(mutants.chosen("", 0))
  assert [r for r in rows if r["outcome"] != "fits"] == []
  assert len(rows) >= 40
  assert len({r["name"] for r in rows}) == len(rows)


def test_twin_an_edit_that_fits_no_more_is_told():
  gone = [mutants.Mutant("x", "core/rng.py", "no such line", "", ("core/test_core.py",))]
  [row] = mutants.fitting(gone)
  assert (row["outcome"], row["by"]) == ("unfit", "found 0 times")


def test_names_of_failed_tests_are_read_whole():
  said = "FAILED tests/a.py::test_x[bit flipped] - Failed: no\nERROR tests/b.py\n1 failed\n"
  assert mutants.failed(said) == ["a.py::test_x[bit flipped]", "b.py"]


def test_part_of_a_run_may_have_no_summary_yet(tmp_path):
  (tmp_path / "recipe.json").write_text('{"recipe": "lima"}')
  with pytest.raises(UserError, match="holds no run"):
    report.summary(tmp_path)
  with runs.part_of_a_run():
    assert report.text(report.summary(tmp_path), "lima") == ""


def test_every_kind_of_damage_changes_a_file(tmp_path):
  for kind in damage.KINDS:
    path = tmp_path / kind
    path.write_bytes(b"0123456789" * 20)
    damage.harm(path, kind, random.Random(1))
    assert not path.exists() or path.read_bytes() != b"0123456789" * 20


def test_mutations_change_bytes_and_are_those_of_the_seed():
  good = b'{"a": 1, "b": [1.5, "text", null]}'
  made = [fuzz.mutate(good, random.Random(seed)) for seed in range(50)]
  assert made == [fuzz.mutate(good, random.Random(seed)) for seed in range(50)]
  assert sum(m != good for m in made) > 40


def test_a_slope_is_seen_and_noise_is_not():
  assert memory.slope([(n, 10**8 + 1000 * n) for n in range(40)]) == 1000
  rng = random.Random(0)
  assert abs(memory.slope([(n, 10**8 + rng.randrange(64)) for n in range(4000, 8000, 100)])) < 1


@pytest.mark.slow
def test_fuzzed_readers_are_right_or_say_one_line(tmp_path):
  status, made = call("tools/chaos", "fuzz", "--times", 50, cache=tmp_path)
  assert made["wrong"] == []
  assert status == 0
  assert set(made["outcomes"]) == {"read", "refused"}
  assert made["cases"] == 50 * made["readers"]


@pytest.mark.slow
def test_damaged_files_are_refused_or_made_again():
  status, made = call("tools/chaos", "damage", "--times", 8)
  assert made["wrong"] == []
  assert status == 0
  assert made["well"] == made["damages"] == 12


@pytest.mark.slow
def test_killed_stages_end_with_the_same_bits():
  words = ("--recipe", "xwin", "--stages", "pretrain,sft,label", "--times", 2)
  status, made = call("tools/chaos", "kill", *words)
  assert made["wrong"] == []
  assert status == 0
  assert made["by_recipe"]["xwin"] == {"same seed again": "1/1", "kill -9": "6/6"}


@pytest.mark.slow
def test_some_bugs_are_noticed(tmp_path):
  status, made = call("tools/mutants", "--only", "eval/")
  assert made["wrong"] == []
  assert status == 0
  assert made["killed"] == made["mutants"] >= 3


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
  status, made = call("tools/chaos", "memory", "--times", 300)
  assert status == 0, made
  assert made["training"]["steps"] >= 290


def test_verify_prints_what_it_found(run, tmp_path):
  from xwinjax.stages import manifest

  folder = tmp_path / "s"
  write = lambda: (folder / "out.txt").write_text("out") and {}
  manifest.run_stage(folder, "s", {}, {}, ("out.txt",), write)
  assert "1 stages done" in run("verify", folder)
  assert json.loads(run("verify", "--json", folder))["ok"] is True
  (folder / "out.txt").write_text("Out")
  found = json.loads(run("verify", "--json", folder))
  assert found["findings"] == [
    {"file": f"{folder}/out.txt", "problem": "is not as its stage wrote it"}
  ]
  assert f"{folder}/out.txt: is not as its stage wrote it" in run("verify", folder)
