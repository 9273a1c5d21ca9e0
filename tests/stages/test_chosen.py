"""Where the settings leave the precision open, a stage takes this machine's, and stays with it."""

import jax
import pytest

from xwinjax.core import machine
from xwinjax.data import jsonl
from xwinjax.sandbox import stages as sandbox
from xwinjax.stages import common, manifest
from xwinjax.stages.stage import Context, Stage
from xwinjax.train.optim import OptimConfig

FAST_ROUNDED = machine.Rates(float32=1e9, rounded=4e9)
FAST_FLOAT32 = machine.Rates(float32=4e9, rounded=1e9)


def on(monkeypatch, rates):
  monkeypatch.setattr(machine, "rates_here", lambda: rates)


def stage_that(make):
  return Stage("s", OptimConfig, make, {}, ("out.txt",), uses=("model", "seed"))


def run(folder, make, dtype="auto"):
  context = Context(common.ModelConfig(dtype=dtype))
  return stage_that(make).run(context, folder, OptimConfig(), {})


def write_dtype(context, config, folder):
  (folder / "out.txt").write_text(context.model.dtype)
  return {"dtype": context.model.dtype}


def die(context, config, folder):
  (folder / "half.txt").write_text("begun")
  raise KeyboardInterrupt


@pytest.mark.parametrize(("rates", "dtype"), [(FAST_ROUNDED, "mixed"), (FAST_FLOAT32, "float32")])
def test_the_faster_precision_is_used_and_recorded_with_its_reason(
  tmp_path, monkeypatch, rates, dtype
):
  on(monkeypatch, rates)
  assert run(tmp_path / "s", write_dtype) == {"dtype": dtype}
  chosen = jsonl.read_json(tmp_path / "s" / "manifest.json")["chosen"]
  assert chosen["dtype"] == dtype
  assert "GFLOP/s" in chosen["because"]
  assert jsonl.read_json(tmp_path / "s" / "manifest.json")["config"]["model"]["dtype"] == "auto"


def test_what_was_begun_goes_on_in_its_precision_on_another_machine(tmp_path, monkeypatch):
  on(monkeypatch, FAST_ROUNDED)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path / "s", die)
  on(monkeypatch, FAST_FLOAT32)
  assert run(tmp_path / "s", write_dtype) == {"dtype": "mixed"}
  assert run(tmp_path / "new", write_dtype) == {"dtype": "float32"}


def test_what_an_earlier_version_began_goes_on_in_float32(tmp_path, monkeypatch):
  on(monkeypatch, FAST_ROUNDED)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path / "s", die)
  begun = manifest.settings(tmp_path / "s")
  jsonl.write_json(tmp_path / "s" / "settings.json", {k: begun[k] for k in begun if k != "chosen"})
  assert run(tmp_path / "s", write_dtype) == {"dtype": "float32"}


def test_what_is_done_stays_done_on_another_machine(tmp_path, monkeypatch):
  on(monkeypatch, FAST_ROUNDED)
  run(tmp_path / "s", write_dtype)
  on(monkeypatch, FAST_FLOAT32)
  refuse = lambda *_: pytest.fail("done again")
  assert run(tmp_path / "s", refuse) == {"dtype": "mixed"}


def test_a_given_precision_is_taken_as_it_is(tmp_path, monkeypatch):
  on(monkeypatch, FAST_ROUNDED)
  assert run(tmp_path / "s", write_dtype, "float32") == {"dtype": "float32"}
  assert "chosen" not in jsonl.read_json(tmp_path / "s" / "manifest.json")


def test_names_stand_for_fields_of_a_model(monkeypatch):
  rounded = {"dtype": "float32", "operands": "bfloat16"}
  on(monkeypatch, FAST_ROUNDED)
  assert common.compute_dtype("auto") == common.compute_dtype("mixed") == rounded
  on(monkeypatch, FAST_FLOAT32)
  assert common.compute_dtype("auto") == common.compute_dtype("float32") == {"dtype": "float32"}
  assert common.compute_dtype("mixed") == rounded  # as it was asked for
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  assert common.compute_dtype("auto") == common.compute_dtype("mixed") == {"dtype": "bfloat16"}


def test_a_kept_base_model_is_of_one_precision(tmp_path, monkeypatch):
  documents = tmp_path / "documents.jsonl"
  documents.write_text("{}\n")
  name = lambda dtype: sandbox.kept_name(
    Context(common.ModelConfig(dtype=dtype)), sandbox.PretrainConfig(), documents
  )
  on(monkeypatch, FAST_ROUNDED)
  assert name("auto") == name("mixed") != name("float32")
