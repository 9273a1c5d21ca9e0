"""A model tried before a run, and twins that the tries find out."""

import dataclasses

import pytest

from xwinjax.data.records import Example, Message, Pair
from xwinjax.stages import trial
from xwinjax.stages.stage import Context, open_model
from xwinjax.testing.tiny import tiny_params

ASK = (Message("user", "Who came?"),)


@pytest.fixture(scope="module")
def model(tiny_folder):
  return open_model(Context(), tiny_folder)


def test_the_sampler_agrees_with_the_trainer(model, monkeypatch):
  line = trial.sampler_agrees(model, Example("a", ASK), 4)
  assert not line.bad
  assert line.text.startswith("log-prob of ")
  other = dataclasses.replace(model, params=tiny_params(model.config, seed=7))
  make = trial.make_sampler
  monkeypatch.setattr(trial, "make_sampler", lambda _, *more: make(other, *more))
  assert trial.sampler_agrees(model, Example("a", ASK), 4).bad


def test_dpo_begins_at_log_2(model, monkeypatch):
  pairs = [Pair("a", ASK, "Ann.", "Bob came.")]
  line = trial.first_dpo_loss(model, pairs, 64)
  assert (line.bad, line.text) == (False, "first loss 0.6931, log 2 is 0.6931")
  assert trial.first_dpo_loss(model, pairs, 4).bad
  logps = trial.reference_logps
  monkeypatch.setattr(trial, "reference_logps", lambda *more: logps(*more)[:, ::-1])
  assert trial.first_dpo_loss(model, pairs, 64).bad
