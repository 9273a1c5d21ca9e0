"""The report of LIMA's recipe: its summary, the lines a terminal shows, and its page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from xwinjax.core.errors import UserError
from xwinjax.eval import statistics
from xwinjax.report import charts, pages
from xwinjax.report.charts import Chart, Series
from xwinjax.report.tables import Row, Table, Text, columns, lines, number, percent
from xwinjax.report.workdir import Stages

ANSWERS = 8  # test prompts whose first answer is shown
DIALOGUES = 4
STAGES = "world pretrain community tokens mix sft choose evaluate judge dialogues"
BY = {"gold": "gold", "rm": "RM", "self": "judge's"}


class Run(Stages):
  """Reads the folder of a run."""

  def __init__(self, folder: str | Path):
    super().__init__(folder)
    if "tokens" not in self.manifests:
      raise UserError(f"{folder}: holds no run of experiments.lima")

  def order(self) -> tuple[str, ...]:
    return tuple(STAGES.split())


def epochs(run: Run) -> list[Row]:
  """Every epoch with its dev loss and perplexity, and the judge's score of those that were kept."""
  judged, rows = run.figures("choose").get("steps", {}), []
  for e in run.figures("sft").get("epochs", []):
    nll, judgement = e.get("heldout_nll"), judged.get(str(e["step"]), {})
    rows.append(
      {
        **{k: e[k] for k in ("epoch", "step", "kept")},
        "dev_nll": nll,
        "dev_perplexity": round(math.exp(nll), 5) if nll is not None else None,
        "dev_score": judgement.get("score"),
        "dev_length": judgement.get("mean_length"),
      }
    )
  return rows


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
    correlation: Any = scipy.stats.spearmanr([-r["dev_nll"] for r in both], score)
    rank = float(correlation.statistic)
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
  judge = run.figures("judge").get("score", "")
  by_prompt = [
    float(np.mean(scores))
    for row in run.rows_if_any("judge/candidates.jsonl")
    if (scores := [c["scores"][judge] for c in row["candidates"] if judge in c.get("scores", {})])
  ]
  evaluation = run.figures("evaluate")
  return {
    "judge": judge,
    "score": float(np.mean(by_prompt)) if by_prompt else None,
    "score_ci": list(statistics.bootstrap(np.array(by_prompt), seed=0)) if by_prompt else None,
    "prompts": len(by_prompt),
    **{k: evaluation.get(k) for k in ("samples", "mean_length", "ended_share", "hallucination")},
    "epoch": chosen,
    "epochs": rows,
    "perplexity_against_judge": disagreement(rows, chosen),
    "examples": run.figures("sft").get("items"),
    "tokens": run.figures("tokens").get("added"),
    "dialogues": grades(run),
    **run.origin(),
    **run.spent(),
  }


def grades(run: Run) -> Row | None:
  """Turns by grade, and their shares with Wilson's intervals."""
  counts = run.figures("dialogues").get("grades")
  if not counts:
    return None
  total = sum(counts.values())
  ci = lambda n: list(statistics.share_interval(n, total))
  share = lambda n: {"turns": n, "share": n / total, "ci": ci(n)}
  return {
    "dialogues": run.figures("dialogues")["dialogues"],
    "turns": total,
    **{name: share(n) for name, n in counts.items()},
  }


def epoch_table(s: Row) -> Table:
  cells = {
    "epoch": lambda r: str(r["epoch"]),
    "dev perplexity": lambda r: number(r["dev_perplexity"], 3),
    f"dev quality ({s['judge']})": lambda r: number(r["dev_score"], 3),
    "tokens": lambda r: number(r["dev_length"], 1),
    "": lambda r: "chosen" if r["epoch"] == s["epoch"] else "",
  }
  return columns(s["epochs"], cells)


def main_table(s: Row) -> Table:
  cells = {
    f"{BY.get(s['judge'], s['judge'])} score (95 %)": lambda s: number(
      s["score"], ci=s["score_ci"]
    ),
    "examples": lambda s: str(s["examples"]),
    "epoch": lambda s: str(s["epoch"]),
    "tokens": lambda s: number(s["mean_length"], 1),
    "ended": lambda s: percent(s["ended_share"]),
    "false claims": lambda s: percent(s["hallucination"]),
  }
  return columns([s], cells, "summary").without_empty()


def grade_table(s: Row) -> Table:
  """Excellent, pass and fail, as the paper tells its dialogues."""
  g = s["dialogues"]
  if not g:
    return Table()
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
  statements = [
    f"Dev perplexity is lowest after epoch {d['lowest_perplexity_epoch']}; of the epochs "
    f"that were judged, after {d['lowest_perplexity_kept']}. The judge chose epoch "
    f"{s['epoch']}."
  ]
  if d["lowest_perplexity_kept"] == s["epoch"]:
    statements.append("Perplexity would have chosen the same.")
  else:
    statements.append(
      f"By perplexity, dev quality would be {number(d['score_there'], 3)} in place of "
      f"{number(d['score_chosen'], 3)}."
    )
  if d["spearman"] is not None:
    statements.append(
      f"Rank correlation of dev quality with −perplexity over these epochs: "
      f"{number(d['spearman'])}."
    )
  return statements


def text(s: Row) -> str:
  """The summary as the lines a person reads at the end of a run."""
  parts = [lines(epoch_table(s)), lines(main_table(s))]
  if s["dialogues"]:
    parts.append(lines(grade_table(s)))
  return "\n\n".join([*parts, "\n".join(sentences(s))])


def quality_and_perplexity(s: Row) -> Chart | None:
  """Both against the epoch, each with an axis of its own: the paper finds that they disagree."""
  loss = [(r["epoch"], r["dev_perplexity"]) for r in s["epochs"] if r["dev_perplexity"]]
  judged = [(r["epoch"], r["dev_score"]) for r in s["epochs"] if r["dev_score"] is not None]
  if not loss:
    return None
  (first, start), (last, end) = loss[0], loss[-1]
  descriptions = [
    f"perplexity {number(start, 3)} after epoch {first}, {number(end, 3)} after {last}",
    ", ".join(f"quality {number(v, 3)} after epoch {e}" for e, v in judged),
  ]
  at, values = zip(*loss, strict=True)
  with charts.drawing("epoch", "dev perplexity") as (figure, axes):
    Series("perplexity", at, values, line="--", marker="s").draw(axes)
    if judged:
      right = axes.twinx()
      right.grid(visible=False)
      right.spines["right"].set_visible(True)
      right.set_ylabel(f"dev quality ({s['judge']})")
      Series("", *zip(*judged, strict=True), colour="two", marker="o").draw(right)
      Series("quality", [], [], "two", "-", "o").draw(axes)
    if s["epoch"] is not None:
      axes.axvline(s["epoch"], color=charts.INK, linewidth=0.9, linestyle=":", label="chosen")
    axes.set_xticks([e for e, _ in loss])
    charts.legend(axes)
    note = (
      "Both on the dev prompts: perplexity of the answers there (lower is better), quality of "
      "the model's own as judged."
    )
    description = "; ".join(filter(None, descriptions))
    return charts.finish(figure, "Perplexity and quality by epoch", note, description)


def dialogues(run: Run) -> list[pages.Details]:
  """Some dialogues, each reply with its grade."""
  rows, shown = run.rows_if_any("dialogues/dialogues.jsonl"), []
  for i in pages.spread_out(DIALOGUES, len(rows)):
    grades = iter(rows[i].get("grades", ()))
    of = lambda m, grades=grades: next(grades, "") if m["role"] == "assistant" else ""
    turns = [{**m, "grade": of(m)} for m in rows[i]["messages"]]
    shown.append(pages.Details(f"Dialogue {len(shown) + 1}", [Text(turns=turns)], open=not shown))
  return shown


def texts_table(run: Run, judge: str) -> Table:
  """The first answer to some test prompts."""
  rows = run.rows_if_any("judge/candidates.jsonl")
  answers = {"answer": {r["id"]: r["candidates"][0] for r in rows}}
  return pages.side_by_side(answers, {r["id"]: r["prompt"] for r in rows}, (judge,), ANSWERS)


def page(run: Run) -> pages.Page:
  """Everything the folder says, finished or not."""
  s, metrics = summary(run), run.metrics("sft")
  gold = (
    " Gold is the sandbox's own scorer, 0 to 5; here it is the judge that chose the epoch, on "
    "other prompts than these."
  )
  read = "Brackets hold 95 % intervals over the test prompts."
  read += gold if s["judge"] == "gold" else ""
  windows = "Means over windows of steps, with each window's range."
  loss = charts.steps("Training loss", metrics, {"loss": "loss"}, "nats a token", windows)
  drawn = pages.Pictures([quality_and_perplexity(s), loss])
  of_epochs = (
    "Only kept epochs are judged. The paper finds that perplexity on held-out answers rises while "
    "the answers written get better, and so chooses by quality."
  )
  of_dialogues = (
    "The paper, LLaMA 65B: 45.2 % of turns excellent and 15 of 42 failed without dialogues among "
    "the examples; 76.1 % and 1 of 46 with 30 of them."
  )
  held, first = dialogues(run), [main_table(s), pages.Says(sentences(s)), pages.Words(read)]
  talked = [grade_table(s), *held, pages.Words(of_dialogues)]
  sections = [
    pages.Section("epochs", "Epochs", [drawn, epoch_table(s), pages.Words(of_epochs)]),
    *([pages.Section("dialogues", "Dialogues", talked)] if held else []),
    pages.Section("texts", "Texts", [texts_table(run, s["judge"])]),
  ]
  return pages.of_run("LIMA", run, s, first, sections)
