"""Scorers give each answer the number that a plain forward pass over it alone gives."""

import jax
import numpy as np
import pytest
from compiled import logits, small_params
from goldens.reference import log_softmax

from xwinjax.checkpoint import huggingface
from xwinjax.core.errors import UserError
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Example, Message
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.judge import score
from xwinjax.model import llama
from xwinjax.sharding import rules
from xwinjax.sharding.mesh import make_mesh

BATCH = BatchConfig(batch_size=4, buckets=1, multiple=16)
PROMPTS = [Example(q, (Message("user", q),)) for q in ("Who?", "What is it now?", "Why?")]
ANSWERS = [["A cat.", "Nobody at all.", "A cat."], ["", "It is red and blue."], ["No."] * 5]


@pytest.fixture(scope="module")
def judge(tiny_folder):
  """(config of one layer, parameters with a reward head, renderer)."""
  config, _ = huggingface.load(tiny_folder)
  config = config.replace(num_layers=1)
  params = llama.with_reward_head(small_params(config))
  params["reward"] = {"kernel": np.linspace(-1, 1, config.dim).astype(np.float32)}
  return config, params, Renderer(get_template("vicuna"), Tokenizer.load(tiny_folder))


@pytest.fixture(scope="module")
def by_hand(judge):
  """sequence -> (logits [T, V], rewards [T]) of one answer in a row of its own."""
  config, params, _ = judge
  hidden = jax.jit(llama.apply, static_argnums=0)

  def run(ids):
    row = np.zeros((1, 64), np.int32)
    row[0, : len(ids)] = ids
    rewards = llama.reward(params, hidden(config, params, row))[0]
    return np.asarray(logits(config, params, row), np.float64)[0], np.asarray(rewards)

  return run


def wanted(judge, by_hand, off=0):
  """(log-prob, reward) of each answer; `off` shifts both by that many tokens."""
  _, _, renderer = judge
  logps, rewards = [], []
  for prompt, answers in zip(PROMPTS, ANSWERS, strict=True):
    start = renderer.encode_prompt(prompt.messages)
    for answer in answers:
      end = renderer.encode_answer(answer)
      rows, values = by_hand([*start, *end])
      table = log_softmax(rows)[len(start) - 1 + off :]
      logps.append(sum(table[i, token] for i, token in enumerate(end)))
      rewards.append(values[len(start) + len(end) - 1 - off])
  return np.array(logps), np.array(rewards)


def flat(scores):
  assert [len(s) for s in scores] == [3, 2, 5]
  return np.concatenate(scores)


@pytest.mark.parametrize("branches", [1, 2, 8])
def test_log_probs_equal_a_plain_forward_pass(judge, by_hand, branches):
  scorer = score.sequence_logps(*judge, batch=BATCH, branches=branches)
  got = flat(scorer(PROMPTS, ANSWERS))
  assert np.allclose(got, wanted(judge, by_hand)[0], atol=1e-4)
  assert not np.allclose(got, wanted(judge, by_hand, off=1)[0], atol=1e-4)


@pytest.mark.parametrize("branches", [1, 2, 8])
def test_rewards_are_those_of_the_last_token(judge, by_hand, branches):
  scorer = score.reward_model(*judge, batch=BATCH, branches=branches)
  got = flat(scorer(PROMPTS, ANSWERS))
  assert np.allclose(got, wanted(judge, by_hand)[1], atol=1e-5)
  assert not np.allclose(got, wanted(judge, by_hand, off=1)[1], atol=1e-5)


def test_equal_answers_score_the_same_wherever_they_lie(judge):
  first, _, third = score.reward_model(*judge, batch=BATCH, branches=2)(PROMPTS, ANSWERS)
  assert first[0] == pytest.approx(first[2], abs=1e-5)
  assert third == pytest.approx([third[0]] * 5, abs=1e-5)
  assert first[0] != pytest.approx(first[1], abs=1e-5)


def test_sampled_ids_are_scored_as_they_are(judge):
  _, _, renderer = judge
  ids = [[renderer.encode_answer(a) for a in answers] for answers in ANSWERS]
  scorer = score.sequence_logps(*judge, batch=BATCH)
  assert np.array_equal(flat(scorer(PROMPTS, ids)), flat(scorer(PROMPTS, ANSWERS)))
  without_end = [[a[:-1] for a in answers] for answers in ids]
  assert (flat(scorer(PROMPTS, without_end)) > flat(scorer(PROMPTS, ids))).all()


def test_packing_and_microbatches_of_a_training_config_are_set_aside(judge):
  training = BatchConfig(batch_size=4, buckets=1, packing=128, microbatches=2)
  plain = score.reward_model(*judge, batch=BATCH, branches=2)(PROMPTS, ANSWERS)
  got = score.reward_model(*judge, batch=training, branches=2)(PROMPTS, ANSWERS)
  assert np.allclose(flat(got), flat(plain), atol=1e-5)


def test_progress_counts_every_answer_once(judge):
  heard = []
  scorer = score.reward_model(
    *judge, batch=BATCH, branches=2, on_rows=lambda n, tokens: heard.append((n, tokens))
  )
  scorer(PROMPTS, ANSWERS)
  assert np.sum(heard, 0)[0] == 10


def test_nothing_to_score_gives_nothing(judge):
  scorer = score.reward_model(*judge, batch=BATCH)
  assert scorer([], []) == []
  assert scorer(PROMPTS[:1], [[]]) == [[]]
  scores = scorer(PROMPTS, [["A."], [], ["B."]])
  assert [len(s) for s in scores] == [1, 0, 1]
  assert np.isfinite([scores[0][0], scores[2][0]]).all()


def test_a_prompt_longer_than_the_model_is_named(judge):
  long = Example("long one", (Message("user", "what is it " * 200),))
  with pytest.raises(UserError, match="prompt long one: longer than 127 tokens"):
    score.reward_model(*judge, batch=BATCH)([long], [["A."]])


def test_scores_that_are_not_finite_are_refused(judge):
  config, params, renderer = judge
  broken = params | {"reward": {"kernel": np.full(config.dim, np.nan, np.float32)}}
  with pytest.raises(UserError, match="scores that are not finite"):
    score.reward_model(config, broken, renderer, batch=BATCH)(PROMPTS, ANSWERS)


@pytest.mark.slow
def test_eight_devices_score_as_one(judge):
  config, params, renderer = judge
  mesh = make_mesh(2, 2, 2)
  sharded = jax.device_put(params, rules.tree_shardings(mesh, params))
  batch = BatchConfig(batch_size=8, buckets=1)
  got = score.reward_model(config, sharded, renderer, batch=batch, branches=2, mesh=mesh)
  one = score.reward_model(config, params, renderer, batch=batch, branches=2)
  assert np.allclose(flat(got(PROMPTS, ANSWERS)), flat(one(PROMPTS, ANSWERS)), atol=1e-5)
