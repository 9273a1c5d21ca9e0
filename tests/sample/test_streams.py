"""Streams: several decoding loops side by side, a thread each."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from xwinjax.core import system
from xwinjax.sample import run, scheduler
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Sampler, SamplerConfig


@pytest.fixture(scope="module")
def two(settings):
  """Two streams of one prompt slot of four candidates each."""
  return dataclasses.replace(settings, streams=2)


def test_streams_give_what_one_gives(sampler, requests, two):
  """To the bit, log-probs too, with as many slots as one of them has; each writes some of it."""
  one = dataclasses.replace(two, streams=1, slots=4)
  writers = set()

  class Watched(run.Run):
    def _decode(self, active):
      writers.add(threading.current_thread().name)
      return super()._decode(active)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(scheduler, "Run", Watched)
    found = sampler(settings=two).sample(requests)
  assert found == sampler(settings=one).sample(requests)
  assert len(writers) == 2


def test_twin_keys_by_slot_show(sampler, requests, found, two, monkeypatch):
  """If a draw had its key from the slot and not from its number, streams would differ."""
  whole = run.rng.sample_keys
  monkeypatch.setattr(
    run.rng, "sample_keys", lambda seed, prompt, n: whole(seed, prompt, np.arange(len(n)))
  )
  others = sampler(settings=two).sample(requests)
  assert [c.ids for a, _ in others for c in a] != [c.ids for a, _ in found for c in a]


def test_progress_is_told_in_the_caller_s_thread(sampler, requests, found, two):
  told, threads = [], set()

  def hear(finished, tokens):
    told.append((finished, tokens))
    threads.add(threading.current_thread())

  sampler(settings=two).sample(requests, hear)
  assert [sum(x) for x in zip(*told, strict=True)] == [
    len(requests),
    sum(len(c.ids) for answers, _ in found for c in answers),
  ]
  assert threads == {threading.current_thread()}


def test_what_one_stream_meets_ends_all(model, requests, two):
  config, params = model
  broken = jax.tree.map(lambda x: x * np.nan, params)
  with pytest.raises(FloatingPointError, match="not finite"):
    Sampler(config, broken, SamplingParams(), stop_ids=(2,), settings=two).sample(requests)
  assert not [t for t in threading.enumerate() if t.name.startswith("sample")]


def test_an_interrupted_caller_leaves_no_thread_behind(sampler, requests, two):
  def interrupt(finished, tokens):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    sampler(settings=two).sample(requests, interrupt)
  assert not [t for t in threading.enumerate() if t.name.startswith("sample")]


def test_streams_compile_what_one_does(sampler, requests, two, compiled_names):
  """Both want the loop at once; only the first compiles it."""
  sampler(settings=dataclasses.replace(two, block=2)).sample(requests)
  assert compiled_names.count("jit(decode_block)") == 1
  assert compiled_names.count("jit(start_prompts)") <= 1


def test_as_many_streams_as_cores_but_16_slots_each(sampler, monkeypatch):
  def streams(**changes):
    return scheduler.streams(sampler(settings=SamplerConfig(**changes)).setup)

  monkeypatch.setattr(system.os, "sched_getaffinity", lambda _: range(4), raising=False)
  assert [streams(slots=n) for n in (8, 16, 48, 64, 256)] == [1, 1, 3, 4, 4]
  assert streams(slots=8, streams=3) == 3
  monkeypatch.setattr(scheduler.jax, "default_backend", lambda: "gpu")
  assert streams(slots=256) == 1


@pytest.mark.parametrize(
  ("change", "said"), [({"streams": -1}, "streams is -1"), ({"slots": 0}, "slots is 0")]
)
def test_sizes_that_cannot_be_are_refused(change, said):
  with pytest.raises(ValueError, match=said):
    SamplerConfig(**change)
