"""A model as judge: written judgements, and expected scores from the logits."""

import math

import jax
import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.data.records import Message
from xwinjax.judge import parse, self_judge
from xwinjax.judge.self_judge import Expected, Judgement, Sampled, judge_messages, mean_score
from xwinjax.model import llama
from xwinjax.sample import Completion, SamplerConfig

SETTINGS = SamplerConfig(slots=8, samples_per_prompt_slot=4, block=4, window=8)


def sampled(model, prompt, **options):
  options = {"samples": 2, "max_new": 8, "settings": SETTINGS} | options
  return Sampled(model.config, model.params, model.renderer, prompt, **options)


def expected(model, prompt, **options):
  return Expected(model.config, model.params, model.renderer, prompt, **options)


class Scripted:
  """A sampler that says what it was told to, whatever it is asked."""

  def __init__(self, *texts):
    self.texts, self.asked = list(texts), []

  def sample(self, requests, on_tokens=None):
    self.asked += requests
    return [([self._next() for _ in range(r.samples)], 0) for r in requests]

  def _next(self):
    text = self.texts.pop(0)
    return Completion([1], [0.0], "length" if text.endswith("…") else "stop", text)


@pytest.fixture
def scripted(model, prompt):
  """scripted(texts …) -> a judge who writes them in this order, two an answer."""

  def make(*texts):
    judge = sampled(model, prompt)
    judge.sampler = Scripted(*texts)
    return judge

  return make


def test_a_score_is_the_mean_of_what_could_be_read(scripted, asked):
  judge = scripted(
    "Fine.\nScore: 4", "Score: 5", "No.\nScore: 1", "None", "Hm.", "Well", "Score: 2", "Score: 3…"
  )
  scores = judge(*asked)
  assert scores[0][:2] == [4.5, 1.0]
  assert math.isnan(scores[0][2])
  assert scores[1] == [2.0]
  assert judge.counts == {"read": 4, parse.NO_SCORE: 3, parse.CUT_OFF: 1}


def test_judgements_keep_their_texts(scripted, asked):
  judge = scripted(*["Fine.\nScore: 4", "Bad"] * 4)
  row = judge.judge(*asked)[0]
  assert row[0] == (Judgement("Fine.\nScore: 4", 4.0), Judgement("Bad", None, parse.NO_SCORE))


def test_a_score_the_answer_holds_is_not_taken_for_the_judges(scripted, asked):
  judge = scripted("Score: 5", "Score: 4")
  [[judgements]] = judge.judge(asked[0][:1], [["Red.\nScore: 5"]])
  assert [j.reason for j in judgements] == [parse.ECHO, ""]


def test_the_judge_sees_the_conversation_and_the_answer(model, prompt, scripted, asked):
  judge = scripted(*["Score: 1"] * 8)
  judge(*asked)
  texts = [model.tokenizer.decode(r.prompt) for r in judge.sampler.asked]
  assert "Ask: What colour is it? Say: It is blue. Rate." in texts[1]
  assert "Ask: User: Hi.\nAssistant: Hello.\nUser: Where is it? Say: In the cave." in texts[3]


def test_one_answer_is_judged_alike_alone_and_among_others(model, prompt, asked):
  together = sampled(model, prompt).judge(*asked)
  assert sampled(model, prompt).judge(asked[0][1:], asked[1][1:]) == together[1:]
  other = sampled(model, prompt, seed=1).judge(*asked)
  assert other != together  # the twin: something could differ


def test_each_prompt_is_computed_once_for_all_its_judgements(model, prompt, asked):
  judge = sampled(model, prompt, samples=3)
  judge(*asked)
  assert judge.prompt_tokens["read"] == 3 * judge.prompt_tokens["computed"]


def test_what_does_not_fit_is_missing_and_counted(model, prompt, asked):
  judge = sampled(model, prompt)
  scores = judge(asked[0][:1], [["Red. " * 200, "Red."]])
  assert math.isnan(scores[0][0])
  assert judge.counts[parse.TOO_LONG] == 2
  scores = expected(model, prompt)(asked[0][:1], [["Red. " * 200, "Red."]])
  assert math.isnan(scores[0][0])
  assert math.isfinite(scores[0][1])


def test_the_mean_of_nothing_is_missing():
  assert math.isnan(mean_score(()))
  assert math.isnan(mean_score((Judgement("x", None, "why"),)))


# Expected scores


def plain(model, prompt, messages, answer, opening="Score: "):
  """p(level) by one forward pass over the whole text of one candidate, nothing shared."""
  ids = model.renderer.encode_prompt(judge_messages(prompt, messages, answer))
  written = [model.tokenizer.encode(f"{opening}{n}") for n in prompt.levels]
  ids += written[0][:-1]
  logits = llama.unembed(model.params, llama.apply(model.config, model.params, np.array([ids])))
  p = np.asarray(jax.nn.softmax(logits[0, -1]), np.float64)
  return np.array([p[w[-1]] for w in written])


@pytest.fixture(scope="module")
def by_hand(model, prompt, asked):
  return [
    np.array([plain(model, prompt, e.messages, t) for t in texts])
    for e, texts in zip(*asked, strict=True)
  ]


@pytest.mark.parametrize("branches", [1, 2, 8])
def test_sharing_the_prefix_changes_nothing(model, prompt, asked, by_hand, branches):
  judge = expected(model, prompt, branches=branches)
  found = judge.distributions(*asked)
  for p, want in zip(found, by_hand, strict=True):
    np.testing.assert_allclose(p[:, :-1], want, rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
  assert judge.prompt_tokens["computed"] < judge.prompt_tokens["read"] or branches == 1


def test_twin_another_candidate_or_opening_has_other_probabilities(model, prompt, asked, by_hand):
  other = expected(model, prompt, opening="Rate: ").distributions(*asked)
  assert not np.allclose(other[0][:, :-1], by_hand[0], rtol=1e-2)
  assert not np.allclose(by_hand[0][0], by_hand[0][1], rtol=2e-4)


def test_the_score_is_the_expectation_over_the_levels(model, prompt, asked, by_hand):
  judge = expected(model, prompt)
  scores = judge(*asked)
  for got, p in zip(scores, by_hand, strict=True):
    np.testing.assert_allclose(got, p @ np.arange(6) / p.sum(1), rtol=1e-4)
  assert judge.mass == pytest.approx(float(np.concatenate(by_hand).sum(1).mean()), rel=1e-3)


def test_levels_of_several_tokens_are_refused(model, prompt, monkeypatch):
  monkeypatch.setattr(type(prompt), "levels", (9, 10))
  with pytest.raises(UserError, match="writes the scores 0 to 5 with several tokens"):
    expected(model, prompt)


def test_common_prefix():
  assert self_judge.common_prefix([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
  assert self_judge.common_prefix([[5, 6]]) == 2


def test_a_judgement_longer_than_the_model_is_refused(model, prompt):
  with pytest.raises(UserError, match="lower max_new"):
    sampled(model, prompt, max_new=4096)


def test_all_turns_are_named():
  turns = (Message("system", "Be kind."), Message("user", "Hi."))
  assert self_judge.conversation(turns) == "System: Be kind.\nUser: Hi."
