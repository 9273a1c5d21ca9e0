"""The report's smaller tables: reward model, selection, timing, speeds, manifests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from xwinjax.core.progress import short
from xwinjax.report.tables import NONE, Table, number, percent, seconds
from xwinjax.report.workdir import NAMES, ORDER, TRAINED, Row, Workdir


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
  """Pearson's, or None where either does not vary."""
  a, b = a.ravel(), b.ravel()
  return float(np.corrcoef(a, b)[0, 1]) if a.size and a.std() and b.std() else None


def reward_table(work: Workdir) -> Table:
  """The reward model on held-out pairs."""
  f = work.figures("reward")
  if "heldout_accuracy" not in f:
    return Table((), [])
  rows = [
    ("accuracy on held-out pairs", percent(f["heldout_accuracy"], f["heldout_accuracy_ci"])),
    ("pairs", str(f["heldout_pairs"])),
    ("log loss (0.693 is a coin's)", number(f["heldout_log_loss"], 3)),
    ("mean margin", number(f["heldout_margin"], 2)),
    ("calibration error (ECE)", number(f["calibration"]["ece"], 3)),
    ("accuracy against gold", percent(f.get("heldout_accuracy_gold"))),
    ("labels that contradict gold", percent(f.get("heldout_label_noise"))),
    ("pairs trained on", str(f.get("items", NONE))),
  ]
  return Table(("figure", "value"), [row for row in rows if row[1] != NONE])


def judge_table(work: Workdir) -> Table:
  """How the reward model's scores go with gold and with length, on each model's answers."""
  rows = []
  for name in work.models():
    samples, f = work.samples(name), work.figures(f"evaluate_{name}")
    if "rm" in samples.scores:
      rows.append(
        (
          NAMES[name],
          number(f.get("rm_gold_correlation")),
          number(correlation(samples.scores["rm"], samples.tokens_PS)),
          number(f["rm_std"]),
        )
      )
  head = ("model", "RM with gold", "RM with length", "RM spread within a prompt")
  return Table(head, rows).without_empty() if rows else Table((), [])


def selection_table(work: Workdir) -> Table:
  """From prompts to candidates to what was trained on."""
  sample, score, select = (work.figures(n) for n in ("sample", "score", "select"))
  rows: list[tuple[str, Any]] = []
  if sample:
    rows += [
      ("prompts", sample["prompts"]),
      ("candidates", sample["candidates"]),
      ("repeats drawn again", sample["repeats"]),
      ("mean tokens of a candidate", number(sample["mean_length"], 1)),
      *((f"ended by: {how}", n) for how, n in sample["finish"].items()),
    ]
  if score:
    last = max(score["best_of"], key=int)
    rows += [
      ("mean score", number(score["mean"])),
      ("spread within a prompt", number(score["std"])),
      (f"best of {last}", number(score["best_of"][last])),
      (f"worst of {last}", number(score["worst_of"][last])),
    ]
  if select:
    config = work.config("select")
    rows += [
      ("ranked by", config["by"]),
      ("fine-tuned on rank", config["rank"]),
      ("pairs: best against", ", ".join(config["rejected"])),
      ("examples for RS", select["examples"]),
      ("pairs for DPO", select["pairs"]),
      ("mean score of an example", number(select["example_score"])),
      ("mean margin of a pair", number(select["pair_margin"])),
      ("tokens, chosen", number(select["chosen_tokens"], 1)),
      ("tokens, rejected", number(select["rejected_tokens"], 1)),
      *select["counts"].items(),
    ]
  return Table(("figure", "value"), [(name, str(value)) for name, value in rows])


def status(work: Workdir, name: str) -> str:
  if name in work.manifests:
    return "done"
  if not work.begun(name):
    return "not begun"
  steps = work.metrics(name)
  return f"begun, {steps[-1]['step']} steps" if steps else "begun"


def timing_table(work: Workdir) -> Table:
  """Seconds of every stage; stages that a chain without the sandbox lacks are left out."""
  total = sum(m["seconds"] for m in work.manifests.values()) or 1.0
  rows = []
  for name in ORDER:
    done = work.manifests.get(name)
    if name in ("world", "pretrain", "label") and not done and not work.begun(name):
      continue
    cached = done and done["figures"].get("cached")
    rows.append(
      (
        name,
        status(work, name) + (", from the cache" if cached else ""),
        seconds(done["seconds"]) if done else NONE,
        f"{done['seconds'] / total:.0%}" if done else NONE,
        done["finished"].replace("T", " ").replace("Z", " UTC") if done else NONE,
      )
    )
  return Table(("stage", "state", "time", "share", "finished"), rows)


@dataclasses.dataclass(frozen=True)
class Speed:
  """How a training stage spent its time; steps that compiled are kept apart."""

  steps: int
  tokens: int
  tokens_per_second: float
  compiling: float  # seconds of steps that compiled
  waiting: float  # share of the other steps' time spent waiting for data
  padding: float  # share of places without a token


def speed(rows: Sequence[Row]) -> Speed | None:
  """From metrics.jsonl; None where no step has been logged."""
  if not rows:
    return None
  total = lambda key, rows=rows: float(sum(r[key] for r in rows))
  running = [r for r in rows if not r["first_of_shape"]]
  spent = max(total("seconds", running), 1e-9)
  places = sum(r["rows"] * r["length"] for r in rows)
  return Speed(
    rows[-1]["step"],
    int(total("tokens")),
    total("tokens", running) / spent,
    total("seconds") - total("seconds", running),
    total("wait_s", running) / spent,
    1 - total("tokens") / max(places, 1),
  )


def speed_table(work: Workdir) -> Table:
  """Training and sampling speeds."""
  rows = []
  for name in ORDER:
    s = speed(work.metrics(name)) if name in TRAINED else None
    f = work.figures(name)
    f = f.get("sampling", f)
    if s:
      rows.append(
        (
          name,
          str(s.steps),
          short(s.tokens),
          short(s.tokens_per_second),
          seconds(s.compiling),
          percent(s.waiting),
          percent(s.padding),
          percent(f.get("mfu")),
          str(f.get("skipped_updates", NONE)),
        )
      )
    elif "tokens_per_second" in f:
      rows.append((name, NONE, short(f["tokens"]), short(f["tokens_per_second"]), *[NONE] * 5))
  head = (
    "stage",
    "steps",
    "tokens",
    "tokens/s",
    "compiling",
    "waiting for data",
    "padding",
    "MFU",
    "skipped updates",
  )
  return Table(head, rows).without_empty()


def files_table(name: str, record: Row) -> Table:
  """A stage's files with their sha256."""
  paths = record.get("input_paths", {})
  rows = [("in", role, paths.get(role, NONE), sha) for role, sha in record["inputs"].items()]
  rows += [("out", file, f"{name}/{file}", sha) for file, sha in record["outputs"].items()]
  return Table(("", "what", "path", "sha256"), rows)


def manifest_tables(work: Workdir) -> list[tuple[str, Row, Table]]:
  """(stage, manifest, its files) of every stage that is done."""
  return [(name, record, files_table(name, record)) for name, record in work.manifests.items()]
