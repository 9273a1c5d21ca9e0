"""experiments.curate on small files, and on real ones."""

import json

import pytest

from experiments import curate
from xwinjax.data import formats, jsonl

GOOD = "Plums grow on trees. They are sweet when ripe, sour before, and dried they keep long."


@pytest.fixture
def sources(tmp_path):
  number = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
  alpaca = [
    {
      "instruction": f"Say the {n} thing there is to know of {n} plums and {n} pears.",
      "output": f"The {n} {n} {n} of {n}: {n} is {n} in {n}, {n} and {n}.",
    }
    for n in number
  ]
  alpaca += [
    {"instruction": "What would the held-out question be about today?", "output": GOOD},
    {"instruction": "Tell of plums.", "output": f"I think so. {GOOD}"},
    {"instruction": "Tell me of pears, please.", "output": "Pears."},
    {**alpaca[0], "output": GOOD},
  ]
  posts = [
    {
      "site": "cooking",
      "title": f"How are {n} dishes cooked at {n}?",
      "answers": [
        {
          "text": f"<p>Cook {n} for {n} hours, then {n} more, and {n}.</p>",
          "score": 20 if n < "o" else 2,
        }
      ],
    }
    for n in number
  ]
  heldout = [{"prompt": "The held-out question be about today"}]
  return {
    name: jsonl.write_rows(tmp_path / f"{name}.jsonl", rows)
    for name, rows in {"alpaca": alpaca, "posts": posts, "heldout": heldout}.items()
  }


def flags(sources, folder, *more):
  return [
    "--config=configs/curate.py:alpaca",
    f"--workdir={folder}",
    f"--config.sources=('{sources['alpaca']}', '{sources['posts']}')",
    f"--config.heldout={sources['heldout']}",
    "--config.filters.shortest=20",
    "--config.count=8",
    "--config.dev=2",
    *more,
  ]


def test_a_table_says_what_was_kept_and_why_the_rest_was_not(sources, tmp_path, capsys):
  assert curate.command(flags(sources, tmp_path / "c")) == 0
  said = capsys.readouterr().out
  for line in (
    "read ",
    "kept ",
    "set apart for dev ",
    "dropped: first person ",
    "dropped: score under 4.5 ",
    "dropped: holds a held-out text ",
    "dropped: near-duplicate prompt ",
    "dropped: answer under 20 characters ",
  ):
    assert f"\n{line}" in said, said
  examples = list(formats.read_examples(tmp_path / "c" / "examples.jsonl"))
  dev = list(formats.read_examples(tmp_path / "c" / "dev.jsonl"))
  assert (len(examples), len(dev)) == (8, 2)
  assert {e.meta["source"] for e in examples} == {"alpaca", "posts"}
  ids = [e.id for e in examples + dev] + [
    row["id"] for _, row in jsonl.read_rows(tmp_path / "c" / "dropped.jsonl")
  ]
  assert len(ids) == len(set(ids)) == 24  # every row is somewhere
  near = [row for _, row in jsonl.read_rows(tmp_path / "c" / "dropped.jsonl") if "like" in row]
  assert [(r["id"], r["like"]) for r in near] == [("alpaca-14", "alpaca-1")]


def test_done_before_is_said_and_nothing_changes(sources, tmp_path, capsys):
  curate.command(flags(sources, tmp_path / "c"))
  first = capsys.readouterr().out
  assert curate.command(flags(sources, tmp_path / "c")) == 0
  again = capsys.readouterr()
  assert again.out == first
  assert "done before" in again.err


def test_another_seed_draws_others(sources, tmp_path):
  drawn = []
  for seed in (0, 1):
    curate.command(flags(sources, tmp_path / str(seed), f"--config.seed={seed}"))
    drawn.append((tmp_path / str(seed) / "examples.jsonl").read_text())
  assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
  ("more", "said"),
  [
    (["--config.sources=none.jsonl"], "config.sources=none.jsonl: no such file or folder"),
    (["--config.near_answer=1.5"], "config.near_answer is 1.5; expected 0 to 1"),
    (["--config.filters.shortest=2000"], "filters.shortest 2000 is more than longest 1200"),
  ],
)
def test_mistakes(sources, tmp_path, capsys, more, said):
  given = flags(sources, tmp_path / "c")
  if "sources" in more[0]:
    given = [f for f in given if "sources" not in f]
  assert curate.command([*given, *more]) == 2
  assert said in capsys.readouterr().err
  assert not (tmp_path / "c").exists()


def test_no_sources(tmp_path, capsys):
  assert curate.command([f"--workdir={tmp_path}/c"]) == 2
  assert "config.sources is empty" in capsys.readouterr().err


def test_a_filter_that_leaves_nothing(sources, tmp_path, capsys):
  given = flags(
    sources, tmp_path / "c", "--config.filters.need_score=true", "--config.filters.least_score=99.0"
  )
  assert curate.command(given) == 2
  assert "nothing is left" in capsys.readouterr().err


def test_real_files(shared, tmp_path, capsys):
  given = [
    "--config=configs/curate.py:alpaca",
    f"--workdir={tmp_path}/c",
    f"--config.sources=('{shared}/lima/lima.json.gz', '{shared}/rasbt/instruction-data.json')",
    f"--config.heldout={shared}/rasbt/instruction-data-with-preference.json",
    "--config.count=50",
    "--config.dev=5",
    "--config.filters.shortest=20",
  ]
  assert curate.command(given) == 0
  figures = json.loads((tmp_path / "c" / "manifest.json").read_text())["figures"]
  counts = figures["by_source"]
  assert counts["lima"]["read"] == 1029
  # The same instructions stand in the held-out file: they are found.
  assert counts["instruction-data"]["holds a held-out text"] > 400
  for c in counts.values():
    assert sum(n for name, n in c.items() if name != "read") == c["read"]
  assert "holds a held-out text" in capsys.readouterr().out
