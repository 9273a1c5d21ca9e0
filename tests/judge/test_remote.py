"""A judge behind an API: asked through the official client, of servers good and bad."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="needs the extra [judge]")
pytest.importorskip("tenacity", reason="needs the extra [judge]")

from faulty_server import Server, score_of  # pyright: ignore[reportMissingImports]

from experiments import judge as command
from xwinjax.core.errors import UserError
from xwinjax.judge.remote import NoReply, Remote, RemoteConfig, Replies, read_reply

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(request):
  with Server(*getattr(request, "param", ((),))) as s:
    yield s
    s.shutdown()


def question(n, text="<answer>\n{}\n</answer>"):
  return {"messages": [{"role": "user", "content": text.format(n)}], "max_tokens": 5}


def remote(server, tmp_path, **settings):
  return Remote("judge", RemoteConfig(url=server.url, **settings), tmp_path / "replies.jsonl")


def test_every_question_gets_its_own_reply(server, tmp_path):
  asked = remote(server, tmp_path, concurrency=4)
  replies = asked([question(n) for n in range(12)])
  assert [r.text for r in replies] == [f"Because.\nScore: {n % 6}" for n in range(12)]
  assert 1 < server.most_at_once <= 4
  assert asked.figures()["tokens"] == {"prompt": 1200, "completion": 120}
  assert server.requests[0]["authorization"] == "Bearer none"
  assert {r["model"] for r in server.requests} == {"judge"}


def test_what_was_answered_is_not_asked_again(server, tmp_path):
  remote(server, tmp_path)([question(n) for n in range(3)])
  again = remote(server, tmp_path)
  again([question(n) for n in range(5)])
  assert set(server.answered.values()) == {1}
  assert again.counts == {"at hand": 3, "asked": 2}


def test_equal_questions_are_asked_as_often_as_they_stand(server, tmp_path):
  remote(server, tmp_path)([question(1)] * 3)
  assert list(server.answered.values()) == [3]


@pytest.mark.parametrize(
  "server", [((f,), 0.6) for f in ("drop", "garble", "cut", "lie", "empty", "429")], indirect=True
)
def test_each_fault_is_outlived(server, tmp_path, monkeypatch):
  monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
  monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
  monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
  replies = remote(server, tmp_path, retries=40)([question(n) for n in range(8)])
  assert [r.text[-1] for r in replies] == [str(n % 6) for n in range(8)]
  assert server.seen[server.faults[0]] > 0
  lines = (tmp_path / "replies.jsonl").read_text().splitlines()
  assert len(lines) == 8
  assert len({json.loads(line)["key"] for line in lines}) == 8


def test_a_cut_last_line_is_asked_again_and_a_broken_one_named(server, tmp_path):
  remote(server, tmp_path)([question(n) for n in range(3)])
  path = tmp_path / "replies.jsonl"
  whole = path.read_bytes()
  path.write_bytes(whole[:-20])
  remote(server, tmp_path)([question(n) for n in range(3)])
  assert sorted(server.answered.values()) == [1, 1, 2]
  assert path.read_text().count("\n") == 3
  path.write_bytes(whole.replace(b"choices", b"chances", 1))
  with pytest.raises(UserError, match=r"replies\.jsonl:1: no reply"):
    Replies(path)


@pytest.mark.parametrize(
  ("server", "said"),
  [((("401",), 1.0), "openai:judge at http.*: status 401"), ((("404",), 1.0), "status 404")],
  indirect=["server"],
)
def test_a_server_that_will_not_ends_the_run_in_a_line(server, tmp_path, said):
  with pytest.raises(UserError, match=said):
    remote(server, tmp_path)([question(1)])


@pytest.mark.parametrize("server", [(("400",), 1.0)], indirect=True)
def test_a_refused_question_is_kept_as_refused(server, tmp_path):
  (reply,) = remote(server, tmp_path)([question(1)])
  assert "no" in reply.refused
  again = remote(server, tmp_path)
  assert again([question(1)])[0].refused == reply.refused
  assert again.counts["at hand"] == 1


def test_the_run_ends_before_it_costs_more(server, tmp_path):
  prices = {"price_in": 10.0, "price_out": 20.0, "concurrency": 3}  # 0.0012 a reply
  with pytest.raises(UserError, match=r"0\.00\d+ spent, remote.max_cost is 0\.006"):
    remote(server, tmp_path, max_cost=0.006, **prices)([question(n) for n in range(20)])
  assert 3 <= sum(server.answered.values()) <= 5
  rest = remote(server, tmp_path, max_cost=1.0, **prices)
  rest([question(n) for n in range(20)])
  assert rest.spent == pytest.approx(20 * 0.0012)
  assert set(server.answered.values()) == {1}


def test_limits_and_keys_are_checked_before_anything_is_asked(tmp_path, monkeypatch):
  with pytest.raises(UserError, match=r"needs remote\.price_in"):
    Remote("m", RemoteConfig(max_cost=1.0), tmp_path / "r.jsonl")
  monkeypatch.delenv("OTHER_KEY", raising=False)
  with pytest.raises(UserError, match="the environment has no OTHER_KEY"):
    Remote("m", RemoteConfig(key="OTHER_KEY"), tmp_path / "r.jsonl")


@pytest.mark.parametrize("raw", ["", "[]", '{"choices": []}', '{"choices": [{"message": {}}]}'])
def test_what_is_no_reply(raw):
  with pytest.raises(NoReply):
    read_reply(raw)


def candidates(tmp_path, n):
  path = tmp_path / "candidates.jsonl"
  rows = [{"prompt": f"q{i}", "candidates": [{"text": str(i)}]} for i in range(n)]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def flags(server_url, file, folder, *more):
  return [
    "--config=configs/judge.py:sandbox",
    f"--workdir={folder}",
    "--config.by=openai:judge",
    f"--config.remote.url={server_url}",
    f"--config.candidates={file}",
    "--config.samples=1",
    "--config.mode=sampled",
    *more,
  ]


def test_the_command_scores_a_file(server, tmp_path, capsys):
  file, folder = candidates(tmp_path, 7), tmp_path / "judged"
  assert command.command(flags(server.url, file, folder)) == 0
  rows = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
  assert [r["candidates"][0]["scores"]["openai"] for r in rows] == [n % 6 for n in range(7)]
  figures = json.loads((folder / "manifest.json").read_text())["figures"]
  assert figures["remote"]["requests"] == {"at hand": 0, "asked": 7}
  assert len(figures["prompt_sha256"]) == 64
  assert command.command(flags(server.url, file, tmp_path / "x", "--config.mode=expected")) == 2
  assert "reads logits" in capsys.readouterr().err
  assert command.command(flags(server.url, file, tmp_path / "y", "--config.by=openai")) == 2
  assert "expected openai:MODEL" in capsys.readouterr().err


@pytest.mark.slow
def test_two_thousand_judgements_killed_twice(tmp_path):
  """Each item judged once, none invented, none lost, whatever the server does."""
  n, file, folder = 2000, candidates(tmp_path, 2000), tmp_path / "judged"
  here = Path(__file__).parent / "faulty_server.py"
  serving = subprocess.Popen(
    [sys.executable, str(here), "drop,delay,garble,cut,lie,empty,429,500", "0.3"],
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    url = serving.stdout.readline().strip()
    more = ("--config.remote.retries=30", "--config.remote.concurrency=32")
    run = [sys.executable, "-m", "experiments.judge", *flags(url, file, folder, *more)]
    replies, env = folder / "replies.jsonl", os.environ | {"JAX_PLATFORMS": "cpu"}
    for least in (300, 900):
      running = subprocess.Popen(run, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
      while not replies.exists() or replies.read_bytes().count(b"\n") < least:
        time.sleep(0.05)
        assert running.poll() is None
      running.send_signal(signal.SIGKILL)
      running.wait()
    assert replies.read_bytes().count(b"\n") < n
    subprocess.run(run, cwd=ROOT, env=env, check=True)
  finally:
    serving.kill()
  kept = [json.loads(line) for line in replies.read_text().splitlines()]
  assert len(kept) == len({row["key"] for row in kept}) == n
  rows = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
  scores = [r["candidates"][0]["scores"]["openai"] for r in rows]
  assert scores == [score_of(f"<answer>{i}") for i in range(n)]
