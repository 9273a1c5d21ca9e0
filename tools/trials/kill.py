"""Runs that are killed, signalled, starved of room and met by others; what is there afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trials import runs
from trials.runs import Ended

TRAINED = ("pretrain", "sft", "reward", "rs", "dpo")
SMALL_FILE = {"sample": 1_000}  # bytes that a file may have; else less than a checkpoint has


@dataclasses.dataclass(frozen=True)
class Trial:
  """A run disturbed in a stage."""

  recipe: str
  stage: str
  what: str
  good: bool  # the end was the right one, and the results are those of an undisturbed run
  said: str = ""


class Bench:
  """An undisturbed run of a recipe, and one that is disturbed a stage at a time."""

  def __init__(self, recipe: str, work: Path, seed: int):
    self.recipe, self.rng = recipe, random.Random(seed)
    self.whole, self.run, self.told = work / recipe, work / f"{recipe}-again", work / "told"

  def prepare(self, until: str = "") -> None:
    """Runs the recipe undisturbed, unless that is done. Forks share what is imported by now."""
    runs.without_pictures()
    importlib.import_module(f"xwinjax.recipes.{self.recipe}")
    done = (self.whole / "summary.json").exists()
    ended = None if done else runs.wait(self.start(self.whole, until), self.told)
    if ended is not None and ended.status:
      raise RuntimeError(f"the undisturbed run failed: {ended.err[-500:]}")
    self.wanted, self.names = runs.results(self.whole), runs.stages(self.whole)
    record = lambda name: json.loads((self.whole / name / "manifest.json").read_text())
    self.seconds = {name: max(record(name)["seconds"], 0.05) for name in self.names}

  def start(self, folder: Path, until: str = "", before: Callable[[], Any] | None = None) -> int:
    def body() -> Ended:
      if before is not None:
        before()
      return runs.inside(self.recipe, folder, until=until)

    return runs.forked(body, self.told)

  def clear(self, place: str) -> None:
    """Leaves of the disturbed run what is before a stage."""
    for later in self.names[self.names.index(place) :]:
      shutil.rmtree(self.run / later, ignore_errors=True)

  def keep(self, place: Path) -> None:
    """Copies the disturbed run, as far as there is one."""
    shutil.rmtree(place, ignore_errors=True)
    if self.run.exists():
      shutil.copytree(self.run, place)

  def back_to(self, place: Path) -> None:
    """The disturbed run as it was copied."""
    shutil.rmtree(self.run, ignore_errors=True)
    if place.exists():
      shutil.copytree(place, self.run)

  def wait_until_begun(self, pid: int, place: str) -> bool:
    """Until the stage is at work; False where the process ended before."""
    while not (self.run / place / "settings.json").exists():
      if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        return False
      time.sleep(0.002)
    return True

  def sends(self, pid: int, number: int, times: int) -> bool:
    """Sends a signal; False where the process had ended before."""
    for n in range(times):
      if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        return n > 0
      os.kill(pid, number)
      time.sleep(0.05)
    return True

  def same(self, place: str, status: int = 0) -> tuple[bool, str]:
    """Whether the stage, run once more, ends as it does undisturbed."""
    ended = runs.wait(self.start(self.run, place), self.told)
    if ended.status != status:
      return False, f"the run after it ended with {ended.status}: {ended.err[-300:]}"
    mine = {k: v for k, v in self.wanted.items() if k.startswith((f"{place}/", f"{place}:"))}
    found = runs.results(self.run)
    wrong = [name for name in mine if found.get(name) != mine[name]]
    return not wrong, f"other results: {', '.join(wrong)}" if wrong else ""


def kills(bench: Bench, times: int, stages: tuple[str, ...] = ()) -> Iterator[Trial]:
  """kill -9 at random moments of every stage; then the same command again.

  Each time on a copy of what was before: a stage that is done may have removed what it read. One
  that is not among `stages` is made again undisturbed, as far as a later one needs it.
  """
  before = bench.run.with_name(f"{bench.run.name}-before")
  for place in bench.names:
    bench.keep(before)
    for _ in range(times if not stages or place in stages else 0):
      for _ in range(5):  # a stage that was done too soon is begun again
        bench.back_to(before)
        pid = bench.start(bench.run, place)
        begun = bench.wait_until_begun(pid, place)
        time.sleep(bench.rng.uniform(0, bench.seconds[place]) if begun else 0)
        with contextlib.suppress(ProcessLookupError):
          os.kill(pid, signal.SIGKILL)
        runs.wait(pid, bench.told)
        if not (bench.run / place / "manifest.json").exists():
          break
      yield Trial(bench.recipe, place, "kill -9", *bench.same(place))
    if not (bench.run / place / "manifest.json").exists():
      yield Trial(bench.recipe, place, "same seed again", *bench.same(place))


def signals(bench: Bench, stages: tuple[str, ...]) -> Iterator[Trial]:
  """SIGTERM and SIGINT, once and twice, in some stages; then the same command again."""
  for place in stages:
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
      for twice in (False, True):
        for share in (0.3, 0.1, 0.0):  # sooner, where the stage was done before
          _fill(bench, place)
          pid = bench.start(bench.run, place)
          bench.wait_until_begun(pid, place)
          time.sleep(share * bench.seconds[place])
          if bench.sends(pid, number, 1 + twice):
            break
        ended = runs.wait(pid, bench.told)
        good, said = bench.same(place)
        right = ended.status == status and not ended.traceback
        what = f"{number.name}{' twice' * twice}, ended {ended.status}"
        wrong = ended.err[-200:] if not right else ""
        yield Trial(bench.recipe, place, what, good and right, said or wrong)


def no_room(bench: Bench, stages: tuple[str, ...]) -> Iterator[Trial]:
  """No file may become larger than a few kB, as on a full disk; then there is room again."""
  for place in stages:
    _fill(bench, place)
    room = SMALL_FILE.get(place, 20_000)
    limit = lambda room=room: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    ended = runs.wait(bench.start(bench.run, place, limit), bench.told)
    good, said = bench.same(place)
    right = bool(ended.error)
    yield Trial(
      bench.recipe, place, "no room", good and right, said or ended.error or ended.err[-400:]
    )


def read_only(bench: Bench, place: str) -> Iterator[Trial]:
  """A folder that may not be written to."""
  _fill(bench, place)
  folders = [p for p in (bench.run, *bench.run.rglob("*")) if p.is_dir()]
  for folder in folders:
    folder.chmod(0o555)

  bench.told.touch()
  bench.told.chmod(0o666)

  def before() -> None:
    if os.getuid() == 0:  # for whom nothing is read-only
      os.setuid(65534)
      os.environ["XWINJAX_CACHE"] = tempfile.mkdtemp()

  ended = runs.wait(bench.start(bench.run, place, before), bench.told)
  for folder in folders:
    folder.chmod(0o755)
  good, said = bench.same(place)
  yield Trial(
    bench.recipe,
    place,
    "read-only folder",
    good and bool(ended.error),
    said or ended.error or ended.err[-300:],
  )


def others(bench: Bench, place: str, words: list[str]) -> Iterator[Trial]:
  """A second run on the same folder, and the stage's own command inside it, while it works."""
  for what in ("second run", "the stage alone"):
    _fill(bench, place)
    pid = bench.start(bench.run, place)
    bench.wait_until_begun(pid, place)
    os.kill(pid, signal.SIGSTOP)  # at work for as long as this takes
    told = bench.told.with_suffix(".other")
    if what == "second run":
      other = runs.forked(lambda: runs.inside(bench.recipe, bench.run, until=place), told)
    else:
      other = runs.forked(lambda: _alone(place, bench.run, words), told)
    second = runs.wait(other, told, 120)
    os.kill(pid, signal.SIGCONT)
    first = runs.wait(pid, bench.told)
    good, said = bench.same(place)
    right = "another run works here" in second.error and first.status == 0
    yield Trial(
      bench.recipe, place, what, good and right, said or second.error or second.err[-300:]
    )


def clock(bench: Bench, place: str) -> Iterator[Trial]:
  """The clock jumps back and forth by an hour while a stage works."""
  _fill(bench, place)

  def before() -> None:
    real, calls = time.time, iter(range(10**9))
    time.time = lambda: real() + (0, -3_600, 3_600)[next(calls) % 3]

  ended = runs.wait(bench.start(bench.run, place, before), bench.told)
  good, said = bench.same(place)
  yield Trial(
    bench.recipe,
    place,
    "clock jumps",
    good and ended.status == 0,
    said or ended.err[-300:] * bool(ended.status),
  )


def _alone(place: str, folder: Path, words: list[str]) -> Ended:
  main = importlib.import_module(f"experiments.{place}").command
  return runs.called(
    main, [f"--config=configs/{place}.py:sandbox", f"--workdir={folder / place}", *words]
  )


def _fill(bench: Bench, place: str) -> None:
  """A disturbed run in which all before a stage is done."""
  shutil.rmtree(bench.run, ignore_errors=True)
  shutil.copytree(bench.whole, bench.run)
  bench.clear(place)


def table(found: list[Trial]) -> dict[str, Any]:
  rows: dict[str, dict[str, list[int]]] = {}
  for t in found:
    row = rows.setdefault(t.recipe, {}).setdefault(t.what.split(",")[0], [0, 0])
    row[0] += t.good
    row[1] += 1
  return {
    "trials": len(found),
    "well": sum(t.good for t in found),
    "by_recipe": {r: {w: f"{a}/{b}" for w, (a, b) in each.items()} for r, each in rows.items()},
    "stages": sorted({f"{t.recipe}: {t.stage}" for t in found}),
    "wrong": [dataclasses.asdict(t) for t in found if not t.good],
  }
