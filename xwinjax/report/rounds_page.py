"""The report of the rounds: one file with everything in it, made from their folder alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from xwinjax.data import jsonl
from xwinjax.report import charts, details, rounds
from xwinjax.report.charts import Chart
from xwinjax.report.page import NAME, spread_out
from xwinjax.report.rounds import Rounds, name_of
from xwinjax.report.tables import NONE, Row, Table, number, percent, seconds

TEXTS = 6  # held-out prompts whose answers are shown
PROMPTS = 12  # new prompts that are shown of each round
JUDGEMENTS = 4  # judged answers that are shown of each round


def by_model(
  title: str,
  series: dict[str, list[tuple[float, Any] | None]],
  names: list[str],
  y: str,
  note: str,
  level: tuple[float, str] | None = None,
) -> Chart | None:
  """Values with their intervals, model after model; a line for each series."""
  said = []
  with charts._drawing("", y) as (figure, axes):
    for (label, values), (colour, style) in zip(
      series.items(), (("one", "o-"), ("two", "s--"), ("base", "^:")), strict=False
    ):
      there = [(i, *v) for i, v in enumerate(values) if v is not None and v[0] is not None]
      if not there:
        continue
      at, mid = [i for i, *_ in there], np.array([v for _, v, _ in there])
      low, high = (np.array([ci[k] if ci else v for _, v, ci in there]) for k in (0, 1))
      axes.errorbar(
        at,
        mid,
        yerr=np.abs([mid - low, high - mid]),
        fmt=style,
        capsize=3,
        color=charts.COLOURS[colour],
        label=label,
      )
      said.append(f"{label}: " + ", ".join(f"{names[i]} {number(v)}" for i, v, _ in there))
    if not said:
      return None
    if level:
      axes.axhline(level[0], color=charts.INK, linewidth=0.9, linestyle=":", label=level[1])
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.4, len(names) - 0.6)
    if len(axes.get_legend_handles_labels()[1]) > 1:
      charts._legend(axes)
    return charts._chart(figure, title, note, "; ".join(said))


def pictures(s: Row) -> list[Chart]:
  """Scores, judges, lengths and head-to-heads over the models."""
  models = s["models"]
  names = [name_of(r["model"]) for r in models]
  judged = lambda how: [
    (f["pairwise_accuracy"], f["pairwise_accuracy_ci"]) if (f := r["judge"].get(how)) else None
    for r in models
  ]
  made = [
    by_model(
      "Answers to held-out prompts",
      {
        "gold": [(r["gold_mean"], r["gold_ci"]) for r in models],
        "its own score": [(r["self_mean"], r["self_ci"]) for r in models],
      },
      names,
      "mean score, 0 to 5",
      "Bars are 95 % intervals over prompts. Where its own score "
      "runs ahead of gold, the model flatters itself.",
    ),
    by_model(
      "The models as judges",
      {"written": judged("written"), "expected score": judged("expected")},
      names,
      "pairwise accuracy",
      "Of pairs of answers that people value differently; a tie or a missing score counts half.",
      (0.5, "a coin"),
    ),
    by_model(
      "Length of answers",
      {"tokens": [(r["mean_length"], None) for r in models]},
      names,
      "tokens",
      "Mean over all answers to the held-out prompts.",
    ),
    charts.win_tie_lose(
      "Against the SFT baseline",
      {
        name_of(r["model"]): tuple(r["versus_baseline"][k] for k in ("win", "tie", "lose"))
        for r in models
        if r["versus_baseline"]
      },
      "Every answer against every one of the baseline's to the same prompt.",
    ),
  ]
  return [chart for chart in made if chart is not None]


def judge_table(s: Row) -> Table:
  """Every figure of every model as judge."""
  rows = []
  for r in s["models"]:
    for how in ("written", "expected"):
      f, j = r["judge"].get(how), r["judge"]
      if not f:
        continue
      written = how == "written"
      rows.append(
        (
          f"{name_of(r['model'])}, {how}",
          percent(f["pairwise_accuracy"], f["pairwise_accuracy_ci"]),
          percent(f["pairwise_undecided"]),
          percent(f["five_best"]),
          percent(f["exact_match"]),
          number(f["spearman"], 3),
          number(f["kendall"], 3),
          number(f["mean_score"]),
          percent(j.get("unparsed")) if written else NONE,
          percent(j.get("agreement")) if written else NONE,
          " ".join(f"{k}:{n}" for k, n in f.get("distribution", {}).items()) or NONE,
        )
      )
  head = (
    "judge",
    "pairwise accuracy",
    "undecided",
    "5-best",
    "exact match",
    "Spearman",
    "Kendall's τ",
    "mean score",
    "unparsed",
    "same score twice",
    "scores",
  )
  return Table(head, rows)


def round_table(s: Row) -> Table:
  """How each round came to its pairs: a column a round."""
  made = [(r["model"], r["round"]) for r in s["models"] if r["round"]]
  lines: dict[str, list[str]] = {}
  for i, (_, r) in enumerate(made):
    shared = lambda t: f"{t['read']} → {t['computed']}" if t else NONE
    found = {
      "new prompts": r["prompts"],
      **{f"prompts {k}": n for k, n in r["prompt_counts"].items()},
      "of them questions of the world": r["prompts_of_the_world"],
      "ROUGE-L with the nearest other": number(r["diversity"]["nearest"]),
      "groups by verb and noun": r["diversity"]["groups"],
      "judgements read": r["judgements_read"],
      "judgements unparsed": percent(r["unparsed"]),
      "judgements of one answer that agree": percent(r["agreement"]),
      "prompt tokens of judgements → computed": shared(r["prompt_tokens"]),
      "the same for expected scores": shared(r["expected_prompt_tokens"]),
      "pairs": r["pairs"],
      **{f"pairs: {k}": n for k, n in (r["pair_counts"] or {}).items()},
      "mean margin": number(r["margin"]),
      "tokens, chosen": number(r["chosen_tokens"], 1),
      "tokens, rejected": number(r["rejected_tokens"], 1),
      "chosen is longer": percent(r["chosen_longer"]),
      "checkpoint chosen": r["step"] if r["step"] is not None else None,
    }
    for name, value in found.items():
      row = lines.setdefault(name, [NONE] * len(made))
      row[i] = NONE if value is None else str(value)
  rows = [(name, *row) for name, row in lines.items() if any(x != NONE for x in row)]
  return Table(("figure", *(model for model, _ in made)), rows)


def judged(r: Row, figure: str, scale: float, digits: int) -> str:
  """A model's figure as a judge, of its written judgements where there are any."""
  f = r["judge"].get("written") or r["judge"].get("expected") or {}
  return number(f[figure] * scale, digits) if f.get(figure) is not None else NONE


def paper_table(s: Row) -> Table:
  """The paper's numbers, and ours where the same thing is measured."""
  ours = {r["model"]: r for r in s["models"]}
  measured = {
    "against SFT, win/tie/lose, %": lambda r: rounds.wins(r["versus_baseline"]),
    "characters of an answer": lambda r: number(r["characters"], 0),
    "judge: pairwise accuracy, %": lambda r: judged(r, "pairwise_accuracy", 100, 1),
    "judge: 5-best, %": lambda r: judged(r, "five_best", 100, 1),
    "judge: exact match, %": lambda r: judged(r, "exact_match", 100, 1),
    "judge: Spearman": lambda r: judged(r, "spearman", 1, 3),
    "judge: Kendall's τ": lambda r: judged(r, "kendall", 1, 3),
  }
  names = [rounds.BASELINE, "M1", "M2", "M3"]
  rows = []
  for line, numbers in rounds.PAPER.items():
    rows.append((f"{line}: paper", *(numbers.get(n, NONE) for n in names)))
    if line in measured:
      rows.append(
        (f"{line}: here", *(measured[line](ours[n]) if n in ours else NONE for n in names))
      )
  return Table(("figure", *(name_of(n) for n in names)), rows)


def answers(work: Rounds) -> list[Row]:
  """The first answer of every model to some held-out prompts."""
  models = work.models()
  by_id = {
    m: {row["id"]: row for row in work.rows_if_any(f"{m}/evaluate/candidates.jsonl")}
    for m in models
  }
  first = list(by_id[models[0]].values()) if models else []
  return [
    {
      "prompt": first[i]["prompt"],
      "answers": [
        by_id[m].get(first[i]["id"], {"candidates": [None]})["candidates"][0] for m in models
      ],
    }
    for i in spread_out(TEXTS, len(first))
  ]


def new_prompts(work: Rounds) -> list[tuple[str, list[str]]]:
  """Some of the prompts each round wrote."""
  found = []
  for model in work.candidates():
    rows = work.rows_if_any(f"{model}/instruct/prompts.jsonl")
    if rows:
      shown = [rows[i]["messages"][0]["content"] for i in spread_out(PROMPTS, len(rows))]
      found.append((model, shown))
  return found


def judgements(work: Rounds) -> list[tuple[str, list[Row]]]:
  """Some answers with what the round's judge wrote of them."""
  found = []
  for model in work.candidates():
    judged = work.rows_if_any(f"{model}/judge/judgements.jsonl")
    sets = work.rows_if_any(f"{model}/judge/candidates.jsonl")
    if judged and sets:
      found.append(
        (
          model,
          [
            {
              "prompt": sets[i]["prompt"],
              "answer": sets[i]["candidates"][0],
              "judgements": judged[i]["judgements"][0],
            }
            for i in spread_out(JUDGEMENTS, len(sets))
          ],
        )
      )
  return found


def content(work: Rounds) -> Row:
  """All that the template shows."""
  s = rounds.summary(work)
  last = next(reversed(work.manifests.values()))
  seed = s["seed"]
  dump = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
  return {
    "name": work.folder.resolve().name,
    "number": number,
    "facts": [
      fact
      for fact in (
        s["device"],
        f"seed {seed}" if seed is not None else "",
        f"{seconds(s['seconds'])} in all",
        f"xwinjax {last['versions']['xwinjax']}",
      )
      if fact
    ],
    "summary": rounds.main_table(s),
    "sentences": rounds.sentences(s),
    "json": dump(s),
    "has_gold": any(r["gold_mean"] is not None for r in s["models"]),
    "pictures": pictures(s),
    "judges": judge_table(s),
    "rounds": round_table(s),
    "paper": paper_table(s),
    "models": [name_of(m) for m in work.models()],
    "answers": answers(work),
    "prompts": new_prompts(work),
    "judgements": judgements(work),
    "timing": Table(
      ("stage", "time"), [(name, seconds(m["seconds"])) for name, m in work.manifests.items()]
    ),
    "configs": [(name, dump(m["config"])) for name, m in work.manifests.items()],
    "manifests": [(name, m, details.files_table(name, m)) for name, m in work.manifests.items()],
  }


def render(work: Rounds, *, escape: bool = True) -> str:
  """The page's HTML. Every text is escaped by the template; only the charts are markup."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=escape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template("rounds.html.j2").render(content(work))


def write(folder: str | Path) -> Path:
  """Makes report.html in the folder of a run, finished or not, from what is there."""
  work = Rounds(folder)
  return jsonl.write_atomic(work.folder / NAME, render(work))
