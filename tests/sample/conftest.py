import functools

import numpy as np
import pytest
from compiled import logits, small_config, small_params

from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Request, Sampler, SamplerConfig

CONFIG = small_config(num_layers=1, max_length=64)
SETTINGS = SamplerConfig(slots=8, samples_per_prompt_slot=4, block=4, window=20, prompt_multiple=8)


@pytest.fixture(scope="session")
def model():
  return CONFIG, small_params(CONFIG)


@pytest.fixture(scope="session")
def settings():
  """Two prompt slots of four candidates each, blocks of four tokens."""
  return SETTINGS


@pytest.fixture(scope="session")
def sampler(model):
  """sampler(settings changes, sampling=…, …) -> a Sampler of the small model; stops at token 2."""

  def make(sampling=None, stop_ids=(2,), seed=0, settings=SETTINGS, **options):
    return Sampler(
      *model,
      sampling or SamplingParams(),
      stop_ids=stop_ids,
      seed=seed,
      settings=settings,
      **options,
    )

  return make


@pytest.fixture(scope="session")
def requests():
  """Five prompts of different lengths, six answers of up to 20 tokens each."""
  rng = np.random.default_rng(0)
  return [
    Request(f"prompt {n}", rng.integers(3, 64, n).tolist(), samples=6, max_new=20)
    for n in (1, 3, 4, 7, 5)
  ]


@pytest.fixture(scope="session")
def found(sampler, requests):
  """What the sampler finds for `requests`, all at once: more answers than slots."""
  return sampler().sample(requests)


@pytest.fixture(scope="session")
def forward(model):
  """ids -> logits [T, V] of the trainer's forward pass, padded to one length."""
  config, params = model

  @functools.cache
  def run(ids):
    row = np.zeros((1, 64), np.int32)
    row[0, : len(ids)] = ids
    return np.asarray(logits(config, params, row), np.float64)[0, : len(ids)]

  return lambda ids: run(tuple(int(i) for i in ids))
