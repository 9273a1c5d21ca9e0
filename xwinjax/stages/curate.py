"""Examples chosen from files of many: filters, near-duplicates, contamination, diverse sampling.

Source: LIMA (Zhou et al. 2023), section 2.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from xwinjax.core.bounds import Natural, Positive, Seed, Share, Within
from xwinjax.core.errors import UserError
from xwinjax.curate import duplicates, entries, filters, sampling
from xwinjax.curate.entries import Entry
from xwinjax.curate.filters import FilterConfig
from xwinjax.data import formats, jsonl
from xwinjax.data.records import Counts, example_json
from xwinjax.stages import common
from xwinjax.stages.config import group, plumbing
from xwinjax.stages.manifest import run_stage

WRITES = ("examples.jsonl", "dev.jsonl", "dropped.jsonl")
KEPT, NOT_DRAWN, DEV = "kept", "good, but not drawn", "set apart for dev"

Flattening = Annotated[float, Within(0.001, 1e6)]


@dataclasses.dataclass(frozen=True)
class CurateConfig:
  """What is chosen, of what."""

  sources: tuple[str, ...] = plumbing(())  # FILE or NAME=FILE, in any format or with "answers"
  format: str = "auto"  # a name from data/formats.py, or auto
  bad_rows: str = plumbing("stop")  # what malformed rows do: stop the run, or skip
  heldout: tuple[str, ...] = plumbing(())  # files whose prompts no example may hold
  score_field: str = "score"  # of rows that have one; answers of questions have their own
  domain_field: str = "site"  # what divides a source into domains: site, category, tags, …
  filters: FilterConfig = group(FilterConfig)
  near_prompt: Share = 0.7  # Jaccard similarity of prompts from which they are one; 0: no check
  near_answer: Share = 0.7  # the same of answers
  count: Positive = 1000  # examples wanted
  dev: Natural = 50  # and further ones to choose checkpoints on
  temperature: Flattening = 3.0  # of the sampling over sources and domains; 1 is in proportion
  best_first: bool = True  # within a domain, highest scores first
  seed: Seed = 0


def check(config: CurateConfig) -> None:
  if not config.sources:
    raise UserError("config.sources is empty; it names the files to choose from")
  names = [
    Path(s.rpartition("=")[2]).name.split(".")[0] if "=" not in s else s.rpartition("=")[0]
    for s in config.sources
  ]
  twice = next((n for n in names if names.count(n) > 1), None)
  if twice:
    raise UserError(f"config.sources: two are called {twice!r}; write them NAME=FILE")


class Curator:
  """Says of each entry, in turn, why it is dropped; what is kept is remembered."""

  def __init__(self, config: CurateConfig, heldout: Iterable[str]):
    self.config = config
    self.heldout = filters.Heldout(heldout, config.filters.ngram)
    self.prompts = duplicates.Seen(config.near_prompt) if config.near_prompt else None
    self.answers = duplicates.Seen(config.near_answer) if config.near_answer else None

  def reason(self, entry: Entry) -> tuple[str, str]:
    """(why it is dropped or "", the id of what it repeats or "")."""
    why = filters.reason(entry, self.config.filters)
    if why:
      return why, ""
    if self.heldout.shared(f"{entry.prompt}\n{entry.answer}"):
      return "holds a held-out text", ""
    for seen, text, what in (
      (self.prompts, entry.prompt, "prompt"),
      (self.answers, entry.answer, "answer"),
    ):
      near = seen.nearest(entry.id, text) if seen is not None else None
      if near is not None:
        return f"near-duplicate {what}", near
    return "", ""


def read_heldout(config: CurateConfig) -> list[str]:
  """The last question of every held-out prompt."""
  return [
    p.messages[-1].content
    for path in config.heldout
    for p in formats.read_prompts(path, "auto", bad_rows=config.bad_rows)
  ]


def curate(config: CurateConfig) -> tuple[list[Entry], list[Entry], list[dict], dict[str, Counts]]:
  """(chosen, for dev, what was dropped and why, counts by source)."""
  pool: list[Entry] = []
  counts: dict[str, Counts] = {}
  for spec in config.sources:
    mine = Counts()
    here = list(
      entries.read(
        spec,
        config.format,
        config.score_field,
        config.domain_field,
        config.seed,
        mine,
        config.bad_rows,
      )
    )
    source = here[0].source if here else Path(spec.rpartition("=")[2]).name.split(".")[0]
    counts[source] = mine
    pool += here
  # Of two that are nearly one, the better is kept: it comes first.
  order = sorted(range(len(pool)), key=lambda i: (-(pool[i].score or 0.0), i))
  curator, kept, dropped = Curator(config, read_heldout(config)), [], []
  for i in order:
    why, near = curator.reason(pool[i])
    if why:
      counts[pool[i].source][why] += 1
      dropped.append({"id": pool[i].id, "reason": why, **({"like": near} if near else {})})
    else:
      kept.append(i)
  good = [pool[i] for i in sorted(kept)]
  drawn = sampling.choose(
    good, config.count + config.dev, config.temperature, config.best_first, config.seed
  )
  dev = min(config.dev, len(drawn) // 2)
  chosen, apart = drawn[dev:], drawn[:dev]
  for entries_, name in ((chosen, KEPT), (apart, DEV)):
    for e in entries_:
      counts[e.source][name] += 1
  taken = {e.id for e in drawn}
  for e in good:
    if e.id not in taken:
      counts[e.source][NOT_DRAWN] += 1
      dropped.append({"id": e.id, "reason": NOT_DRAWN})
  return chosen, apart, dropped, counts


def table(figures: dict[str, Any]) -> str:
  """What was kept and why the rest was not: a column a source."""
  from xwinjax.report.tables import Table, lines

  by_source = figures["by_source"]
  total = sum((Counter(c) for c in by_source.values()), Counter())
  first = ("read", KEPT, DEV, NOT_DRAWN)
  names = [n for n in first if total[n]] + [n for n, _ in total.most_common() if n not in first]
  label = lambda n: n if n in first else f"dropped: {n}"
  rows = [(label(n), *(str(c.get(n, 0)) for c in by_source.values()), str(total[n])) for n in names]
  return lines(Table(("", *by_source, "all"), rows))


def run(config: CurateConfig, folder: Path, *, redo: bool = False) -> dict[str, Any]:
  """Writes examples.jsonl, dev.jsonl and dropped.jsonl."""
  check(config)
  inputs = {
    f"source{i}": common.input_file(s.rpartition("=")[2], "sources")
    for i, s in enumerate(config.sources)
  }
  inputs |= {
    f"heldout{i}": common.input_file(path, "heldout") for i, path in enumerate(config.heldout)
  }

  def body() -> dict[str, Any]:
    chosen, dev, dropped, counts = curate(config)
    if not chosen:
      reasons = {source: dict(c) for source, c in counts.items()}
      raise UserError(f"nothing is left: {reasons}; loosen config.filters")
    jsonl.write_rows(folder / "examples.jsonl", [example_json(e.example()) for e in chosen])
    jsonl.write_rows(folder / "dev.jsonl", [example_json(e.example()) for e in dev])
    jsonl.write_rows(folder / "dropped.jsonl", dropped)
    domains = Counter((e.source, e.domain) for e in chosen)
    return {
      "examples": len(chosen),
      "dev": len(dev),
      "by_source": {source: dict(c) for source, c in counts.items()},
      "by_domain": {"/".join(filter(None, g)): n for g, n in sorted(domains.items())},
      "mean_answer_characters": round(sum(len(e.answer) for e in chosen) / len(chosen), 1),
    }

  return run_stage(folder, "curate", config, inputs, WRITES, body, redo=redo)
