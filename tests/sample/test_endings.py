"""Why an answer ends, what counts as a repeat, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Completion, Job, Request, Sampler, SamplerConfig

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ."


def text(ids):
  return "".join(LETTERS[i] for i in ids if i != 2)


def test_any_of_several_stop_tokens_ends_an_answer(sampler, requests, found):
  first = found[1][0][0]
  stop = first.ids[1]
  done, _ = sampler(stop_ids=(2, stop)).sample(requests)[1]
  assert done[0].ids == first.ids[: first.ids.index(stop) + 1]
  assert done[0].finish == "stop"


def test_without_stop_tokens_answers_end_at_max_new_or_where_the_context_does(sampler, requests):
  long = Request("long", list(range(3, 63)), samples=2, max_new=20)
  (done, _), (cut, _) = sampler(stop_ids=()).sample([requests[1], long])
  assert {(len(c.ids), c.finish) for c in done} == {(20, "length")}
  assert {(len(c.ids), c.finish) for c in cut} == {(4, "length")}


def test_a_stop_string_cuts_text_and_tokens(sampler, requests, found):
  whole = next(c for c in found[1][0] if len(c.ids) > 8)
  number = found[1][0].index(whole)
  stop = text(whole.ids[4:7])
  done, _ = sampler(decode_text=text, stop_strings=(stop, "never")).sample(requests)[1]
  cut = done[number]
  assert cut.finish == "stop_string"
  assert cut.text == text(whole.ids)[: text(whole.ids).index(stop)]
  assert stop not in cut.text
  assert cut.ids == whole.ids[: text(whole.ids).index(stop) + 3]
  assert len(cut.logps) == len(cut.ids)
  others = [i for i in range(6) if stop not in text(found[1][0][i].ids)]
  assert [done[i].ids for i in others] == [found[1][0][i].ids for i in others]
  assert {done[i].finish for i in others} <= {"stop", "length"}


def test_where_a_stop_string_cuts_does_not_depend_on_the_block(sampler, settings, requests):
  options = {"decode_text": text, "stop_strings": ("e", "x")}
  blocks_of_8 = dataclasses.replace(settings, block=8)
  runs = [sampler(**options), sampler(settings=blocks_of_8, **options)]
  runs = [run.sample(requests)[1][0] for run in runs]
  assert [(c.ids, c.text, c.finish) for c in runs[0]] == [
    (c.ids, c.text, c.finish) for c in runs[1]
  ]
  assert "stop_string" in {c.finish for c in runs[0]}


def test_stop_strings_need_a_decoder(sampler):
  with pytest.raises(ValueError, match="a stop string is empty"):
    sampler(decode_text=text, stop_strings=("a", ""))
  with pytest.raises(ValueError, match="stop_strings needs decode_text"):
    sampler(stop_strings=("x",))


PEAKED = SamplingParams(top_k=3)


@pytest.fixture(scope="module")
def short(requests):
  """One prompt whose one-token answers under top-3 can be of three kinds only."""
  return dataclasses.replace(requests[1], samples=3, max_new=1)


def one_by_one(**changes):
  return SamplerConfig(slots=4, samples_per_prompt_slot=3, block=1, window=1, **changes)


def test_unique_mode_draws_on_until_answers_differ(sampler, short):
  ((plain, repeats),) = sampler(PEAKED, settings=one_by_one(max_draws=20)).sample([short])
  ((unique, met),) = sampler(PEAKED, settings=one_by_one(unique=True, max_draws=20)).sample([short])
  assert len(plain) == len(unique) == 3
  assert len({tuple(c.ids) for c in unique}) == 3
  assert repeats == 3 - len({tuple(c.ids) for c in plain})
  draws = sampler(PEAKED).sample([dataclasses.replace(short, samples=3 + met)])[0][0]
  distinct = list(dict.fromkeys(tuple(c.ids) for c in draws))
  assert [tuple(c.ids) for c in unique] == distinct  # in the order of their draws
  assert met == len(draws) - 3


def test_unique_mode_gives_up_after_max_draws(sampler, short):
  five = dataclasses.replace(short, samples=5)  # of three kinds of answer
  ((done, met),) = sampler(PEAKED, settings=one_by_one(unique=True, max_draws=2)).sample([five])
  assert len(done) == len({tuple(c.ids) for c in done}) <= 3
  assert len(done) + met == 10


def test_draws_count_in_the_order_of_their_number():
  job = Job(Request("p", [1], samples=2, max_new=1), 0)
  for number, token in ((2, 9), (0, 7), (1, 7)):  # as slots happened to finish
    job.done[number] = Completion([token], [0.0], "stop")
  done, repeats = job.results(SamplerConfig(unique=True))
  assert ([c.ids for c in done], repeats) == ([[7], [9]], 1)
  done, repeats = job.results(SamplerConfig(unique=False))
  assert ([c.ids for c in done], repeats) == ([[7], [7], [9]], 1)


def test_what_is_drawn_ahead_changes_no_answer(sampler, requests):
  several = [dataclasses.replace(r, samples=5, max_new=3) for r in requests]

  def answers(wide: int):
    settings = SamplerConfig(
      slots=4 * wide, samples_per_prompt_slot=wide, block=1, window=4, unique=True, max_draws=8
    )
    run = sampler(PEAKED, settings=settings)
    found = [([c.ids for c in done], met) for done, met in run.sample(several)]
    return found, run.generated

  (narrow, written), (wide, more) = answers(1), answers(5)
  assert narrow == wide
  assert more > written  # some of the draws ahead were not needed


def test_draws_are_enough_only_up_to_the_first_that_has_not_ended():
  job = Job(Request("p", [1], samples=2, max_new=1), 0)
  ended = lambda token: Completion([token], [0.0], "stop")
  config = SamplerConfig(unique=True, max_draws=2)
  job.done = {0: ended(7), 2: ended(8)}
  assert not job.enough(config)  # number 1 may be another
  job.done[1] = ended(7)
  assert job.enough(config)
  job.done = {n: ended(7) for n in range(3)}
  assert not job.enough(config)
  job.done[3] = ended(7)
  assert job.enough(config)  # no more may be drawn


@pytest.mark.parametrize(
  "sampling",
  [SamplingParams(temperature=0), SamplingParams(), SamplingParams(top_k=5, min_p=0.1)],
  ids=str,
)
def test_logits_that_are_not_finite_raise(model, sampling, requests):
  """A NaN in one column of the head, where a filter could hide it."""
  config, params = model
  embedding = params["embed"]["embedding"].copy()
  embedding[50] = -np.nan
  broken = params | {"embed": {"embedding": embedding}}
  sampler = Sampler(config, broken, sampling, stop_ids=(2,))
  request = dataclasses.replace(requests[1], prompt=[5, 6, 7])
  with pytest.raises(FloatingPointError, match="logits are not finite"):
    sampler.sample([request])


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"prompt": []}, "is empty"),
    ({"prompt": [3] * 64}, "max_length is 64"),
    ({"samples": 0}, "0 samples"),
    ({"max_new": 0}, "0 tokens"),
  ],
  ids=str,
)
def test_requests_that_cannot_be_met_are_refused(sampler, requests, change, said):
  with pytest.raises(ValueError, match=f"prompt prompt 3 .*{said}"):
    sampler().sample([dataclasses.replace(requests[1], **change)])


def test_no_requests_no_answers(sampler):
  assert sampler().sample([]) == []


def test_progress_adds_up(sampler, requests, found):
  heard = []
  made = sampler()
  made.sample(requests, lambda finished, tokens: heard.append((finished, tokens)))
  finished, tokens = np.sum(heard, 0)
  assert finished == 5
  assert tokens == made.generated == sum(len(c.ids) for done, _ in found for c in done)


def test_bf16_samples_finite_log_probs(model, requests):
  config, params = model
  sampler = Sampler(config.replace(dtype="bfloat16"), params, SamplingParams(), stop_ids=(2,))
  results = sampler.sample(requests[:1])
  assert all(np.isfinite(c.logps).all() for done, _ in results for c in done)
  assert {str(p.dtype) for p in jax.tree.leaves(sampler.setup.params) if p.ndim > 1} == {"bfloat16"}
