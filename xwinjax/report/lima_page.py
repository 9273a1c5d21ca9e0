"""The report of a run of LIMA's recipe: one file, made from the run's folder alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from xwinjax.data import jsonl
from xwinjax.report import charts, details, lima
from xwinjax.report.charts import Chart
from xwinjax.report.page import NAME, spread_out
from xwinjax.report.tables import Row, Table, number, seconds

ANSWERS = 8  # test prompts whose first answer is shown
DIALOGUES = 4


def quality_and_perplexity(s: Row) -> Chart | None:
  """Both against the epoch, each with an axis of its own: the paper finds that they disagree."""
  loss = [(r["epoch"], r["dev_perplexity"]) for r in s["epochs"] if r["dev_perplexity"]]
  judged = [(r["epoch"], r["dev_score"]) for r in s["epochs"] if r["dev_score"] is not None]
  if not loss:
    return None
  said = [
    f"perplexity {number(loss[0][1], 3)} after epoch {loss[0][0]}, {number(loss[-1][1], 3)} "
    f"after {loss[-1][0]}"
  ]
  with charts._drawing("epoch", "dev perplexity") as (figure, axes):
    axes.plot(*zip(*loss, strict=True), "s--", color=charts.COLOURS["one"], label="perplexity")
    if judged:
      right = axes.twinx()
      right.grid(visible=False)
      right.spines["right"].set_visible(True)
      right.set_ylabel(f"dev quality ({s['judge']})")
      right.plot(*zip(*judged, strict=True), "o-", color=charts.COLOURS["two"])
      axes.plot([], [], "o-", color=charts.COLOURS["two"], label="quality")
      said.append(", ".join(f"quality {number(v, 3)} after epoch {e}" for e, v in judged))
    if s["epoch"] is not None:
      axes.axvline(s["epoch"], color=charts.INK, linewidth=0.9, linestyle=":", label="chosen")
    axes.set_xticks([e for e, _ in loss])
    charts._legend(axes)
    return charts._chart(
      figure,
      "Perplexity and quality by epoch",
      "Both on the dev prompts: perplexity of the answers there (lower is better), quality of "
      "the model's own as judged.",
      "; ".join(said),
    )


def answers(run: lima.Run) -> list[Row]:
  rows = run.rows_if_any("judge/candidates.jsonl")
  return [
    {"prompt": rows[i]["prompt"], "answer": rows[i]["candidates"][0]}
    for i in spread_out(ANSWERS, len(rows))
  ]


def held(run: lima.Run) -> list[list[Row]]:
  """Some dialogues, each reply with its grade."""
  rows, shown = run.rows_if_any("dialogues/dialogues.jsonl"), []
  for i in spread_out(DIALOGUES, len(rows)):
    grades = iter(rows[i].get("grades", ()))
    shown.append(
      [
        {**m, "grade": next(grades, "") if m["role"] == "assistant" else ""}
        for m in rows[i]["messages"]
      ]
    )
  return shown


def content(run: lima.Run) -> dict[str, Any]:
  """All that the template shows."""
  s = lima.summary(run)
  metrics = run.rows_if_any("sft/metrics.jsonl")
  pictures = [
    quality_and_perplexity(s),
    charts.steps(
      "Training loss",
      metrics,
      {"loss": "loss"},
      "nats a token",
      "Means over windows of steps, with each window's range.",
    ),
  ]
  dump = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
  return {
    "name": run.folder.resolve().name,
    "facts": lima.facts(run, s),
    "number": number,
    "summary": lima.main_table(s),
    "sentences": lima.sentences(s),
    "json": dump(s),
    "epochs": lima.epoch_table(s),
    "grades": lima.grade_table(s),
    "judge": s["judge"],
    "pictures": [p for p in pictures if p],
    "answers": answers(run),
    "dialogues": held(run),
    "timing": Table(
      ("stage", "time"), [(name, seconds(m["seconds"])) for name, m in run.manifests.items()]
    ),
    "configs": [(name, dump(m["config"])) for name, m in run.manifests.items()],
    "manifests": [(name, m, details.files_table(name, m)) for name, m in run.manifests.items()],
  }


def environment(*, escape: bool = True) -> jinja2.Environment:
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=escape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def render(run: lima.Run, *, escape: bool = True) -> str:
  """The page's HTML. Every text is escaped by the template; only the charts are markup."""
  return environment(escape=escape).get_template("lima.html.j2").render(content(run))


def write(folder: str | Path) -> Path:
  """Makes report.html in the folder of a run, finished or not, from what is there."""
  run = lima.Run(folder)
  return jsonl.write_atomic(run.folder / NAME, render(run))
