"""A small finished chain: made-up scores, and the stages' own functions for the figures."""

import json
from pathlib import Path

import numpy as np

from xwinjax.data import candidates as candidate_files
from xwinjax.data import jsonl
from xwinjax.data.records import Candidate, CandidateSet, Counts, Message
from xwinjax.data.records import example_json as example
from xwinjax.data.records import pair_json as pair
from xwinjax.eval import reward_metrics
from xwinjax.stages import evaluate, score, select

P, S = 10, 8
EVIL = "<script>alert('gotcha')</script>"
GOLD_MEANS = {"base": 1.0, "sft": 2.5, "rs": 3.5, "dpo": 3.5}


def write_stage(folder: Path, name: str, figures: dict, config: dict | None = None) -> None:
  stage = folder / name
  stage.mkdir(parents=True, exist_ok=True)
  what = {"stage": name, "config": {"seed": 3, **(config or {})}, "inputs": {"data": "ab" * 32}}
  (stage / "settings.json").write_text(json.dumps(what))
  record = {
    **what,
    "outputs": {"model": "cd" * 32},
    "figures": figures,
    "input_paths": {"data": "some/data.jsonl"},
    "seconds": 12.5,
    "versions": {"xwinjax": "0.1.0", "python": "3.11"},
    "device": "1 x toy (cpu)",
    "finished": "2026-01-02T03:04:05Z",
  }
  (stage / "manifest.json").write_text(json.dumps(record))


def write_rows(path: Path, rows: list[dict]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def metrics(steps: int, **last: float) -> list[dict]:
  """A run's log: values go from 0 (the loss from 0.7) to `last`; the first step compiled."""
  facts = {"rows": 4, "length": 10, "tokens": 30, "targets": 20, "wait_s": 0.1}
  return [
    {
      "step": i + 1,
      "loss": 0.7 - 0.4 * i / steps,
      **{k: v * i / steps for k, v in last.items()},
      **facts,
      "first_of_shape": i == 0,
      "seconds": 5.0 if i == 0 else 0.5,
    }
    for i in range(steps)
  ]


def answers(rng, name: str, gold: bool) -> list[CandidateSet]:
  """An evaluation: RM scores that follow the gold ones with noise."""
  rows = []
  for p in range(P):
    golds = np.clip(rng.normal(GOLD_MEANS[name], 0.8, S), 0, 5)
    candidates = tuple(
      Candidate(
        f"{name} answer {p}.{s} {EVIL}",
        -float(rng.uniform(3, 9)),
        5 + s,
        "length" if s == 7 else "stop",
        {
          "rm": float(g - 2 + rng.normal(0, 0.5)),
          "reference": -9.0,
          **({"gold": float(g)} if gold else {}),
        },
      )
      for s, g in enumerate(golds)
    )
    prompt = (Message("user", f"question {p} & <b>more</b>"),)
    rows.append(CandidateSet(f"p{p}", prompt, candidates))
  return rows


def write_evaluations(folder: Path, rng, gold: bool) -> None:
  before = None
  for name in GOLD_MEANS:
    rows = answers(rng, name, gold)
    figures = evaluate.measures(rows)
    figures["sampling"] = {"tokens": 1000, "tokens_per_second": 123.4}
    if before:
      figures["versus_previous"] = evaluate.compare(rows, before, "gold" if gold else "rm")
    candidate_files.write(folder / f"evaluate_{name}" / "candidates.jsonl", rows)
    write_stage(folder, f"evaluate_{name}", figures)
    before = rows


def write_selection(folder: Path, rng) -> None:
  sets = [
    CandidateSet(
      f"p{p}",
      (Message("user", f"task {p}"),),
      tuple(
        Candidate(f"try {p}.{s} {EVIL}", -5.0, 7, "stop", {"rm": float(rng.normal())})
        for s in range(S)
      ),
    )
    for p in range(P)
  ]
  config = select.SelectConfig(rejected=("rank:4", "random"))
  examples, pairs, counts = select.select(sets, config)
  candidate_files.write(folder / "score" / "candidates.jsonl", sets)
  write_rows(folder / "select" / "examples.jsonl", [example(e) for e in examples])
  write_rows(folder / "select" / "pairs.jsonl", [pair(p) for p in pairs])
  write_stage(folder, "score", score.set_figures(sets, "rm"))
  write_stage(
    folder,
    "select",
    select.statistics(examples, pairs, counts),
    {"by": "rm", "first": 0, "rank": 1, "rejected": ["rank:4", "random"], "ended_only": True},
  )


def write_chain(folder: Path, *, gold: bool = True) -> Path:
  rng = np.random.default_rng(0)
  jsonl.write_json(folder / "recipe.json", {"recipe": "xwin"})
  trained = {"items": 50, "steps": 40, "skipped_updates": 0, "counts": dict(Counts(kept=50))}
  heldout = {"heldout_nll_before": 0.9, "heldout_nll": 0.4}
  gaps = rng.normal(1.0, 1.5, 64)
  metas = [{"gold": [1 + g, 1.0]} for g in rng.normal(1.0, 0.7, 64)] if gold else [{}] * 64
  accuracy = reward_metrics.summary([(g, 0.0) for g in gaps], metas, seed=0)
  write_stage(folder, "world", {"documents": 9})
  write_stage(folder, "pretrain", {**trained, "cached": True})
  write_stage(folder, "sft", trained | heldout)
  write_stage(folder, "label", {"pairs": 9})
  write_stage(folder, "reward", trained | accuracy)
  write_stage(
    folder,
    "sample",
    {
      "prompts": P,
      "candidates": P * S,
      "tokens": 560,
      "mean_length": 7.0,
      "repeats": 321,
      "finish": {"stop": P * S},
      "counts": {},
      "tokens_per_second": 99.0,
    },
  )
  write_stage(folder, "rs", trained | heldout)
  write_stage(folder, "reference", {"pairs": P})
  write_stage(folder, "dpo", trained | {"skipped_updates": 2, "loss_spikes": [7, 31]})
  write_rows(folder / "pretrain" / "metrics.jsonl", metrics(200))
  for name in ("sft", "rs"):
    write_rows(folder / name / "metrics.jsonl", metrics(40))
  write_rows(folder / "reward" / "metrics.jsonl", metrics(40, accuracy=0.9, margin=2.0))
  gains = {"gain_chosen": -1.0, "gain_rejected": -4.0}
  write_rows(folder / "dpo" / "metrics.jsonl", metrics(40, accuracy=0.8, margin=0.3, **gains))
  write_selection(folder, rng)
  write_evaluations(folder, rng, gold)
  return folder
