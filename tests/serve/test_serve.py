"""A tiny model behind the OpenAI API."""

import dataclasses
import json
import threading

import numpy as np
import pytest
from starlette.testclient import TestClient

from xwinjax.sample import Request, Sampler, SamplingParams
from xwinjax.serve.app import make_app
from xwinjax.serve.engine import Asked, Ticket
from xwinjax.serve.replies import settled_text

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"


def text(client, prompt="It is red.", status=200, **fields):
  answer = client.post(TEXT, json={"model": "tiny", "prompt": prompt, **fields})
  assert answer.status_code == status, answer.text
  return answer.json()


def test_greedy_text_is_the_offline_samplers(client, model):
  """Beside others and at any prompt length, as the sampler for files writes it."""
  prompts = ["It is red.", "Where is it? " * 4, "a"]
  ids = [[*model.tokenizer.opening, *model.tokenizer.encode(p)] for p in prompts]
  sampler = Sampler(
    model.config,
    model.params,
    SamplingParams(temperature=0),
    stop_ids=model.renderer.stop_ids(),
    decode_text=lambda i: model.tokenizer.decode(i, False),
  )
  offline = sampler.sample([Request(str(n), i, 1, 12) for n, i in enumerate(ids)])
  answers = text(client, prompts, max_tokens=12, temperature=0)["choices"]
  assert [a["text"] for a in answers] == [done[0].text for done, _ in offline]
  assert (
    text(client, ids[1], max_tokens=12, temperature=0)["choices"][0]["text"] == (answers[1]["text"])
  )


def test_a_seed_decides_what_is_drawn(client):
  draw = lambda seed: [
    c["text"] for c in text(client, max_tokens=12, seed=seed, temperature=2, n=3)["choices"]
  ]
  assert draw(5) == draw(5)
  assert draw(5) != draw(50)
  assert len(set(draw(5))) > 1


def test_each_request_has_its_own_temperature(client, model):
  """The twin of one setting for all: greedy beside hot stays greedy."""
  alone = text(client, max_tokens=12, temperature=0)["choices"][0]["text"]
  found = []
  hot = threading.Thread(target=lambda: text(client, max_tokens=40, temperature=2, n=2))
  hot.start()
  found = text(client, max_tokens=12, temperature=0)["choices"][0]["text"]
  hot.join()
  assert found == alone
  assert any(
    text(client, max_tokens=12, temperature=2, seed=s)["choices"][0]["text"] != alone
    for s in range(3)
  )


def test_echo_and_logprobs_are_the_models(client, model):
  from xwinjax.model import llama

  ids = [*model.tokenizer.opening, *model.tokenizer.encode("It is red.")]
  told = text(client, max_tokens=0, echo=True, logprobs=2)["choices"][0]
  logits = np.asarray(
    llama.unembed(model.params, llama.apply(model.config, model.params, np.array([ids])))
  )[0]
  logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  expected = [logps[i, t] for i, t in enumerate(ids[1:])]
  assert told["text"] == "It is red."
  assert told["logprobs"]["token_logprobs"][0] is None
  np.testing.assert_allclose(told["logprobs"]["token_logprobs"][1:], expected, atol=1e-4)
  best = [max(top.values()) for top in told["logprobs"]["top_logprobs"][1:]]
  np.testing.assert_allclose(best, logps[:-1].max(-1), atol=1e-4)
  # The twin: log-probs of the token before are others.
  assert not np.allclose(expected, [logps[i, t] for i, t in enumerate(ids[:-1])], atol=0.1)


def test_logprobs_of_what_was_written(client):
  told = text(client, max_tokens=5, temperature=0, logprobs=1)["choices"][0]["logprobs"]
  assert len(told["token_logprobs"]) == len(told["tokens"]) <= 5
  for logp, top in zip(told["token_logprobs"], told["top_logprobs"], strict=True):
    assert max(top.values()) == pytest.approx(logp)  # greedy


def test_stop_strings_end_an_answer_and_are_left_out(client):
  whole = text(client, max_tokens=30, temperature=0)["choices"][0]["text"]
  stop = whole[len(whole) // 2 :][:2]
  cut = text(client, max_tokens=30, temperature=0, stop=stop)["choices"][0]
  assert (cut["text"], cut["finish_reason"]) == (whole[: whole.index(stop)], "stop")


def events(client, path, **fields):
  with client.stream("POST", path, json={"model": "tiny", "stream": True, **fields}) as r:
    assert r.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in r.iter_lines() if line]
  assert lines[-1] == "[DONE]"
  return [json.loads(line) for line in lines[:-1]]


def test_streams_give_the_same_text(client):
  whole = text(client, max_tokens=20, temperature=0)["choices"][0]["text"]
  found = events(client, TEXT, prompt="It is red.", max_tokens=20, temperature=0)
  assert "".join(e["choices"][0]["text"] for e in found) == whole
  assert found[-1]["choices"][0]["finish_reason"] in ("length", "stop")
  asked = {"messages": [{"role": "user", "content": "Hi?"}], "max_tokens": 9, "temperature": 0}
  said = client.post(CHAT, json={"model": "tiny", **asked}).json()
  found = events(client, CHAT, stream_options={"include_usage": True}, **asked)
  deltas = [e["choices"][0]["delta"].get("content", "") for e in found if e["choices"]]
  assert "".join(deltas) == said["choices"][0]["message"]["content"]
  assert found[-1]["usage"] == said["usage"]


def test_chat_logprobs(client):
  asked = {"messages": [{"role": "user", "content": "Hi?"}], "max_tokens": 3, "temperature": 0}
  more = {"logprobs": True, "top_logprobs": 2}
  said = client.post(CHAT, json={"model": "tiny", **asked, **more}).json()
  for token in said["choices"][0]["logprobs"]["content"]:
    assert token["logprob"] == pytest.approx(max(t["logprob"] for t in token["top_logprobs"]))


def test_many_at_once_lose_nothing(client):
  """More requests than slots, of all lengths: each gets what it gets alone."""
  alone = [text(client, f"a{n}", max_tokens=3 + n, temperature=0) for n in range(10)]
  found = {}
  ask = lambda n: found.update({n: text(client, f"a{n}", max_tokens=3 + n, temperature=0)})
  threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
  for t in threads:
    t.start()
  for t in threads:
    t.join()
  assert [found[n]["choices"] for n in range(10)] == [a["choices"] for a in alone]


def test_only_streams_hear_of_each_block(engine, model):
  ids = [*model.tokenizer.opening, *model.tokenizer.encode("It is red.")]
  heard = {True: [], False: []}
  for stream, ends in heard.items():
    done = threading.Event()
    tell = lambda ids, end, ends=ends, done=done: (ends.append(end), end and done.set())
    engine.submit([Ticket(Asked("1", ids, 1, 20, temperature=0), tell, stream)])
    assert done.wait(60)
  assert len(heard[False]) == 1
  assert len(heard[True]) > 1
  assert heard[False][-1] == heard[True][-1]


BAD = [
  (b"{", 400, "not valid JSON"),
  (b"[]", 400, "expected a JSON object"),
  (b"\xff", 400, "not UTF-8"),
  (b'{"model": "tiny", "model": "x"}', 400, "appears twice"),
  (b"[" * 100000, 400, ""),
  ({"model": "other", "prompt": "a"}, 404, "'tiny' is"),
  ({"prompt": "a"}, 404, "model null is not here"),
  ({}, 404, "model"),
  ({"model": "tiny"}, 400, "prompt is null"),
  ({"model": "tiny", "prompt": []}, 400, "prompt is []"),
  ({"model": "tiny", "prompt": [1, "a"]}, 400, "expected a text"),
  ({"model": "tiny", "prompt": [10**9]}, 400, "not in the vocabulary"),
  ({"model": "tiny", "prompt": [-1]}, 400, "not in the vocabulary"),
  ({"model": "tiny", "prompt": ["a"] * 257}, 400, "at most 256"),
  ({"model": "tiny", "prompt": "a " * 5000}, 400, "which leaves 0"),
  ({"model": "tiny", "prompt": "a", "max_tokens": 10**6}, 400, "are asked for"),
  ({"model": "tiny", "prompt": "a", "max_tokens": -1}, 400, "max_tokens is -1"),
  ({"model": "tiny", "prompt": "a", "max_tokens": 1.5}, 400, "a whole number"),
  ({"model": "tiny", "prompt": "a", "temperature": True}, 400, "temperature is true"),
  ({"model": "tiny", "prompt": "a", "temperature": 1e-9}, 400, "0.001 to 2"),
  ({"model": "tiny", "prompt": "a", "top_p": 0}, 400, "top_p is 0"),
  ({"model": "tiny", "prompt": "a", "n": 1000}, 400, "n is 1000"),
  ({"model": "tiny", "prompt": "a", "stop": ["x"] * 5}, 400, "at most 4"),
  ({"model": "tiny", "prompt": "a", "stop": ""}, 400, "1 to 200 characters"),
  ({"model": "tiny", "prompt": "a", "stop": [1]}, 400, "stop is"),
  ({"model": "tiny", "prompt": "a", "stream": "yes"}, 400, "true or false"),
  ({"model": "tiny", "prompt": "a", "seed": "x"}, 400, "seed is"),
  ({"model": "tiny", "prompt": "a", "presence_penalty": 1}, 400, "is not supported here"),
  ({"model": "tiny", "prompt": "a", "temprature": 1}, 400, "'temprature' is unknown"),
  ({"model": "tiny", "prompt": "a", "logprobs": 10**9}, 400, "logprobs is"),
  ({"model": "tiny", "prompt": "a", "stream": True, "echo": True}, 400, "echo is not given"),
]
BAD_CHATS = [
  (None, "messages is null"),
  ([], "messages is []"),
  (["x"], "messages[0] is"),
  ([{"role": "robot", "content": "x"}], "messages[0].role"),
  ([{"role": "user", "content": 5}], "messages[0].content"),
  ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content"),
  ([{"role": "assistant", "content": "x"}], "end with the user's turn"),
  ([{"role": "user", "content": "x"}] * 2, "follow each other"),
]


@pytest.mark.parametrize(("body", "status", "said"), BAD)
def test_bad_requests_get_a_line(client, body, status, said):
  raw = body if isinstance(body, bytes) else json.dumps(body).encode()
  answer = client.post(TEXT, content=raw)
  assert answer.status_code == status, answer.text
  assert said in answer.json()["error"]["message"]
  assert "\n" not in answer.json()["error"]["message"]


@pytest.mark.parametrize(("messages", "said"), BAD_CHATS)
def test_bad_conversations_get_a_line(client, messages, said):
  answer = client.post(CHAT, json={"model": "tiny", "messages": messages})
  assert answer.status_code == 400
  assert said in answer.json()["error"]["message"]


def test_huge_bodies_hosts_paths_and_methods(client):
  assert client.post(TEXT, content=b"x" * (2**20 + 1)).status_code == 413
  grown = client.post(TEXT, content=iter([b"x" * 2**19] * 3))  # without a Content-Length
  assert grown.status_code == 413
  assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 400
  assert client.get("/v1/nothing").json()["error"]["code"] == 404
  assert client.get(TEXT).status_code == 405
  assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
  assert client.get("/v1/models/other").status_code == 404


def test_more_than_may_wait_are_refused(client):
  answer = text(client, ["a"] * 65, max_tokens=1, status=429)
  assert "too many requests" in answer["error"]["message"]


def test_a_token_is_needed_where_there_is_one(served):
  with TestClient(
    make_app(dataclasses.replace(served, token="sesame")), base_url="http://127.0.0.1"
  ) as c:
    assert c.get("/v1/models").status_code == 401
    assert c.get("/v1/models", headers={"authorization": "Bearer seseme"}).status_code == 401
    assert c.get("/v1/models", headers={"authorization": "Bearer sesame"}).status_code == 200


def test_other_addresses_need_a_token(tiny_folder, capsys, monkeypatch):
  from experiments import serve as command

  monkeypatch.delenv("XWINJAX_TOKEN", raising=False)
  flags = [f"--config.model.path={tiny_folder}", "--config.host=0.0.0.0", "--config.port=0"]
  assert command.command(flags) == 2
  assert "put a token of at least 16 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("text", "stops", "settled"),
  [
    ("one two", ("two",), "one two"),  # whole stops are cut before
    ("one tw", ("two",), "one "),
    ("one t", ("two", "e t!"), "on"),
    ("caf\ufffd", (), "caf"),
  ],
)
def test_what_of_a_text_will_stay(text, stops, settled):
  assert settled_text(text, stops) == settled
