"""What a run of LIMA's recipe came to: rows and sentences, from its files alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from xwinjax.core.errors import UserError
from xwinjax.eval import statistics
from xwinjax.report.tables import NONE, Row, Table, lines, number, percent
from xwinjax.report.workdir import Stages

STAGES = (
  "world",
  "pretrain",
  "community",
  "tokens",
  "mix",
  "sft",
  "choose",
  "evaluate",
  "judge",
  "dialogues",
)
BY = {"gold": "gold", "rm": "RM", "self": "judge's"}


class Run(Stages):
  """Reads the folder of a run."""

  def __init__(self, folder: str | Path):
    super().__init__(folder)
    if "tokens" not in self.manifests:
      raise UserError(f"{folder}: holds no run of experiments.lima")

  def order(self) -> tuple[str, ...]:
    return STAGES


def epochs(run: Run) -> list[Row]:
  """Every epoch with its dev loss and perplexity, and the judge's score of those that were kept."""
  judged, made = run.figures("choose").get("steps", {}), []
  for e in run.figures("sft").get("epochs", []):
    nll, found = e.get("heldout_nll"), judged.get(str(e["step"]), {})
    made.append(
      {
        "epoch": e["epoch"],
        "step": e["step"],
        "kept": e["kept"],
        "dev_nll": nll,
        "dev_perplexity": round(math.exp(nll), 5) if nll is not None else None,
        "dev_score": found.get("score"),
        "dev_length": found.get("mean_length"),
      }
    )
  return made


def disagreement(rows: list[Row], chosen: int | None) -> Row | None:
  """Whether perplexity would have chosen as the judge did, over the epochs that were judged.

  Spearman's rank correlation is of quality with -perplexity: 1 where the two agree, -1 where
  perplexity rises as quality does.
  """
  both = [r for r in rows if r["dev_score"] is not None and r["dev_nll"] is not None]
  if not both:
    return None
  by_loss = min(both, key=lambda r: r["dev_nll"])
  first = min((r for r in rows if r["dev_nll"] is not None), key=lambda r: r["dev_nll"])
  score = [r["dev_score"] for r in both]
  rank = None
  if len(both) > 2 and len(set(score)) > 1:
    found: Any = stats.spearmanr([-r["dev_nll"] for r in both], score)
    rank = float(found.statistic)
  at = next((r for r in both if r["epoch"] == chosen), None)
  return {
    "lowest_perplexity_epoch": first["epoch"],
    "lowest_perplexity_kept": by_loss["epoch"],
    "score_there": by_loss["dev_score"],
    "score_chosen": at and at["dev_score"],
    "spearman": None if rank is None else round(rank, 4),
  }


def summary(run: Run) -> Row:
  """What summary.json holds."""
  rows, choose = epochs(run), run.figures("choose")
  chosen = next((r["epoch"] for r in rows if r["step"] == choose.get("step")), None)
  config = run.manifests["judge"]["config"] if "judge" in run.manifests else {}
  judge = config.get("name") or config.get("by", "")
  by_prompt = [
    float(np.mean(scores))
    for row in run.rows_if_any("judge/candidates.jsonl")
    if (scores := [c["scores"][judge] for c in row["candidates"] if judge in c.get("scores", {})])
  ]
  found = run.figures("evaluate")
  last = next(reversed(run.manifests.values()))
  return {
    "judge": judge,
    "score": float(np.mean(by_prompt)) if by_prompt else None,
    "score_ci": list(statistics.bootstrap(np.array(by_prompt), seed=0)) if by_prompt else None,
    "prompts": len(by_prompt),
    "samples": found.get("samples"),
    "mean_length": found.get("mean_length"),
    "ended_share": found.get("ended_share"),
    "hallucination": found.get("hallucination"),
    "epoch": chosen,
    "epochs": rows,
    "perplexity_against_judge": disagreement(rows, chosen),
    "examples": run.figures("sft").get("items"),
    "tokens": run.figures("tokens").get("added"),
    "dialogues": grades(run),
    "device": last["device"],
    "seed": last["config"].get("seed"),
    "seconds": round(sum(m["seconds"] for m in run.manifests.values()), 2),
  }


def grades(run: Run) -> Row | None:
  """Turns by grade, and their shares with Wilson's intervals."""
  counts = run.figures("dialogues").get("grades")
  if not counts:
    return None
  total = sum(counts.values())
  share = lambda n: {
    "turns": n,
    "share": n / total,
    "ci": list(statistics.share_interval(n, total)),
  }
  return {
    "dialogues": run.figures("dialogues")["dialogues"],
    "turns": total,
    **{name: share(n) for name, n in counts.items()},
  }


def epoch_table(s: Row) -> Table:
  rows = [
    (
      str(r["epoch"]),
      number(r["dev_perplexity"], 3),
      number(r["dev_score"], 3),
      number(r["dev_length"], 1),
      "chosen" if r["epoch"] == s["epoch"] else "",
    )
    for r in s["epochs"]
  ]
  return Table(("epoch", "dev perplexity", f"dev quality ({s['judge']})", "tokens", ""), rows)


def main_table(s: Row) -> Table:
  head = (
    f"{BY.get(s['judge'], s['judge'])} score (95 %)",
    "examples",
    "epoch",
    "tokens",
    "ended",
    "false claims",
  )
  row = (
    number(s["score"], ci=s["score_ci"]),
    str(s["examples"]),
    str(s["epoch"]),
    number(s["mean_length"], 1),
    percent(s["ended_share"]),
    percent(s["hallucination"]),
  )
  return Table(head, [row]).without_empty()


def grade_table(s: Row) -> Table:
  """Excellent, pass and fail, as the paper tells its dialogues."""
  g = s["dialogues"]
  if not g:
    return Table((), [])
  names = ("excellent", "pass", "fail")
  row = (
    str(g["turns"]),
    *(f"{g[n]['turns']}: {percent(g[n]['share'], g[n]['ci'])}" for n in names),
  )
  return Table(("turns", *names), [row])


def sentences(s: Row) -> list[str]:
  """What the choice of the checkpoint shows."""
  d = s["perplexity_against_judge"]
  if not d:
    return []
  said = [
    f"Dev perplexity is lowest after epoch {d['lowest_perplexity_epoch']}; of the epochs "
    f"that were judged, after {d['lowest_perplexity_kept']}. The judge chose epoch "
    f"{s['epoch']}."
  ]
  if d["lowest_perplexity_kept"] == s["epoch"]:
    said.append("Perplexity would have chosen the same.")
  else:
    said.append(
      f"By perplexity, dev quality would be {number(d['score_there'], 3)} in place of "
      f"{number(d['score_chosen'], 3)}."
    )
  if d["spearman"] is not None:
    said.append(
      f"Rank correlation of dev quality with −perplexity over these epochs: "
      f"{number(d['spearman'])}."
    )
  return said


def text(s: Row) -> str:
  """The summary as the lines a person reads at the end of a run."""
  parts = [lines(epoch_table(s)), lines(main_table(s))]
  if s["dialogues"]:
    parts.append(lines(grade_table(s)))
  return "\n\n".join([*parts, "\n".join(sentences(s))])


def facts(run: Run, s: Row) -> list[Any]:
  """What a page's first line says."""
  from xwinjax.report.tables import seconds

  version = next(reversed(run.manifests.values()))["versions"]["xwinjax"]
  seed = f"seed {s['seed']}" if s["seed"] is not None else NONE
  return [s["device"], seed, f"{seconds(s['seconds'])} in all", f"xwinjax {version}"]
