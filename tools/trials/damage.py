"""One file of a run is changed; what the program then does about it.

Subjects are a finished run, a run that was killed in a stage, a model read by a stage run alone, a
kept base model and the compilation cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trials import runs

KINDS = ("flip", "cut", "delete", "zeros")
INTERRUPTED = ("sft", "sample", "reward", "evaluate_base", "dpo")  # stages of the killed runs
GOOD = ("refused", "made again", "named by verify", "no effect")


@dataclasses.dataclass(frozen=True)
class Trial:
  """A damage, and how it ended."""

  number: int
  subject: str
  kind: str
  file: str
  outcome: str  # refused, made again, named by verify, no effect; silent, traceback, not named
  said: str = ""


def harm(path: Path, kind: str, rng: random.Random) -> None:
  """Flips a bit, cuts the end off, deletes, or fills up to 64 bytes with zeros."""
  data = bytearray(path.read_bytes())
  if kind == "delete" or not data:
    path.unlink()
    return
  at = rng.randrange(len(data))
  if kind == "flip":
    data[at] ^= 1 << rng.randrange(8)
  elif kind == "cut":
    del data[at:]
  else:
    data[at : at + 64] = bytes(len(data[at : at + 64]))
  path.write_bytes(data)


def pick(folder: Path, rng: random.Random) -> Path:
  """A file of a run: first a place (a stage's folder, or within), then a file in it."""
  files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
  places: dict[tuple[str, ...], list[Path]] = {}
  for file in files:
    places.setdefault(file.relative_to(folder).parts[:-1][:2], []).append(file)
  return rng.choice(places[rng.choice(sorted(places))])


def interrupt(folder: Path, place: str) -> None:
  """Makes of a finished run one that was killed in a stage: nothing later is there."""
  names = runs.stages(folder)
  for later in names[names.index(place) + 1 :]:
    shutil.rmtree(folder / later)
  (folder / place / "manifest.json").unlink()
  shutil.rmtree(folder / place / "model", ignore_errors=True)
  for name in ("summary.json", "report.html"):
    (folder / name).unlink(missing_ok=True)
  checkpoints = sorted((folder / place / "checkpoints").glob("*.json"))
  if len(checkpoints) > 1:  # the last step is still to come
    checkpoints[-1].unlink()
    shutil.rmtree(checkpoints[-1].with_suffix(""))
  parts = sorted((folder / place / "parts").glob("*.jsonl"))
  if len(parts) > 1:
    parts[-1].unlink()


def judge(folder: Path, path: Path, again: Callable[[], runs.Ended], wanted: dict[str, str]) -> Any:
  """(outcome, what was said) of running once more over a damaged file.

  Args:
    wanted: the results of an undisturbed run, of the stages that `again` makes.
  """
  from xwinjax.core.errors import UserError
  from xwinjax.recipes import verify

  damaged, after = path.read_bytes() if path.exists() else None, []
  names = lambda: [f for f in verify.verify(folder).findings if related(path, f.file)]
  try:
    before = names()
    ended = again()
    if ended.status == 0:
      after = names()
  except UserError as e:
    return "not named", f"verify: {e}"
  except Exception as e:
    return "traceback", f"verify: {type(e).__name__}: {e}"
  if ended.traceback:
    return "traceback", ended.err.strip().splitlines()[-1]
  if ended.status:
    named = ended.error and names_file(ended.error, path, folder)
    return ("refused" if named else "not named"), ended.error or ended.err[-300:]
  found = runs.results(folder)
  wrong = [name for name, digest in wanted.items() if found.get(name) != digest]
  if wrong:
    return "silent", f"other results: {', '.join(wrong[:3])}"
  now = path.read_bytes() if path.exists() else None
  if now != damaged or (now is None and not before):
    return "made again", ""
  if after:
    return "named by verify", after[0].problem
  return "no effect" if before == [] and unread(path) else "silent", ""


def related(damaged: Path, named: Path) -> bool:
  return (
    damaged == named or named in damaged.parents or damaged.with_suffix("") == named.with_suffix("")
  )


def names_file(line: str, path: Path, folder: Path) -> bool:
  """Whether a line names the file, or the folder of a stage's that it is in."""
  inside = [path, *(p for p in path.parents if folder in p.parents)]
  return any(str(p) in line for p in (*inside, path.with_suffix("")))


def unread(path: Path) -> bool:
  """Files whose content nothing believes: a report that is made anew, a lock."""
  return path.name in ("report.html", ".lock")


def trials(
  base: Path, work: Path, count: int, seed: int, say: Callable[[str], None]
) -> Iterator[Trial]:
  """Damages copies of the finished xwin run in `base`, one file each."""
  runs.without_pictures()
  rng, wanted = random.Random(seed), runs.results(base)
  copy = work / "copy"
  for number in range(count):
    kind = KINDS[number % len(KINDS)]
    subject = ("finished", "interrupted", "finished", "alone")[number // len(KINDS) % 4]
    place = INTERRUPTED[number % len(INTERRUPTED)] if subject == "interrupted" else ""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(base, copy)
    if place:
      interrupt(copy, place)
    if subject == "alone":
      path, outcome = alone(copy, work, kind, rng)
    else:
      path = pick(copy / place, rng) if place else pick(copy, rng)
      harm(path, kind, rng)
      mine = {k: v for k, v in wanted.items() if k.split("/")[0].split(":")[0] == place}
      again = lambda place=place: runs.inside("xwin", copy, until=place)
      outcome = judge(copy, path, again, mine if place else wanted)
    trial = Trial(number, place or subject, kind, str(path.relative_to(copy)), *outcome)
    say(f"{number + 1}/{count} {trial.subject} {kind} {trial.file}: {trial.outcome} {trial.said}")
    yield trial


def alone(copy: Path, work: Path, kind: str, rng: random.Random) -> tuple[Path, Any]:
  """A model of the run damaged, and the reference stage run alone on it."""
  from experiments import reference

  model = copy / "sft" / "model"
  path = rng.choice(sorted(p for p in model.iterdir() if p.is_file()))
  harm(path, kind, rng)
  folder = work / "alone"
  shutil.rmtree(folder, ignore_errors=True)
  words = ["--config=configs/reference.py:sandbox", f"--workdir={folder}"]
  words += [f"--config.model.path={model}", f"--config.data={copy / 'select' / 'pairs.jsonl'}"]
  ended = runs.called(reference.command, words)
  if ended.traceback:
    return path, ("traceback", ended.err.strip().splitlines()[-1])
  if ended.status == 0:
    return path, ("silent", "")
  named = ended.error and names_file(ended.error, path, copy)
  return path, (("refused" if named else "not named"), ended.error or ended.err[-300:])


def kept(work: Path, count: int, seed: int, say: Callable[[str], None]) -> Iterator[Trial]:
  """Damages a kept base model; the next run must make the same model anew."""
  os.environ["XWINJAX_CACHE"] = str(work / "cache")
  rng, more = random.Random(seed), ("--config.sandbox.pretrain.cached=true",)
  first = work / "kept"
  if runs.inside("xwin", first, *more, until="pretrain").status:
    raise RuntimeError("the run that keeps a base model failed")
  wanted, place = (
    runs.results(first),
    next(path for path in (work / "cache" / "sandbox").iterdir() if path.is_dir()),
  )
  whole = shutil.copytree(place, work / "whole")
  for number in range(count):
    kind = KINDS[number % len(KINDS)]
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    path = pick(place, rng)
    harm(path, kind, rng)
    folder = work / "again"
    shutil.rmtree(folder, ignore_errors=True)
    ended = runs.inside("xwin", folder, *more, until="pretrain")
    if ended.traceback or ended.status:
      outcome = ("traceback" if ended.traceback else "not named", ended.err[-200:])
    else:
      same = runs.results(folder)["pretrain/model"] == wanted["pretrain/model"]
      outcome = ("made again" if same and "taken from" not in ended.err else "silent", "")
    trial = Trial(number, "kept base model", kind, path.name, *outcome)
    say(f"kept {number + 1}/{count} {kind} {path.name}: {trial.outcome}")
    yield trial


def compiled(work: Path, count: int, seed: int, say: Callable[[str], None]) -> Iterator[Trial]:
  """Damages the compilation cache; what is computed must stay the same.

  Runs in a fork, so it comes before this process computes anything.
  """
  told, cache = work / "told", work / "xla"

  def body() -> runs.Ended:
    import jax

    from xwinjax.core import host

    host.prepare()
    jax.config.update("jax_compilation_cache_dir", str(cache))
    rng, outcomes = random.Random(seed), []
    compute = lambda: jax.jit(lambda x: (x @ x.T).sum(0) * 1.5)(
      jax.numpy.arange(12.0).reshape(3, 4)
    )
    wanted = compute().tolist()
    for number in range(count):
      path = rng.choice(sorted(p for p in cache.rglob("*-cache") if p.is_file()))
      harm(path, KINDS[number % len(KINDS)], rng)
      jax.clear_caches()
      same = compute().tolist() == wanted
      outcomes.append((path.name.partition("-")[0], "made again" if same else "silent"))
    return runs.Ended(0, json.dumps(outcomes), "")

  ended = runs.wait(runs.forked(body, told), told)
  rows = json.loads(ended.out) if ended.out else [("", "traceback")]
  for number, (name, outcome) in enumerate(rows):
    kind = KINDS[number % len(KINDS)]
    said = "" if ended.out else f"status {ended.status}"
    say(f"compilation cache {kind} {name}: {outcome} {said}")
    yield Trial(number, "compilation cache", kind, name, outcome, said)


def table(found: list[Trial]) -> dict[str, Any]:
  """Counts by outcome, and every trial that did not end well."""
  return {
    "damages": len(found),
    "well": sum(t.outcome in GOOD for t in found),
    "outcomes": dict(sorted(Counter(t.outcome for t in found).items())),
    "by_subject": {
      subject: dict(Counter(t.outcome for t in found if t.subject == subject))
      for subject in sorted({t.subject for t in found})
    },
    "wrong": [dataclasses.asdict(t) for t in found if t.outcome not in GOOD],
  }
