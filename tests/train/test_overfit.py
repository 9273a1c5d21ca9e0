"""Learned end to end: eight rows are learned by heart, and the sampler says them back."""

import dataclasses

import jax
import optax
import pytest

from xwinjax.checkpoint import huggingface
from xwinjax.data import batching, items
from xwinjax.data.records import Example, Message
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.model import llama
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Request, Sampler, SamplerConfig
from xwinjax.train import objectives
from xwinjax.train.step import init_state, make_train_step

TEXTS = {
  "Who is up?": "The cat.",
  "Who is down?": "A dog and a hen.",
  "Name two towns.": "Rome, Ur.",
  "Count to three.": "1, 2, 3.",
  "Say nothing.": "No.",
  "Say it twice.": "It it.",
  "What is red?": "A rose is red.",
  "And blue?": "The sea is blue and so is the sky.",
}
STEPS = 120


@pytest.fixture(scope="module")
def learner(tiny_folder):
  """(config, first parameters, renderer, rows as items)."""
  config, _ = huggingface.load(tiny_folder)
  config = config.replace(dim=64, head_dim=16, ffn_dim=128, scan_layers=True)
  renderer = Renderer(get_template("vicuna"), Tokenizer.load(tiny_folder))
  examples = [Example(q, (Message("user", q), Message("assistant", a))) for q, a in TEXTS.items()]
  rows = items.tokenize_examples(examples, renderer, config.max_length)
  return config, llama.init(config, jax.random.key(0)), renderer, rows


def learned(learner, rows):
  """(parameters after STEPS steps on the same eight rows, the last loss)."""
  config, params, _, _ = learner
  plan = batching.make_plan(rows, batching.BatchConfig(batch_size=8, buckets=1), seed=0)
  batch = jax.device_put(batching.build_batch(rows, plan, 0))
  optimizer = optax.adamw(optax.cosine_decay_schedule(1e-2, STEPS))
  step = make_train_step(objectives.sft(config), optimizer, donate=False)
  state = init_state(params, optimizer)
  for _ in range(STEPS):
    state, metrics = step(state, batch)
  return state.params, float(metrics["loss"])


def answers(learner, params):
  config, _, renderer, _ = learner
  sampler = Sampler(
    config,
    params,
    SamplingParams(temperature=0),
    stop_ids=renderer.stop_ids(),
    decode_text=renderer.answer_text,
    settings=SamplerConfig(slots=8, samples_per_prompt_slot=1, block=8),
  )
  requests = [
    Request(q, renderer.encode_prompt((Message("user", q),)), samples=1, max_new=32) for q in TEXTS
  ]
  return [done[0] for done, _ in sampler.sample(requests)]


def test_what_was_learned_by_heart_is_sampled_token_for_token(learner):
  _, _, renderer, rows = learner
  params, loss = learned(learner, rows)
  assert loss < 0.02
  said = answers(learner, params)
  assert [c.ids for c in said] == [renderer.encode_answer(a) for a in TEXTS.values()]
  assert [c.text for c in said] == list(TEXTS.values())
  assert {c.finish for c in said} == {"stop"}
  assert sum(sum(c.logps) for c in said) / sum(len(c.ids) for c in said) == pytest.approx(
    -loss, abs=0.02
  )


def test_without_supervised_ends_the_answers_do_not_end(learner):
  _, _, renderer, rows = learner
  mask = rows.mask.copy()
  mask[rows.tokens == renderer.tokenizer.eos_id] = 0
  endless, _ = learned(learner, dataclasses.replace(rows, mask=mask))
  assert all(c.finish == "length" for c in answers(learner, endless))


def test_without_training_nothing_is_known(learner):
  _, params, _, _ = learner
  assert not set(TEXTS.values()) & {c.text for c in answers(learner, params)}
