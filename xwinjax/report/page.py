"""report.html: one file with everything in it, made from a chain's folder and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from xwinjax.data import jsonl
from xwinjax.eval import heldout
from xwinjax.report import charts, details, tables
from xwinjax.report.charts import Chart
from xwinjax.report.workdir import NAMES, TRAINED, Row, Workdir

NAME = "report.html"
TEXTS = 8  # held-out prompts whose answers are shown
PAIRS = 4  # DPO pairs that are shown
RANKED = 2000  # prompts whose candidates are read for the picture of ranks
JUDGES = {"gold": "gold score", "rm": "RM score"}


def _kept(made: list[Chart | None]) -> list[Chart]:
  return [chart for chart in made if chart is not None]


def loss_charts(work: Workdir) -> list[Chart]:
  """Loss, and what else was logged, of each training stage that has begun."""
  made: list[Chart | None] = []
  for name in TRAINED:
    rows, f = work.metrics(name), work.figures(name)
    points = {}
    if rows and "heldout_nll" in f:
      points = {0: f["heldout_nll_before"], rows[-1]["step"]: f["heldout_nll"]}
    pairs = name in ("reward", "dpo")
    made.append(
      charts.steps(
        f"{name}: loss",
        rows,
        {"training": "loss"},
        "nats a token" if not pairs else "nats a pair",
        "Mean of each window of steps, and the window's range."
        + (" Diamonds: held-out text, before and after." if points else ""),
        level=(math.log(2), "log 2 (a coin)") if pairs else None,
        points=points,
        log=True,
      )
    )
    if pairs:
      made += pair_charts(name, rows)
  return _kept(made)


def pair_charts(name: str, rows: list[Row]) -> list[Chart | None]:
  """What is logged of training on pairs."""
  made = [
    charts.steps(
      f"{name}: accuracy",
      rows,
      {"accuracy": "accuracy"},
      "share of pairs",
      "How often the chosen answer of a training pair is preferred; a tie is not.",
      level=(0.5, "chance"),
      limits=(-0.02, 1.02),
    )
  ]
  if name == "reward":
    return [
      *made,
      charts.steps(
        "reward: margin",
        rows,
        {"margin": "margin"},
        "r(chosen) − r(rejected)",
        "Mean reward gap of a training pair.",
      ),
    ]
  return [
    *made,
    charts.steps(
      "dpo: margin",
      rows,
      {"margin": "margin"},
      "β · (gain of chosen − of rejected)",
      "The implicit reward gap, which the loss widens.",
    ),
    charts.steps(
      "dpo: log-prob gained",
      rows,
      {"chosen": "gain_chosen", "rejected": "gain_rejected"},
      "log π − log π of the reference",
      "Only the gap between the two is in the loss, so both may fall.",
    ),
  ]


def best_of_charts(work: Workdir) -> list[Chart]:
  """What picking the best of k is worth: by the reward model, in gold and in its own score."""
  perfect = {
    name: heldout.best_of_k(samples.scores["gold"]).tolist()
    for name in work.models()
    if "gold" in (samples := work.samples(name)).scores
  }
  return _kept(
    [
      charts.best_of_k(
        "Gold score of the reward model's pick",
        tables.curves(work, "gold"),
        "gold score",
        "Expected gold score of the one of k answers that the reward model scores highest. "
        "Where a curve falls, the reward model's highest scores mislead.",
      ),
      charts.best_of_k(
        "RM score of the reward model's pick",
        tables.curves(work, "rm"),
        "RM score",
        "The same picks by the reward model's own score: the highest of k.",
      ),
      charts.best_of_k(
        "Gold score of gold's own pick",
        perfect,
        "gold score",
        "What a perfect reward model would reach with the same answers.",
      ),
    ]
  )


def kl_charts(work: Workdir) -> list[Chart]:
  """Score against KL to the SFT model; the base, which SFT starts from, is not on that way."""
  made = []
  for judge, y in JUDGES.items():
    points = {}
    for name in work.models():
      samples, f = work.samples(name), work.figures(f"evaluate_{name}")
      if name != "base" and samples.kl_P is not None and judge in samples.scores:
        points[name] = charts.Point(
          samples.kl_P, samples.scores[judge].mean(1), f["kl_ci"], f[f"{judge}_ci"]
        )
    best = work.figures("evaluate_sft").get(f"{judge}_best_of_k", [])
    made.append(
      charts.kl_score(
        f"KL against {y}",
        points,
        best,
        y,
        "Large marks: means with 95 % intervals; dots: prompts. Line: the reward model's pick of "
        "n = 1, 2, … answers of the SFT model, at its KL of log n − (n−1)/n at most.",
      )
    )
  return _kept(made)


def spread_charts(work: Workdir) -> list[Chart]:
  """Histograms of scores and the lengths of answers."""
  made: list[Chart | None] = []
  for judge, x in JUDGES.items():
    values = {
      name: samples.scores[judge]
      for name in work.models()
      if judge in (samples := work.samples(name)).scores
    }
    made.append(
      charts.histogram(f"Answers by {x}", values, x, "All answers to the held-out prompts.")
    )
  made.append(
    charts.spreads(
      "Length of answers",
      {name: work.samples(name).tokens_PS for name in work.models()},
      "tokens",
      "Mark: median; thick: middle half; thin: middle 90 %.",
    )
  )
  return _kept(made)


def reward_charts(work: Workdir) -> list[Chart]:
  f = work.figures("reward")
  if "calibration" not in f:
    return []
  return _kept(
    [
      charts.calibration(
        "Calibration on held-out pairs",
        f["calibration"],
        "How sure the reward model is of its preference, against how often it is right; bars are "
        f"95 % intervals. Each point holds {min(f['calibration']['pairs'])} pairs or one more.",
      )
    ]
  )


def rank_chart(work: Workdir) -> list[Chart]:
  """Scores by rank of the multiwise set, with the ranks that were chosen."""
  if "score" not in work.manifests:
    return []
  select, by = work.config("select"), work.figures("score")["score"]
  first, ended_only = select.get("first") or None, select.get("ended_only", False)
  scores = [
    sorted(
      {
        c["text"]: c["scores"][by]
        for c in row["candidates"][:first]
        if not (ended_only and c["finish"] == "length")
      }.values(),
      reverse=True,
    )
    for row in work.rows("score/candidates.jsonl", RANKED)
  ]
  size = max(map(len, scores), default=0)
  ranked_PS = np.array([row + [math.nan] * (size - len(row)) for row in scores])
  marked = {}
  if select and select["by"] == by:
    rejected = [int(rule[5:]) for rule in select["rejected"] if rule.startswith("rank:")]
    marked = {f"rank {select['rank']}: RS, chosen": select["rank"]}
    marked |= {
      f"rank {r}: rejected" if r > 0 else f"rank {r} from the last: rejected": r
      if r > 0
      else size + 1 + r
      for r in rejected
    }
    marked = {label: r for label, r in marked.items() if 1 <= r <= size}
  return _kept(
    [
      charts.ranks(
        "Scores by rank",
        ranked_PS,
        marked,
        "Distinct candidates of a prompt, best first: mean over "
        f"{'prompts' if len(scores) < RANKED else f'the first {RANKED} prompts'}, and the middle "
        "80 % of them.",
      )
    ]
  )


def time_charts(work: Workdir) -> list[Chart]:
  spent = {name: m["seconds"] for name, m in work.manifests.items()}
  speeds = {}
  for name in work.manifests:
    f = work.figures(name)
    found = details.speed(work.metrics(name))
    rate = found.tokens_per_second if found else f.get("sampling", f).get("tokens_per_second")
    if rate:
      speeds[name] = rate
  return _kept(
    [
      charts.bars("Time by stage", spent, "seconds", "Of the run that finished the stage."),
      charts.bars(
        "Tokens a second",
        speeds,
        "tokens/s",
        "Steps that compiled are left out of training's; sampling's includes all.",
        details.short,
      ),
    ]
  )


def spread_out(n: int, of: int) -> list[int]:
  """n places evenly over `of`, the same each time.

  >>> spread_out(3, 9)
  [0, 4, 8]
  """
  n = min(n, of)
  return [round(i * (of - 1) / max(n - 1, 1)) for i in range(n)]


def answers(work: Workdir) -> list[dict[str, Any]]:
  """The first answer of every model to some held-out prompts."""
  models = work.models()
  if not models:
    return []
  rows = {name: {row["id"]: row for row in work.samples(name).rows} for name in models}
  first = work.samples(models[0]).rows
  return [
    {
      "prompt": first[i]["prompt"],
      "id": first[i]["id"],
      "answers": [rows[name].get(first[i]["id"], {}).get("first") for name in models],
    }
    for i in spread_out(TEXTS, len(first))
  ]


def pairs(work: Workdir) -> list[Row]:
  """Some of the pairs that DPO is trained on."""
  if "select" not in work.manifests:
    return []
  places = set(spread_out(PAIRS, work.figures("select")["pairs"]))
  return [row for i, row in enumerate(work.rows("select/pairs.jsonl")) if i in places]


def content(work: Workdir) -> dict[str, Any]:
  """All that the template shows."""
  total = sum(m["seconds"] for m in work.manifests.values())
  summary = tables.summary(work)
  last = next(reversed(work.manifests.values()), {})
  return {
    "number": tables.number,
    "name": work.folder.resolve().name,
    "facts": [
      fact
      for fact in (
        summary["device"],
        f"seed {summary['seed']}" if summary["seed"] is not None else "",
        f"{tables.seconds(total)} in all",
        f"xwinjax {last['versions']['xwinjax']}" if last else "",
      )
      if fact
    ],
    "models": [NAMES[name] for name in work.models()],
    "has_gold": any(row["gold_mean"] is not None for row in summary["stages"]),
    "summary": tables.summary_table(work),
    "summary_json": _json(summary),
    "comparisons": tables.comparisons(work),
    "notes": tables.notes(work),
    "best_of": best_of_charts(work),
    "best_of_tables": [
      (JUDGES[j], tables.best_of_table(work, j)) for j in JUDGES if tables.curves(work, j)
    ],
    "curves": loss_charts(work),
    "kl": kl_charts(work),
    "spreads": spread_charts(work),
    "reward": details.reward_table(work),
    "judge": details.judge_table(work),
    "reward_charts": reward_charts(work),
    "selection": details.selection_table(work),
    "ranks": rank_chart(work),
    "pairs": pairs(work),
    "answers": answers(work),
    "timing": details.timing_table(work),
    "speed": details.speed_table(work),
    "time_charts": time_charts(work),
    "configs": [(name, _json(m["config"])) for name, m in work.manifests.items()],
    "manifests": details.manifest_tables(work),
  }


def _json(value: Any) -> str:
  return json.dumps(value, indent=1, ensure_ascii=False)


def render(work: Workdir, *, escape: bool = True) -> str:
  """The page's HTML. Every text is escaped by the template; only the charts are markup."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=escape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template("page.html.j2").render(content(work))


def write(folder: str | Path) -> Path:
  """Makes report.html in a chain's folder, finished or not, from what is there."""
  work = Workdir(folder)
  return jsonl.write_atomic(work.folder / NAME, render(work))
