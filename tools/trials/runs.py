"""Runs small enough to be broken many times, and whether two of them ended with the same bits."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]

_PRETRAIN = {
  "dim": 32,
  "layers": 1,
  "ffn": 64,
  "cached": False,
  "train.epochs": 0.5,
  "train.loop.checkpoint_every": 2,
  "train.batch.buckets": 1,
}
_WORLD = {"documents": 200, "examples": 48, "vocab_size": 400}


def _under(group: str, fields: dict[str, Any]) -> dict[str, Any]:
  return {f"{group}.{name}": value for name, value in fields.items()}


XWIN = {
  **_under("sandbox.world", _WORLD),
  "sandbox.world.pair_prompts": 12,
  "sandbox.world.heldout_pair_prompts": 4,
  "sandbox.world.prompts": 6,
  "sandbox.world.heldout_prompts": 4,
  **_under("sandbox.pretrain", _PRETRAIN),
  "sandbox.label.generate.max_new": 12,
  "sandbox.label.tie": 0.0,
  "sandbox.label.contrasts": 8,
  "sandbox.world.card": 2,
  "sample.generate.samples": 4,
  "sample.generate.max_new": 12,
  "sample.shard": 2,
  "evaluate.generate.samples": 2,
  "evaluate.generate.max_new": 12,
  "evaluate.shard": 2,
  "select.ended_only": False,
  "select.rejected": "rank:-1",
  "sft.train.epochs": 1.0,
  "sft.train.loop.checkpoint_every": 1,
  "reward.train.loop.checkpoint_every": 1,
  "rs.train.loop.checkpoint_every": 1,
  "dpo.train.loop.checkpoint_every": 1,
  **{f"{stage}.train.batch.buckets": 1 for stage in ("sft", "reward", "rs", "dpo")},
}
LIMA = {
  **_under("sandbox.world", _WORLD),
  **_under("sandbox.pretrain", _PRETRAIN),
  "sandbox.community.examples": 16,
  "sandbox.community.dev": 4,
  "sandbox.community.test": 4,
  "sandbox.community.test_dialogues": 2,
  "sandbox.community.turns": 2,
  "sft.train.epochs": 3.0,
  "sft.train.batch.buckets": 1,
  "first_epoch": 2,
  "last_epoch": 3,
  "choose.generate.max_new": 12,
  "choose.generate.samples": 2,
  "choose.shard": 2,
  "evaluate.generate.samples": 2,
  "evaluate.generate.max_new": 12,
  "evaluate.shard": 2,
  "dialogues.generate.max_new": 12,
}
SELF_REWARDING = {
  **_under("sandbox.world.world", _WORLD),
  "sandbox.world.world.heldout_prompts": 4,
  "sandbox.world.world.vocab_size": 640,
  "sandbox.world.judging.lists": 40,
  "sandbox.world.judging.writing": 10,
  "sandbox.world.judging.eft": 60,
  "sandbox.world.judging.judged": 10,
  "sandbox.world.judging.heldout_judged": 4,
  "sandbox.world.judging.pairs": 20,
  "sandbox.world.judging.heldout_pairs": 8,
  "sandbox.world.judging.validation_prompts": 4,
  **_under("sandbox.pretrain", _PRETRAIN),
  "rounds": 1,
  "sft.train.epochs": 1.0,
  **{f"{stage}.train.batch.buckets": 1 for stage in ("sft", "dpo")},
  "dpo.train.loop.checkpoint_every": 1,
  "instruct.count": 8,
  "instruct.shard": 8,
  "sample.generate.max_new": 16,
  "evaluate.generate.samples": 2,
  "evaluate.generate.max_new": 16,
  "judge.max_new": 12,
  "judge.mode": "expected",
  "judging.mode": "both",
  "choose.generate.max_new": 16,
  "choose.generate.samples": 2,
}
RECIPES = {
  "xwin": ("configs/xwin.py:sandbox", XWIN),
  "lima": ("configs/lima.py:sandbox", LIMA),
  "self_rewarding": ("configs/self_rewarding.py:sandbox", SELF_REWARDING),
}


def command(recipe: str, workdir: Path, *more: str) -> list[str]:
  """The command line of a small run of a recipe."""
  spec, fields = RECIPES[recipe]
  flags = (f"--config.{name}={value}" for name, value in fields.items())
  start = [sys.executable, "-m", f"experiments.{recipe}", f"--config={spec}"]
  return [*start, f"--workdir={workdir}", *flags, *more]


def environment(**more: str) -> dict[str, str]:
  """As on a laptop: one device, whatever the caller simulates."""
  kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return {**kept, "JAX_PLATFORMS": kept.get("JAX_PLATFORMS", "cpu"), **more}


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a command ended."""

  status: int
  out: str
  err: str

  @property
  def traceback(self) -> bool:
    return "Traceback (most recent call last)" in self.err

  @property
  def error(self) -> str:
    """Its one line, or "" where it said none or more than that."""
    lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
    rightly = self.status == 2 and len(lines) == 1 and self.err.rstrip().endswith(lines[0])
    return lines[0].removeprefix("error: ") if rightly and not self.traceback else ""


def run(words: list[str], timeout: float = 600, **how: Any) -> Ended:
  """Runs a command to its end; one that takes longer is killed and has status -9."""
  how.setdefault("env", environment())
  try:
    done = subprocess.run(
      words, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=timeout, **how
    )
  except subprocess.TimeoutExpired:
    return Ended(-9, "", f"no end within {timeout:g} s")
  return Ended(done.returncode, done.stdout, done.stderr)


def without_pictures() -> None:
  """Leaves report.html out of runs of this process: it takes longest, and nothing is read of it."""
  from xwinjax import report

  report.write = lambda folder: None  # type: ignore[assignment]


def stages(folder: Path) -> list[str]:
  """The places of a run's stages, in the order in which they were finished."""
  found = [p.parent for p in folder.rglob("manifest.json")]
  when = {p: (p / "manifest.json").stat().st_mtime_ns for p in found}
  return [str(p.relative_to(folder)) for p in sorted(found, key=lambda p: when[p])]


def results(folder: Path) -> dict[str, str]:
  """sha256 of all that a run is for, by name: outputs as manifests state them, figures, summary.

  Left out is what a clock says.
  """
  found = {}
  for name in stages(folder):
    record = json.loads((folder / name / "manifest.json").read_text(encoding="utf-8"))
    for output, digest in record["outputs"].items():
      if output != "metrics.jsonl":
        found[f"{name}/{output}"] = digest
    found[f"{name}: figures"] = _digest(without_time(record["figures"]))
    metrics = folder / name / "metrics.jsonl"
    if metrics.exists():
      rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
      found[f"{name}: metrics"] = _digest(without_time(rows))
  summary = folder / "summary.json"
  if summary.exists():
    found["summary"] = _digest(without_time(json.loads(summary.read_text(encoding="utf-8"))))
  return found


_CLOCK = {"seconds", "wait_s", "first_of_shape", "tokens_per_second", "mfu", "cached", "judging_s"}


def without_time(value: Any) -> Any:
  if isinstance(value, dict):
    return {
      k: without_time(v) for k, v in value.items() if k not in _CLOCK and "per_second" not in k
    }
  return [without_time(v) for v in value] if isinstance(value, list) else value


def _digest(value: Any) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def inside(recipe: str, workdir: Path, *more: str, until: str = "") -> Ended:
  """Runs a small run's command in this process, up to and with one stage if one is named.

  What it compiled stays, so that many runs after the first are quick.
  """
  from xwinjax.recipes import cli

  spec, _ = RECIPES[recipe]
  made = dataclasses.replace(_recipe(recipe), steps=_until(_recipe(recipe).steps, until))
  with part_of_a_run() if until else contextlib.nullcontext():
    return called(cli.recipe("", spec, made), command(recipe, workdir, *more)[3:])


@contextlib.contextmanager
def part_of_a_run() -> Iterator[None]:
  """Leaves the summary out where a recipe's first stages alone have none yet."""
  from xwinjax import report
  from xwinjax.core.errors import UserError

  summary, text = report.summary, report.text

  def as_far(folder: Path) -> dict[str, Any]:
    try:
      return summary(folder)
    except UserError:
      return {}

  says = lambda made, recipe: text(made, recipe) if made else ""
  with mock.patch.multiple(report, summary=as_far, text=says):
    yield


def called(main: Callable[[list[str]], int], words: list[str]) -> Ended:
  """Calls a command in this process."""
  out, err, status = io.StringIO(), io.StringIO(), 1
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    try:
      status = main(words)
    except Exception:  # what a command's user would see
      traceback.print_exc()
  return Ended(status, out.getvalue(), err.getvalue())


def _recipe(name: str) -> Any:
  return importlib.import_module(f"xwinjax.recipes.{name}").RECIPE


def _until(steps: Any, place: str) -> Any:
  def first(config: Any, context: Any, folder: Path):
    for step in steps(config, context, folder):
      yield step
      if step.place == place:
        return

  return first


def forked(body: Callable[[], Ended], told: Path) -> int:
  """Starts `body` in a fork, which has all imports done; its pid. How it ended goes to `told`.

  The caller must not have computed anything with jax: its threads do not survive a fork.
  """
  pid = os.fork()
  if pid:
    return pid
  try:
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(
        number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
      )
    ended = body()
    told.write_text(json.dumps(dataclasses.asdict(ended)), encoding="utf-8")
    os._exit(ended.status)
  except SystemExit as e:
    os._exit(e.code if isinstance(e.code, int) else 1)
  finally:
    os._exit(1)


def wait(pid: int, told: Path, timeout: float = 600) -> Ended:
  """How a fork ended; status as a shell says it (128 + signal); one that hangs is killed: -9."""
  limit = time.monotonic() + timeout
  while True:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
      break
    if time.monotonic() > limit:
      os.kill(pid, signal.SIGKILL)
      os.waitpid(pid, 0)
      return Ended(-9, "", f"no end within {timeout:g} s")
    time.sleep(0.01)
  code = os.waitstatus_to_exitcode(status)
  said = Ended(**json.loads(told.read_text(encoding="utf-8"))) if told.exists() else None
  told.unlink(missing_ok=True)
  return said or Ended(128 - code if code < 0 else code, "", "")
