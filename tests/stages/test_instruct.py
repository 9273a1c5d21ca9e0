"""New prompts: what is shown, what is dropped and why, and going on after a kill."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.sample import Completion
from xwinjax.stages import instruct
from xwinjax.stages.instruct import FilterConfig, Filters, InstructConfig, few_shots, shown_shots
from xwinjax.stages.stage import Context

SEEDS = [
  "Write a poem about the sea.",
  "How many legs has a spider?",
  "Name three kinds of cheese.",
]


def dropped(text, finish="stop", **changes):
  return Filters(FilterConfig(**changes), SEEDS, ["What do owls eat at night?"]).take(
    [(text, finish)]
  )[0]


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("Explain how rain comes about.", ""),
    ("Say it again", "shorter than 4 words"),
    ("word " * 151, "longer than 150 words"),
    ("Draw me a house with a garden.", "holds a keyword"),
    ("Describe this image in detail.", "holds a keyword"),
    ("Explain imagery to a child.", ""),  # a word, not a part of one
    ("- Explain how rain comes about.", "starts with punctuation"),
    ("$5 is how many euros?", "starts with punctuation"),
    ("Über den Regen etwas sagen.", "starts with a character beyond ASCII"),
    ("", "empty"),
    ("Write a poem about the sun.", "ROUGE-L with another prompt above 0.7"),
    ("What do owls eat by night?", "ROUGE-L with a held-out prompt above 0.7"),
  ],
)
def test_each_filter_has_its_reason(text, reason):
  assert dropped(text) == reason


def test_what_was_cut_off_is_dropped():
  assert dropped("Explain how rain comes", finish="length") == "cut off at max_new"


def test_rouge_at_the_threshold_is_kept():
  # Five of six words in common with a seed: 2 * 5 / (6 + 6) = 0.8333.
  text = "Write a poem about the sun."
  assert dropped(text, rouge=0.84) == ""
  assert dropped(text, rouge=0.83) != ""


def test_what_is_kept_keeps_out_its_like():
  filters = Filters(FilterConfig(), SEEDS, [])
  one, two = ("Explain how rain comes about.", "stop"), ("Explain how snow comes about.", "stop")
  assert filters.take([one, two]) == ["", "ROUGE-L with another prompt above 0.7"]
  assert filters.take([two]) == ["ROUGE-L with another prompt above 0.7"]
  assert filters.take([("Count to ten in French.", "stop")]) == [""]


def test_twin_without_the_pool_repeats_pass(monkeypatch):
  monkeypatch.setattr("xwinjax.data.rouge.Pool.add", lambda self, text: None)
  filters = Filters(FilterConfig(), SEEDS, [])
  assert filters.take([("Explain how rain comes about.", "stop")] * 2) == ["", ""]


def test_six_seeds_and_two_of_its_own_are_shown():
  seeds, own = [f"seed {i}" for i in range(20)], [f"own {i}" for i in range(5)]
  shown = shown_shots(InstructConfig(), seeds, own, "key")
  assert sum(s.startswith("seed") for s in shown) == 6
  assert sum(s.startswith("own") for s in shown) == 2
  assert len(set(shown)) == 8
  assert shown == shown_shots(InstructConfig(), seeds, own, "key")
  assert shown != shown_shots(InstructConfig(), seeds, own, "another key")
  assert len(shown_shots(InstructConfig(), seeds, [], "key")) == 8  # seeds stand in at first
  assert len(shown_shots(InstructConfig(), SEEDS, [], "key")) == 3


@pytest.mark.parametrize(
  ("text", "prompt"),
  [
    ("Say hi.", "Say hi."),
    (" Say hi.\n\nTask 10: Go on.", "Say hi."),
    ("Say hi.\nTask 10: Go on.", "Say hi."),
    ("Sum up:\nRain falls.", "Sum up:\nRain falls."),
  ],
)
def test_a_new_prompt_ends_where_the_next_begins(text, prompt):
  assert instruct.read_new(Completion([1], [0.0], "stop", text)) == prompt


def test_the_few_shots_end_with_an_open_task():
  assert few_shots("Tasks.", ["a", "b"]).endswith("Task 2: b\n\nTask 3:")


WEATHER = ("rain", "snow", "wind", "fog", "hail", "sun", "ice", "storm", "dew", "mist")


class Writer:
  """A sampler whose prompts follow from the requests' ids, and that remembers its requests."""

  def __init__(self, sampler):
    self.decode, self.calls = sampler.setup.decode_text, []

  def sample(self, requests, on_tokens=None):
    self.calls.append([(r.id, tuple(r.prompt)) for r in requests])
    return [([self._write(r.id)], 0) for r in requests]

  def _write(self, id):
    _, n, i = id.split("/")
    text = f"{WEATHER[int(i)]} comes {WEATHER[int(n) + 1]} when it {n}{i}?"
    return Completion([1], [0.0], "stop", text)


@pytest.fixture
def stage(tiny_folder, tmp_path, monkeypatch):
  """(run(folder, earlier, changes…) of a small stage, its writers so far)."""
  seeds = jsonl.write_rows(tmp_path / "seeds.jsonl", [{"prompt": s} for s in SEEDS])
  writers = []
  real = instruct.make_sampler

  def make(*args):
    writers.append(Writer(real(*args)))
    return writers[-1]

  monkeypatch.setattr(instruct, "make_sampler", make)
  config = InstructConfig(count=8, shard=4, header="Tasks.")
  generate = dataclasses.replace(config.generate, max_new=16)

  def run(folder, earlier=None, **changes):
    mine = dataclasses.replace(config, generate=generate, **changes)
    reads = {"model": tiny_folder, "seeds": seeds, "earlier": earlier}
    return instruct.STAGE.run(Context(), folder, mine, reads)

  return run, writers


def prompts(folder):
  return [
    json.loads(line)["messages"][0]["content"]
    for line in (folder / "prompts.jsonl").read_text().splitlines()
  ]


def test_the_stage_writes_as_many_as_were_wanted_and_counts(stage, tmp_path):
  run, writers = stage
  figures = run(tmp_path / "out")
  assert figures["prompts"] == len(prompts(tmp_path / "out")) == 8
  assert figures["counts"]["kept"] == 8
  assert figures["counts"]["drawn"] == sum(figures["counts"].values()) - figures["counts"]["drawn"]
  assert figures["diversity"]["prompts"] == 8
  assert len(writers[0].calls) >= 2


def test_killed_between_shards_it_ends_with_the_same_prompts(stage, tmp_path):
  run, writers = stage
  run(tmp_path / "run")
  whole, asked = prompts(tmp_path / "run"), writers[0].calls
  for name in ("manifest.json", "prompts.jsonl", "parts/00001.jsonl"):
    (tmp_path / "run" / name).unlink()
  run(tmp_path / "run")
  assert prompts(tmp_path / "run") == whole
  assert writers[1].calls == asked[1:]  # only what was missing, shown the same prompts


def test_earlier_prompts_are_shown_and_not_written_again(stage, tmp_path):
  run, _ = stage
  run(tmp_path / "one")
  earlier = str(tmp_path / "one" / "prompts.jsonl")
  with pytest.raises(UserError, match=r"no new prompt was kept: .*another prompt above 0.7"):
    run(tmp_path / "two", earlier, most_draws=1, count=4)


def test_seeds_too_long_to_show_are_refused(stage, tmp_path):
  run, _ = stage
  with pytest.raises(UserError, match="every prompt is longer than shot_words=2"):
    run(tmp_path / "out", shot_words=2)
