"""Two real Llamas: logits, likelihood of real text and greedy stories equal the stored ones."""

import json

import numpy as np
import pytest
from compiled import logits
from safetensors.numpy import load_file

from xwinjax.checkpoint import huggingface
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.losses import logprobs
from xwinjax.model import llama
from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Request, Sampler, SamplerConfig


@pytest.fixture(scope="module", params=["stories260k-hf", "stories3m-hf"])
def stories(request):
  """(config, parameters, tokenizer, folder)."""
  folder = request.getfixturevalue("shared") / request.param
  return *huggingface.load(folder), Tokenizer.load(folder), folder


def golden(folder, name="golden.json"):
  return json.loads((folder / name).read_text())


def test_logits_of_the_first_tokens(stories):
  config, params, _, folder = stories
  stored = load_file(folder / "golden_logits.safetensors")
  for i, case in enumerate(golden(folder)["cases"]):
    got = np.asarray(logits(config, params, np.array([case["logits_first8_input_ids"]])))[0]
    assert np.allclose(got, stored[f"logits_{i}"], rtol=0, atol=1e-4)
    assert not np.allclose(got[1:], stored[f"logits_{i}"][:-1], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def greedy(stories):
  """(cases, completions) of 200 greedy tokens each, which nothing ends."""
  config, params, tokenizer, folder = stories
  cases = golden(folder)["cases"]
  sampler = Sampler(
    config,
    params,
    SamplingParams(temperature=0),
    stop_ids=(),
    decode_text=tokenizer.decode,
    settings=SamplerConfig(slots=4, samples_per_prompt_slot=1, window=256),
  )
  requests = [Request(str(i), c["prompt_ids"], 1, 200) for i, c in enumerate(cases)]
  return cases, [done[0] for done, _ in sampler.sample(requests)]


def test_greedy_tokens_are_the_stored_ones(greedy):
  cases, completions = greedy
  for case, c in zip(cases, completions, strict=True):
    assert c.ids == case["greedy_ids"]
    assert sum(c.logps) == pytest.approx(case["sum_logprob_of_greedy"], abs=2e-3)
  assert completions[2].ids != cases[3]["greedy_ids"]


def test_greedy_text_is_the_stored_text(stories, greedy):
  tokenizer = stories[2]
  for case, c in zip(*greedy, strict=True):
    ids = [*case["prompt_ids"][1:], *c.ids]
    assert tokenizer.encode(case["prompt"]) == case["prompt_ids"][1:]
    assert tokenizer.decode(ids[: ids.index(1)] if 1 in ids else ids) == case["text"]


def test_likelihood_of_real_text(stories, shared):
  """Summed log-probs of windows of 255 tokens of TinyStories."""
  config, params, tokenizer, folder = stories
  stored = golden(folder, "nll_golden.json")
  data = (shared / "tinystories" / "valid-sample.txt").read_bytes()
  text = data.decode()[:65536]
  ids = tokenizer.encode(text)
  assert (len(ids), ids[:16]) == (stored["n_ids"], stored["first_ids"])
  windows = np.array([[1, *ids[255 * w : 255 * (w + 1)]] for w in range(4)])
  hidden = llama.apply(config.replace(scan_layers=True), params, windows)
  sums, unshifted = (
    np.asarray(logprobs.token_logps(hidden, llama.unembedding(params), tokens, mask)[0]).sum(1)
    for tokens, mask in ((windows, windows > -1), (np.roll(windows, 1, 1), windows > -1))
  )
  assert np.allclose(sums, stored["sum_logprob"][:4], rtol=0, atol=5e-3)
  assert not np.allclose(unshifted, stored["sum_logprob"][:4], rtol=0, atol=1.0)
