"""What was changed on disk is refused by name or made again, never believed."""

import json
from types import SimpleNamespace

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl, seal
from xwinjax.report.workdir import Stages
from xwinjax.sample.scheduler import SamplerConfig
from xwinjax.stages import manifest, reference, sample
from xwinjax.stages.sample import GenerateConfig, SampleConfig
from xwinjax.stages.stage import Context

FIGURES = {"rm_mean": -0.0168, "gold_mean": 0.0, "curve": [1.5, 2.25], "ended": None}


@pytest.fixture
def done(tmp_path):
  """The folder of a finished stage with a few figures."""
  manifest.run_stage(tmp_path / "s", "s", {"lr": 0.1}, {}, (), lambda: FIGURES)
  return tmp_path / "s"


class OneStage(Stages):
  def order(self):
    return ("s",)


def refused(folder) -> bool:
  """Whether the stage and the report both refuse the manifest, in a line that names it."""
  said = []
  for read in (lambda: manifest.read(folder), lambda: OneStage(folder.parent)):
    try:
      read()
    except UserError as e:
      said.append(str(e))
  assert all(s.startswith(f"{folder}/manifest.json: ") and "\n" not in s for s in said)
  return len(said) == 2


def test_a_manifest_is_read_as_it_was_written(done):
  record = manifest.read(done)
  assert record is not None
  assert record["figures"] == FIGURES == OneStage(done.parent).figures("s")
  rewritten = json.dumps(record)  # laid out in another way, it says the same
  (done / "manifest.json").write_text(rewritten)
  assert not refused(done)


@pytest.mark.parametrize(
  ("was", "now"), [("-0.0168", "-4.0168"), ("0.0,", "4.0,"), ("2.25", "2.75"), ("null", "1.0")]
)
def test_a_changed_figure_is_refused(done, was, now):
  file = done / "manifest.json"
  text = file.read_text()
  assert was in text
  file.write_text(text.replace(was, now, 1))
  assert refused(done)
  with pytest.raises(UserError, match=r"manifest.json: damaged"):
    manifest.run_stage(done, "s", {"lr": 0.1}, {}, (), lambda: pytest.fail("done again"))


def test_no_flipped_bit_of_a_manifest_is_believed(done):
  file = done / "manifest.json"
  whole = file.read_bytes()
  wanted = manifest.read(done)
  for at in range(0, len(whole), 3):
    flipped = bytearray(whole)
    flipped[at] ^= 1 << (at % 7)
    file.write_bytes(flipped)
    try:
      same = json.loads(flipped) == wanted
    except ValueError:
      same = False
    assert same or refused(done), flipped[max(at - 20, 0) : at + 20]


def test_a_manifest_of_before_has_no_seal_and_is_read(done):
  file = done / "manifest.json"
  record = json.loads(file.read_text())
  for name in ("sha256", "format", "files"):
    del record[name]
  file.write_text(json.dumps(record))
  assert not refused(done)
  file.write_text(json.dumps({**record, "sha255": "0"}))  # the seal's own name may be damaged
  assert refused(done)


@pytest.fixture
def sampled(tiny_folder, tmp_path):
  """run(): samples in two parts, or goes on; the folder, and how many parts it drew."""
  asked = [{"messages": [{"role": "user", "content": c}]} for c in ("One?", "Two?", "Three?")]
  inputs = {"model": tiny_folder, "prompts": jsonl.write_rows(tmp_path / "p.jsonl", asked)}
  generate = GenerateConfig(2, 4, sampler=SamplerConfig(4, 1, block=4, window=8))
  folder = tmp_path / "s"

  def run():
    (folder / "manifest.json").unlink(missing_ok=True)
    sample.STAGE.run(Context(), folder, SampleConfig(generate=generate, shard=2), inputs)
    return (folder / "candidates.jsonl").read_bytes()

  return folder, run


def changed(text):
  row = json.loads(text.splitlines()[0])
  row["candidates"][0]["text"] += " not"
  return "\n".join([json.dumps(row), *text.splitlines()[1:]]) + "\n"


@pytest.mark.parametrize(
  "damage",
  [changed, lambda text: text[: len(text) // 2], lambda text: text.split("\n", 1)[1], lambda _: ""],
  ids=["an answer changed", "cut short", "a row missing", "empty"],
)
def test_a_damaged_part_is_drawn_again(sampled, damage):
  folder, run = sampled
  whole = run()
  part = folder / "parts" / "00000.jsonl"
  text = part.read_text()
  part.write_text(damage(text))
  assert not seal.whole_part(part)
  assert run() == whole
  assert part.read_text() == text


def test_a_part_as_it_was_is_kept_and_one_without_a_seal_is_drawn_again(sampled):
  folder, run = sampled
  whole = run()
  part = folder / "parts" / "00001.jsonl"
  before = part.stat().st_mtime_ns
  assert run() == whole
  assert part.stat().st_mtime_ns == before
  part.with_suffix(".sha256").unlink()
  assert run() == whole
  assert part.stat().st_mtime_ns > before


@pytest.mark.parametrize(
  ("row", "says"),
  [
    ({"id": "b", "chosen": -1.0}, "logps.jsonl:3: lacks a finite log-prob"),
    ({"id": "b", "chosen": -1.0, "rejected": None}, "logps.jsonl:3: lacks a finite log-prob"),
    ({"id": "b", "chosen": -1.0, "rejected": 1e300}, "logps.jsonl:3: lacks a finite log-prob"),
    ({"id": "b", "chosen": -1.0, "rejected": "-2"}, "field 'rejected': found '-2', expected a num"),
    ({"id": "c", "chosen": -1.0, "rejected": -2.0}, "does not hold these pairs in this order"),
  ],
)
def test_stored_log_probs_that_were_damaged_get_a_line(row, says, tmp_path):
  good = [{"key": "k"}, {"id": "a", "chosen": -1.0, "rejected": -2.5}]
  ids = SimpleNamespace(ids=["a", "b"], fields={})
  last = {"id": "b", "chosen": -3.0, "rejected": -4.0}
  path = jsonl.write_rows(tmp_path / "logps.jsonl", [*good, last])
  assert reference.read(path, "k", ids).tolist() == [[-1.0, -2.5], [-3.0, -4.0]]
  jsonl.write_rows(path, [*good, row])
  with pytest.raises(UserError) as e:
    reference.read(path, "k", ids)
  assert says in str(e.value)
  assert "run the reference stage again" in str(e.value)


def test_twin_without_the_check_a_changed_answer_is_believed(sampled, monkeypatch):
  folder, run = sampled
  whole = run()
  part = folder / "parts" / "00000.jsonl"
  part.write_text(changed(part.read_text()))
  monkeypatch.setattr(seal, "whole_part", lambda path: path.exists())
  assert run() != whole
