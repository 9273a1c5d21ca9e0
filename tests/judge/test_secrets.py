"""Keys and tokens of the environment are used, and written nowhere: files, output, messages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="needs the extra [judge]")
pytest.importorskip("tenacity", reason="needs the extra [judge]")

from faulty_server import Server  # pyright: ignore[reportMissingImports]
from trials import runs

from xwinjax.core import host

ROOT = Path(__file__).parents[2]

KEY = "sk-planted-3f9c1d7e5b8a"
NAMES = (
  *("OPENAI_API_KEY", "XWINJAX_TOKEN", "WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"),
  "OPENAI_ADMIN_KEY",
)


def told(*words):
  """A command as a person runs it, every key of the environment planted: status, what it said."""
  env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | dict.fromkeys(NAMES, KEY)
  done = subprocess.run(
    [sys.executable, *map(str, words)], cwd=ROOT, env=env, capture_output=True, check=False
  )
  return done.returncode, (done.stdout + done.stderr).decode()


def holding(*folders, since=0.0):
  """The files that hold the planted key."""
  files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
  assert files
  return [p for p in files if p.stat().st_mtime >= since and KEY.encode() in p.read_bytes()]


def judged(server, folder, *more):
  rows = [{"prompt": f"q{i}", "candidates": [{"text": str(i)}]} for i in range(6)]
  file = folder / "candidates.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))
  flags = ("--config=configs/judge.py:sandbox", "--config.by=openai:judge", "--config.samples=1")
  where = (f"--workdir={folder / 'judged'}", f"--config.candidates={file}")
  asked = (
    f"--config.remote.url={server.url}",
    "--config.mode=sampled",
    "--config.remote.retries=1",
  )
  return told("-m", "experiments.judge", *flags, *where, *asked, *more)


@pytest.mark.parametrize(("fault", "ends"), [("repeat", 0), ("400", 0), ("401", 2)])
def test_a_server_that_repeats_the_key_does_not_spread_it(tmp_path, fault, ends):
  with Server((fault,), 1.0) as server:
    status, said = judged(server, tmp_path)
    server.shutdown()
  assert status == ends, said
  assert {r["authorization"] for r in server.requests} == {f"Bearer {KEY}"}  # it was sent
  assert KEY not in said
  assert holding(tmp_path) == []
  kept = (tmp_path / "judged" / "replies.jsonl").read_text()
  assert ("[key]" in kept) == (ends == 0)
  (tmp_path / "planted").write_text(f"a key {KEY}")  # the twin: one would be found
  assert [p.name for p in holding(tmp_path)] == ["planted"]


def test_a_key_in_place_of_its_variable_s_name_is_refused_unseen(tmp_path):
  with Server((), 0.0) as server:
    status, said = judged(server, tmp_path, f"--config.remote.key={KEY}")
    server.shutdown()
  assert status == 2
  assert re.search(r"remote\.key: expected the name of an environment variable", said)
  assert KEY not in said
  assert holding(tmp_path) == []


@pytest.mark.slow
def test_a_chain_and_its_caches_hold_no_key(tmp_path):
  (tmp_path / "begin").touch()
  since = (tmp_path / "begin").stat().st_mtime
  run = runs.command("xwin", tmp_path / "run", "--config.sft.train.loop.sinks=tensorboard")
  status, said = told(*run[1:])
  assert status == 0, said
  assert KEY not in said
  assert holding(tmp_path) == []
  assert holding(host.cache_folder(), since=since) == []
