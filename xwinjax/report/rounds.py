"""What the rounds of Self-Rewarding LMs came to: rows and sentences, from the files alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.eval import statistics, winrate
from xwinjax.report.tables import NONE, Row, Table, number, percent, signed
from xwinjax.report.workdir import Stages

BASELINE = "baseline"
NAMES = {BASELINE: "SFT baseline"}
JUDGES = ("gold", "rm", "fixed")  # who compares two models; the first there is
BY = {"gold": "gold", "rm": "RM", "fixed": "M1's"}
# Yuan et al. 2024, with Llama-2 70B; None where the paper gives no number.
PAPER: dict[str, dict[str, Any]] = {
  "AlpacaEval 2 win rate, %": {"M1": "9.94", "M2": "15.38", "M3": "20.44"},
  "MT-bench": {"M1": "6.78", "M2": "7.01", "M3": "7.25"},
  "against SFT, win/tie/lose, %": {
    "M1": "30.5/38.7/30.9",
    "M2": "49.2/36.3/14.5",
    "M3": "62.5/27.7/9.8",
  },
  "judge: pairwise accuracy, %": {BASELINE: "65.1", "M1": "78.7", "M2": "80.4", "M3": "81.7"},
  "judge: 5-best, %": {BASELINE: "39.6", "M1": "41.5", "M2": "44.3", "M3": "43.2"},
  "judge: exact match, %": {BASELINE: "10.1", "M1": "13.1", "M2": "14.3", "M3": "14.3"},
  "judge: Spearman": {BASELINE: "0.253", "M1": "0.279", "M2": "0.331", "M3": "0.349"},
  "judge: Kendall's τ": {BASELINE: "0.233", "M1": "0.253", "M2": "0.315", "M3": "0.324"},
  "characters of an answer": {"M1": "1092", "M2": "1552", "M3": "2552"},
}
STAGES = (
  "instruct",
  "sample",
  "judge",
  "pairs",
  "reference",
  "dpo",
  "choose",
  "mix",
  "sft",
  "best",
  "evaluate",
  "judging",
)


class Rounds(Stages):
  """Reads the folder of a run."""

  def __init__(self, folder: str | Path):
    super().__init__(folder)
    if not self.manifests:
      raise UserError(f"{folder}: holds no finished stage of experiments.self_rewarding")

  def order(self) -> Iterator[str]:
    yield from ("world", "pretrain", "make_eft", "reward")
    for name in self.candidates():
      yield from (f"{name}/{stage}" for stage in STAGES)

  def candidates(self) -> list[str]:
    """Every model's folder there is: baseline, M1, M2, …."""
    rounds = [p for p in self.folder.glob("M[0-9]*") if p.name[1:].isdigit()]
    rounds.sort(key=lambda p: int(p.name[1:]))
    return [BASELINE, *(p.name for p in rounds)]

  def models(self) -> list[str]:
    """The models that have been measured."""
    return [n for n in self.candidates() if f"{n}/evaluate" in self.manifests]

  def scores(self, model: str, judge: str) -> dict[str, list[float]]:
    """Scores by prompt of a model's held-out answers; {} where this judge gave none."""
    file = "judging/own.jsonl" if judge == "fixed" else "evaluate/candidates.jsonl"
    found = {
      row["id"]: [c["scores"][judge] for c in row["candidates"] if judge in c.get("scores", {})]
      for row in self.rows_if_any(f"{model}/{file}")
    }
    return {id: values for id, values in found.items() if values}


def name_of(model: str) -> str:
  return NAMES.get(model, model)


def versus(work: Rounds, ours: str, theirs: str, seed: int = 0) -> Row | None:
  """Head to head of two models over their held-out prompts; None without a judge of both."""
  for judge in JUDGES:
    a, b = work.scores(ours, judge), work.scores(theirs, judge)
    ids = [id for id in a if id in b]
    if not ids:
      continue
    fewest = min(len(v) for s in (a, b) for id in ids for v in [s[id]])
    one, two = (np.array([s[id][:fewest] for id in ids]) for s in (a, b))
    return {
      "against": theirs,
      "judge": judge,
      **winrate.head_to_head(one, two, seed=seed, tie=1e-6),
      "gain": statistics.paired_difference(one.mean(1), two.mean(1), seed=seed),
    }
  return None


def characters(work: Rounds, model: str) -> float | None:
  """Mean characters of an answer to a held-out prompt."""
  lengths = [
    len(c["text"])
    for row in work.rows_if_any(f"{model}/evaluate/candidates.jsonl")
    for c in row["candidates"]
  ]
  return float(np.mean(lengths)) if lengths else None


def round_row(work: Rounds, model: str) -> Row | None:
  """How a round made its pairs; None for models that no round made."""
  instruct, pairs = work.figures(f"{model}/instruct"), work.figures(f"{model}/pairs")
  if not instruct:
    return None
  judge, choose = work.figures(f"{model}/judge"), work.figures(f"{model}/choose")
  read = judge.get("counts", {}).get("read", 0)
  return {
    "prompts": instruct["prompts"],
    "prompt_counts": instruct["counts"],
    "prompts_of_the_world": instruct.get("of_the_world"),
    "diversity": instruct["diversity"],
    "judgements_read": read,
    "unparsed": judge.get("unparsed"),
    "agreement": judge.get("agreement"),
    "prompt_tokens": judge.get("prompt_tokens"),
    "expected_prompt_tokens": judge.get("expected", {}).get("prompt_tokens"),
    "pairs": pairs.get("pairs"),
    "pair_counts": pairs.get("counts"),
    "margin": pairs.get("margin"),
    "chosen_tokens": pairs.get("chosen_tokens"),
    "rejected_tokens": pairs.get("rejected_tokens"),
    "chosen_longer": pairs.get("chosen_longer"),
    "step": choose.get("step"),
    "steps": choose.get("steps"),
  }


def summary(work: Rounds) -> Row:
  """What summary.json holds: a row for each model that has been measured."""
  rows: list[Row] = []
  models = work.models()
  for i, model in enumerate(models):
    f, judging = work.figures(f"{model}/evaluate"), work.figures(f"{model}/judging")
    own, people = judging.get("own", {}), judging.get("people", {})
    rows.append(
      {
        "model": model,
        "gold_mean": f.get("gold_mean"),
        "gold_ci": f.get("gold_ci"),
        "rm_mean": f.get("rm_mean"),
        "self_mean": own.get("self_mean"),
        "self_ci": own.get("self_ci"),
        "inflation": own.get("inflation"),
        "own_against_gold": own.get("against_gold"),
        "versus_baseline": versus(work, model, BASELINE) if i else None,
        "versus_previous": versus(work, model, models[i - 1]) if i else None,
        "judge": {how: people[how] for how in ("written", "expected") if how in people}
        | {k: people[k] for k in ("unparsed", "agreement", "spread", "scores") if k in people},
        "mean_length": f["mean_length"],
        "characters": characters(work, model),
        "hallucination": f.get("hallucination"),
        "kl": f.get("kl"),
        "ended_share": f["ended_share"],
        "round": round_row(work, model),
        "seconds": round(
          sum(m["seconds"] for n, m in work.manifests.items() if n.startswith(f"{model}/")), 2
        ),
      }
    )
  last = next(reversed(work.manifests.values()))
  first_last = versus(work, models[-1], "M1") if len(models) > 2 else None
  return {
    "models": rows,
    "last_versus_m1": first_last,
    "device": last["device"],
    "seed": last["config"].get("seed"),
    "seconds": round(sum(m["seconds"] for m in work.manifests.values()), 2),
  }


def wins(v: Row | None) -> str:
  """Win/tie/lose in percent, as the paper writes it."""
  return "/".join(f"{100 * v[k]:.1f}" for k in ("win", "tie", "lose")) if v else NONE


def accuracy(row: Row, how: str = "written") -> str:
  f = row["judge"].get(how) or {}
  return percent(f.get("pairwise_accuracy"), f.get("pairwise_accuracy_ci"))


def main_table(s: Row) -> Table:
  """A row a model: what its answers are worth, and what it thinks of them."""
  rows = []
  for r in s["models"]:
    inflation = r["inflation"] or {}
    rows.append(
      (
        name_of(r["model"]),
        number(r["gold_mean"], ci=r["gold_ci"]),
        number(r["rm_mean"]),
        number(r["self_mean"], ci=r["self_ci"]),
        number(inflation.get("mean"), ci=inflation.get("ci")),
        wins(r["versus_baseline"]),
        wins(r["versus_previous"]),
        accuracy(r),
        accuracy(r, "expected"),
        percent(r["judge"].get("unparsed")),
        number(r["mean_length"], 1),
        number(r["characters"], 0),
        percent(r["hallucination"]),
      )
    )
  head = (
    "model",
    "gold score",
    "RM score",
    "self-score",
    "self-score − gold",
    "win/tie/lose vs baseline",
    "vs previous",
    "judge accuracy",
    "by expected score",
    "unparsed",
    "tokens",
    "characters",
    "false claims",
  )
  return Table(head, rows).without_empty()


def text(s: Row) -> str:
  """The summary as the lines a person reads at the end of a run."""
  table = main_table(s)
  cells = [table.head, *table.rows]
  widths = [max(len(line[i]) for line in cells) for i in range(len(table.head))]
  lines = [
    "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
  ]
  return "\n".join([*lines, "", *sentences(s)])


def sentences(s: Row) -> list[str]:
  """Whether each model beats the one before, and the last beats M1, in words."""
  said = []
  compared = [(r["model"], r["versus_previous"]) for r in s["models"] if r["versus_previous"]]
  if s["last_versus_m1"] and len(s["models"]) > 3:
    compared.append((s["models"][-1]["model"], s["last_versus_m1"]))
  for model, v in compared:
    gain, against = v["gain"], name_of(v["against"])
    by = f"{signed(gain['mean'], gain['ci'])} {BY[v['judge']]} points"
    if not gain["significant"]:
      said.append(f"{model} and {against}: no significant difference, {by}.")
    else:
      verb = "beats" if gain["mean"] > 0 else "is worse than"
      said.append(f"{model} {verb} {against}: {by}.")
  return said
