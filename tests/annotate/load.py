"""Many annotators at once, a server killed halfway: is every acknowledged vote stored, once?

  python tests/annotate/load.py --annotators 50 --votes 100 --kills 1

Every tenth vote is sent twice. Exits with 1 where a vote was lost or is double.
"""

import argparse
import http.client
import json
import random
import re
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

try:
  from small_study import served, write_jsonl  # pyright: ignore[reportMissingImports]
except ImportError:
  from tests.annotate.small_study import served, write_jsonl

Vote = tuple[str, int]  # annotator, position
LABELS = ("A", "tie", "B")


class Annotator(threading.Thread):
  """Votes on every item in turn, and insists until each vote is acknowledged."""

  def __init__(self, name: str, link: str, votes: int):
    super().__init__(daemon=True)
    self.name, self.votes = name, votes
    self.port, self.token = re.findall(r":(\d+)/#(.+)", link)[0]
    self.rng = random.Random(name)
    self.acknowledged: dict[Vote, str] = {}
    self.seconds: list[float] = []
    self.again = 0
    self.link: http.client.HTTPConnection | None = None

  def run(self) -> None:
    for position in range(1, self.votes + 1):
      label = self.rng.choice(LABELS)
      began = time.perf_counter()
      self.insist(position, label)
      self.acknowledged[self.name, position] = label
      self.seconds.append(time.perf_counter() - began)
      if self.rng.random() < 0.1:
        self.insist(position, label)
        self.again += 1

  def insist(self, position: int, label: str) -> None:
    vote = {"position": position, "revision": 1, "choices": {"verdict": label}, "seconds": 1.0}
    headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
    while True:
      try:
        self.link = self.link or http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=60)
        self.link.request("POST", "/api/votes", json.dumps(vote), headers)
        answer = self.link.getresponse()
        said = answer.read()
        if answer.status == 200:
          return
        if answer.status != 503:
          raise AssertionError(f"{answer.status}: {said!r}")
      except (OSError, http.client.HTTPException):
        self.link = None
      time.sleep(0.05 + 0.2 * self.rng.random())


def stored(path: Path) -> tuple[dict[Vote, str], int, str]:
  """What the file holds: votes by annotator and position, the number of rows, SQLite's verdict."""
  with sqlite3.connect(path) as c:
    rows = c.execute("""SELECT a.name, p.position, v.choices FROM votes v
        JOIN annotators a ON a.id = v.annotator
        JOIN places p ON p.annotator = v.annotator AND p.item = v.item""").fetchall()
    verdict = c.execute("PRAGMA integrity_check").fetchone()[0]
  return {(n, p): json.loads(choices)["verdict"] for n, p, choices in rows}, len(rows), verdict


def lost(acknowledged: dict[Vote, str], found: dict[Vote, str]) -> int:
  return sum(found.get(vote) != label for vote, label in acknowledged.items())


def acknowledged(people: list[Annotator]) -> dict[Vote, str]:
  return {vote: label for p in people for vote, label in list(p.acknowledged.items())}


def run(folder: Path, annotators: int, votes: int, kills: int) -> tuple[bool, list[str]]:
  """(whether nothing was lost or double, what happened)."""
  prompts = [{"prompt": f"Prompt {i}"} for i in range(votes)]
  files = [
    write_jsonl(folder / f"{name}.jsonl", [{**p, "completion": name} for p in prompts])
    for name in ("ours", "theirs")
  ]
  file, names = folder / "votes.db", [f"person_{i}" for i in range(annotators)]
  study = [
    "--db",
    str(file),
    "--prompts",
    str(write_jsonl(folder / "prompts.jsonl", prompts)),
    "--answers",
    *map(str, files),
    "--checks",
    "0",
    "--annotators",
    *names,
  ]
  total, said, good, people = annotators * votes, [], True, []
  began, port = time.perf_counter(), 0
  for mark in [total * (k + 1) // (kills + 1) for k in range(kills + 1)]:
    with served(*(study if not people else study[:2]), port=port) as (process, links):
      if not people:
        people = [Annotator(name, links[name], votes) for name in names]
        port = int(people[0].port)
        for p in people:
          p.start()
      while len(acknowledged(people)) < mark and any(p.is_alive() for p in people):
        time.sleep(0.005)
      process.kill()  # SIGKILL
      process.wait()
    known = acknowledged(people)
    found, rows, verdict = stored(file)
    said.append(
      f"kill -9: {len(known)} acknowledged, {rows} stored, {lost(known, found)} lost, "
      f"{rows - len(found)} double; integrity {verdict}"
    )
    good &= not lost(known, found) and rows == len(found) and verdict == "ok"
    good &= rows - len(known) <= annotators
  seconds = time.perf_counter() - began
  for p in people:
    p.join(1)
  waits = 1000 * np.array([s for p in people for s in p.seconds])
  good &= len(acknowledged(people)) == rows == total
  said.append(
    f"end: {len(acknowledged(people))} acknowledged, {rows} stored of {total}; "
    f"{sum(p.again for p in people)} sent twice"
  )
  said.append(
    f"{seconds:.0f} s, {total / seconds:.0f} votes a second, acknowledged in "
    f"{np.median(waits):.0f} ms (median), {np.quantile(waits, 0.99):.0f} ms (99 %), "
    f"{waits.max():.0f} ms (most, with the restart)"
  )
  return good, said


def main() -> int:
  p = argparse.ArgumentParser(description=__doc__)
  p.add_argument("--annotators", type=int, default=50)
  p.add_argument("--votes", type=int, default=100)
  p.add_argument("--kills", type=int, default=1)
  options = p.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    good, said = run(Path(folder), options.annotators, options.votes, options.kills)
  print("\n".join([f"{options.annotators} annotators, {options.votes} votes each", *said]))
  print("nothing lost, nothing double" if good else "FAILED")
  return not good


if __name__ == "__main__":
  sys.exit(main())
