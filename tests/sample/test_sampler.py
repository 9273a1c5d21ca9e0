"""What a candidate is: a function of the model, its prompt, the seed and its number."""

import dataclasses

import numpy as np
import pytest
from goldens.reference import log_softmax
from scipy import stats

from xwinjax.sample import decode
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Request, SamplerConfig


def ids(results):
  return [[c.ids for c in done] for done, _ in results]


def logps(results):
  return np.concatenate([c.logps for done, _ in results for c in done])


def test_every_request_gets_its_answers(found, requests):
  assert [len(done) for done, _ in found] == [6] * 5
  for done, _ in found:
    for c in done:
      assert 1 <= len(c.ids) <= 20
      assert len(c.logps) == len(c.ids)
      assert c.finish == ("stop" if c.ids[-1] == 2 else "length")
      assert 2 not in c.ids[:-1]
      assert len(c.ids) == 20 or c.finish == "stop"
  assert {c.finish for done, _ in found for c in done} == {"stop", "length"}


def test_sampler_log_probs_are_the_trainer_s(found, requests, forward):
  worst = shifted = 0.0
  for request, (done, _) in zip(requests, found, strict=True):
    for c in done:
      n = len(request.prompt)
      rows = log_softmax(forward([*request.prompt, *c.ids]))
      wanted = [rows[n - 1 + i, token] for i, token in enumerate(c.ids)]
      worst = max(worst, np.abs(np.array(c.logps) - wanted).max())
      late = [rows[n + i, token] for i, token in enumerate(c.ids)]
      shifted = max(shifted, np.abs(np.array(c.logps) - late).max())
  assert worst < 5e-5
  assert shifted > 1.0


def test_log_probs_are_the_model_s_own_under_any_filter(sampler, requests, forward):
  sampling = SamplingParams(temperature=0.5, top_k=8, repetition_penalty=1.3)
  done, _ = sampler(sampling).sample(requests)[1]
  for c in done:
    rows = log_softmax(forward([*requests[1].prompt, *c.ids]))[2:]
    assert np.allclose(c.logps, [rows[i, t] for i, t in enumerate(c.ids)], atol=5e-5)


def test_greedy_takes_the_most_probable_token(sampler, requests, forward):
  results = sampler(SamplingParams(temperature=0)).sample(requests)
  for request, (done, repeats) in zip(requests, results, strict=True):
    assert repeats == 5  # all six are the same
    rows = forward([*request.prompt, *done[0].ids])[len(request.prompt) - 1 : -1]
    assert done[0].ids == rows.argmax(-1).tolist()
    assert done[0].ids != rows.argmin(-1).tolist()


def test_a_repetition_penalty_sees_prompt_and_answer(sampler, requests, forward):
  """Greedy under a heavy penalty, replayed by hand."""
  penalised = SamplingParams(temperature=0, repetition_penalty=5.0)
  done, _ = sampler(penalised).sample(requests)[3]
  prompt, answer = list(requests[3].prompt), done[0].ids
  rows = forward([*prompt, *answer])[len(prompt) - 1 : -1]

  def replayed(seen):
    chosen = []
    for row, token in zip(rows, answer, strict=True):
      row = np.where([i in seen for i in range(64)], np.where(row > 0, row / 5, row * 5), row)
      chosen.append(int(row.argmax()))
      seen = seen | {token}
    return chosen

  assert answer == replayed(set(prompt))
  assert answer != replayed(set())


def test_to_end_is_no_repetition(sampler, forward):
  """A prompt that holds the end token, as chats do, leaves the chance to end as it was."""
  rows = {s: forward([s, s, s])[-1] for s in range(3, 20)}
  end = next(s for s, row in rows.items() if row[s] > 0 and row.argmax() != s)
  favoured = SamplingParams(temperature=0, repetition_penalty=1e-6)  # what was seen comes again
  first = {}
  for stop in (end, 2):
    [(done, _)] = sampler(favoured, stop_ids=(stop,)).sample([Request("p", [end] * 3, 1, 4)])
    first[stop] = done[0].ids[0]
  assert first == {end: rows[end].argmax(), 2: end}


def test_a_candidate_does_not_depend_on_its_neighbours(sampler, requests, found):
  made = sampler()
  alone = [made.sample([request])[0] for request in requests]
  assert ids(alone) == ids(found)
  assert np.allclose(logps(alone), logps(found), atol=1e-5)
  backwards = sampler().sample(requests[::-1])[::-1]
  assert ids(backwards) == ids(found)


@pytest.mark.parametrize(
  "settings",
  [
    SamplerConfig(slots=1, block=4, window=8, prompt_multiple=8),
    SamplerConfig(slots=30, samples_per_prompt_slot=6, block=8, window=32),
  ],
  ids=["one slot refilled 29 times, its window grown twice", "a slot for each"],
)
def test_nor_on_the_number_of_slots_or_on_refills(sampler, requests, found, settings):
  results = sampler(settings=settings).sample(requests)
  assert ids(results) == ids(found)
  assert np.allclose(logps(results), logps(found), atol=1e-5)


def test_it_does_depend_on_seed_prompt_id_and_number(sampler, requests, found):
  other_seed = sampler(seed=1).sample(requests)
  renamed = sampler().sample([dataclasses.replace(r, id=r.id + "!") for r in requests])
  for others in (other_seed, renamed):
    assert all(a != b for a, b in zip(ids(others), ids(found), strict=True))
  for done, _ in found:
    assert len({tuple(c.ids) for c in done}) > 1


def test_fewer_samples_are_the_first_of_more(sampler, requests, found):
  four = sampler().sample([dataclasses.replace(r, samples=4) for r in requests])
  assert ids(four) == [done[:4] for done in ids(found)]


def test_what_a_block_was_given_stays_as_it_was(sampler, requests, monkeypatch):
  """Arrays may be read where they lie, by some device after the host has gone on to change them."""
  given, real = [], decode.decode_block

  def recorded(*args):
    given.append(args[6])
    return real(*args)

  monkeypatch.setattr(decode, "decode_block", recorded)
  sampler().sample(requests)
  assert (given[0].own == 0).all()
  assert given[0].fresh.all()
  assert (given[1].own == 4).all()
  assert not given[1].fresh.any()


def test_first_tokens_follow_the_softmax(sampler, forward):
  """4,000 candidates of one prompt, one token each."""
  settings = SamplerConfig(slots=1000, samples_per_prompt_slot=1000, block=1, window=1)
  ((done, _),) = sampler(settings=settings).sample([Request("p", [5, 6, 7], 4000, 1)])
  found = np.bincount([c.ids[0] for c in done], minlength=64)
  p = np.exp(log_softmax(forward([5, 6, 7]))[-1])
  likely = 4000 * p >= 5

  def chi_square_p(p):
    expected = np.r_[p[likely], p[~likely].sum()] * 4000
    observed = np.r_[found[likely], found[~likely].sum()]
    return stats.chisquare(observed, expected).pvalue

  assert chi_square_p(p) > 0.001
  assert chi_square_p(np.sqrt(p) / np.sqrt(p).sum()) < 1e-6


def test_the_loop_compiles_once_for_all_requests_of_a_shape(sampler, requests, compiled_names):
  made = sampler(settings=SamplerConfig(slots=6, samples_per_prompt_slot=3, block=5, window=20))
  made.sample(requests)
  assert compiled_names.count("jit(decode_block)") == 1
  assert compiled_names.count("jit(start_prompts)") == 2  # all prompt slots, and one refilled
  compiled_names.clear()
  made.sample(requests[::-1])
  made.sample([dataclasses.replace(r, id=r.id + "?", samples=5) for r in requests])
  assert compiled_names == []
  made.sample([dataclasses.replace(r, samples=2) for r in requests])  # other slots
  assert "jit(decode_block)" in compiled_names
