"""The folder of self-rewarding rounds that nobody ran."""

import json
import random
from pathlib import Path

GOLD = {"baseline": 2.5, "M1": 2.6, "M2": 3.4, "M3": 3.9}


def manifest(folder: Path, config=None, **figures) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  record = {
    "stage": folder.name,
    "config": {"seed": 3, **(config or {})},
    "inputs": {"model": "a" * 64},
    "outputs": {"candidates.jsonl": "b" * 64},
    "figures": figures,
    "input_paths": {"model": "x/model"},
    "seconds": 12.5,
    "device": "1 x cpu (cpu)",
    "versions": {"xwinjax": "0.1.0"},
    "finished": "2026-01-01T00:00:00Z",
  }
  (folder / "manifest.json").write_text(json.dumps(record))


def write_jsonl(path: Path, rows) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def judge_figures(accuracy: float) -> dict:
  return {
    "pairwise_accuracy": accuracy,
    "pairwise_accuracy_ci": [accuracy - 0.05, accuracy + 0.05],
    "pairwise_undecided": 0.1,
    "five_best": 0.4,
    "exact_match": 0.13,
    "spearman": 0.5,
    "kendall": 0.45,
    "mean_score": 3.1,
    "distribution": {"2": 10, "4": 20},
  }


def write_model(folder: Path, name: str, gold: bool) -> None:
  rng, base = random.Random(name), GOLD[name]
  rows = []
  for i in range(20):
    score = lambda: {"gold": round(base + rng.gauss(0, 0.3), 3)} if gold else {}
    rows.append(
      {
        "id": f"h{i}",
        "prompt": [{"role": "user", "content": f"<b>Q{i}</b>?"}],
        "candidates": [{"text": f"{name} says {k} & more.", "scores": score()} for k in range(4)],
      }
    )
  write_jsonl(folder / name / "evaluate" / "candidates.jsonl", rows)
  measured = {"gold_mean": base, "gold_ci": [base - 0.1, base + 0.1]} if gold else {}
  manifest(folder / name / "evaluate", mean_length=15.0, ended_share=1.0, **measured)
  own = {"answers": 40, "judged": 38, "self_mean": base + 0.5, "self_ci": [base + 0.4, base + 0.6]}
  if gold:
    own["inflation"] = {"mean": 0.5, "ci": [0.4, 0.6]}
  fixed = [
    {
      **row,
      "candidates": [
        {**c, "scores": {"fixed": base + 0.01 * i}} for i, c in enumerate(row["candidates"][:2])
      ],
    }
    for row in rows
  ]
  if not gold:
    write_jsonl(folder / name / "judging" / "own.jsonl", fixed)
  manifest(
    folder / name / "judging",
    own=own,
    people={
      "written": judge_figures(0.7),
      "expected": judge_figures(0.6),
      "unparsed": 0.02,
      "agreement": 0.6,
      "spread": 0.3,
      "scores": {"4.0": 5},
    },
  )


def write_round(folder: Path) -> None:
  manifest(
    folder / "instruct",
    prompts=40,
    of_the_world=30,
    diversity={"nearest": 0.6, "groups": 9},
    counts={"drawn": 50, "kept": 40, "dropped: empty": 10},
  )
  asked = [{"role": "user", "content": "Why <i>is</i> it?"}]
  write_jsonl(folder / "instruct" / "prompts.jsonl", [{"id": "a", "messages": asked}])
  manifest(
    folder / "judge",
    counts={"read": 470, "no line with a score": 10},
    unparsed=0.02,
    agreement=0.7,
    prompt_tokens={"read": 900, "computed": 300},
  )
  write_jsonl(
    folder / "judge" / "candidates.jsonl",
    [{"id": "a", "prompt": asked, "candidates": [{"text": "So."}]}],
  )
  write_jsonl(
    folder / "judge" / "judgements.jsonl",
    [
      {
        "id": "a",
        "judgements": [
          [
            {"text": "Good.\nScore: 4", "score": 4.0},
            {"text": "Hm.", "score": None, "reason": "no line with a score"},
          ]
        ],
      }
    ],
  )
  manifest(
    folder / "pairs",
    pairs=33,
    counts={"no pair: tie": 7},
    margin=1.25,
    chosen_tokens=14.0,
    rejected_tokens=16.0,
    chosen_longer=0.3,
  )
  manifest(folder / "dpo")
  manifest(folder / "choose", step=16, steps={"16": {"score": 3.0}})


def write_rounds(folder: Path, *, gold: bool = True, models=tuple(GOLD)) -> Path:
  manifest(folder / "world")
  (folder / "recipe.json").write_text('{"recipe": "self_rewarding"}')
  for name in models:
    if name in ("M2", "M3"):
      write_round(folder / name)
    else:
      manifest(folder / name / "sft")
    write_model(folder, name, gold)
  return folder
