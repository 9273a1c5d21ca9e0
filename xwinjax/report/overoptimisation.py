"""How far a chain may go after its reward model: score and gold against KL, and what a price buys.

Source: Gao et al. 2023, arXiv 2210.10760, figure 1: the two ways are best-of-n and training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xwinjax.eval import statistics
from xwinjax.eval.overoptimisation import best_of_n_kl, worth_it
from xwinjax.report import charts, pages, tables
from xwinjax.report.chain_files import JUDGES, NAMES, Chain
from xwinjax.report.charts import Chart, Series
from xwinjax.report.tables import Row, Table, columns, number, signed

PRICES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
WAYS = {"best_of_n": ("best of n", "one", "o"), "dpo": ("DPO", "two", "s")}
LINES = {"rm": "-", "gold": "--"}
RULE = (
  "The rule (config.choose.price) takes the step with the highest RM score − price · KL on "
  "validation prompts, which is the last up to which a nat of KL has bought that much. A price is "
  "in standard deviations of the start's scores over all validation answers; 0 takes the highest "
  "score."
)
KLS = (0, 0.25, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # where the axis has a number


def of_chain(work: Chain) -> Row | None:
  """The points of both ways; None where DPO's steps were not measured or its start was not.

  {"start", "best_of_n": [{"n", "kl", "rm", "gold"?}], "dpo": [{"step", "kl", "rm", "gold"?}],
  "chosen": step, "price", "unit", "sd": {"rm", "gold"?}}; sd is the spread of the start's answers
  to one prompt, unit what a price is in.
  """
  f = work.figures("choose")
  if not f:
    return None
  start = work.start_of("choose")
  of_start = work.figures(f"evaluate_{start}")
  judges = [j for j in JUDGES if f"{j}_best_of_k" in of_start]
  if not judges:
    return None
  best = {j: of_start[f"{j}_best_of_k"] for j in judges}
  ns = tables.powers(len(best[judges[0]]))
  kl_of = dict(zip(ns, best_of_n_kl(np.array(ns)).round(5).tolist(), strict=True))
  named = {"score": "rm", "gold": "gold", "kl": "kl"}
  return {
    "start": start,
    "sd": {j: of_start[f"{j}_std"] for j in judges},
    "best_of_n": [{"n": n, "kl": kl_of[n], **{j: best[j][n - 1] for j in judges}} for n in ns],
    "dpo": [
      {"step": int(step), **{ours: row[name] for name, ours in named.items() if name in row}}
      for step, row in f["steps"].items()
      if row["score"] is not None
    ],
    "chosen": f["step"],
    "price": work.config("choose").get("price", 0.0),
    "unit": f["steps"].get("0", {}).get("std") or 0.0,
  }


def gains(c: Row, way: str, judge: str) -> np.ndarray:
  """What each point of a way has gained over its first, in spreads of the start's answers."""
  values = np.array([p[judge] for p in c[way]], float)
  return (values - values[0]) / c["sd"][judge]


def kls(c: Row, way: str) -> np.ndarray:
  return np.array([p["kl"] for p in c[way]], float)


def mean(runs: Sequence[Row]) -> Row:
  """The means of several runs' points; a point that one of them lacks is left out."""
  made: dict[str, Any] = {"start": runs[0]["start"], "sd": {}}
  for judge in runs[0]["sd"]:
    made["sd"][judge] = float(np.mean([r["sd"][judge] for r in runs]))
  for way, at in (("best_of_n", "n"), ("dpo", "step")):
    points = [{p[at]: p for p in r[way]} for r in runs]
    both = [x for x in points[0] if all(x in p for p in points)]
    keys = [k for k in runs[0][way][0] if k != at]
    over = lambda x, key, points=points: float(np.mean([p[x][key] for p in points]))
    made[way] = [{at: x, **{k: over(x, k) for k in keys}} for x in both]
  return made


def picture(title: str, c: Row, chosen: int | None = None) -> Chart | None:
  """RM score and gold against the root of KL, and the step that was chosen.

  Stars mark gold's highest points: beyond them the reward model's score misleads.
  """
  series, marks = [], []
  for way, (name, colour, marker) in WAYS.items():
    x = np.sqrt(np.maximum(kls(c, way), 0.0))
    for judge in [j for j in ("rm", "gold") if j in c["sd"]]:
      y = gains(c, way, judge)
      words = f"{JUDGES[judge]}, {name}: {number(y[-1])} at KL {number(x[-1] ** 2)}"
      face: Any = {"markerfacecolor": "none"} if judge == "gold" else {}
      label = f"{JUDGES[judge]}, {name}"
      series.append(
        Series(label, x, y, colour, LINES[judge], marker, description=words, options=face)
      )
      if judge == "gold":
        top = int(y.argmax())
        label = "gold is highest" if not marks else ""
        big = {"markersize": 13, "markeredgewidth": 0.5, "markeredgecolor": "white"}
        marks.append(Series(label, [x[top]], [y[top]], colour, "", "*", options=big))
    steps = [p.get("step") for p in c[way]]
    if chosen in steps and way == "dpo":
      place, judge = steps.index(chosen), "gold" if "gold" in c["sd"] else "rm"
      ring = {"markersize": 13, "markerfacecolor": "none", "markeredgewidth": 1.6}
      y = gains(c, way, judge)[place]
      marks.append(Series("step chosen", [x[place]], [y], "ink", "", "o", options=ring))
  most = max(float(kls(c, way).max()) for way in WAYS)
  shown = [k for k, before in zip(KLS, (-1, *KLS), strict=False) if before < most]  # one beyond
  ticks = {float(np.sqrt(k)): f"{k:g}" for k in shown}
  note = (
    f"Gain over the {NAMES[c['start']]} model in standard deviations of its answers to a prompt. "
    "Best of n picks by the reward model, at its KL of log n − (n−1)/n; DPO's points are its "
    "saved steps. Stop where gold is highest (star): beyond it the reward model's score (solid) "
    "rises, and what is wanted (dashed) does not."
  )
  x = f"KL to {NAMES[c['start']]}, nats an answer (square-root scale)"
  return charts.plot(title, [*series, *marks], x, "gain, sd", note, ticks=ticks)


def chosen_at(c: Row, price: float) -> int:
  """The place among DPO's steps that the rule takes at this price."""
  scores = [p["rm"] for p in c["dpo"]]
  return worth_it(scores, kls(c, "dpo").tolist(), price * c["unit"]) or 0


def rule_table(runs: Sequence[Row]) -> Table:
  """What the rule takes at each price, in means over runs, beside the last step and gold's own."""
  rules: dict[str, Callable[[Row], int]] = {
    f"price {p:g}": lambda c, p=p: chosen_at(c, p) for p in PRICES
  }
  rules["the last step"] = lambda c: len(c["dpo"]) - 1
  if "gold" in runs[0]["sd"]:
    rules["gold's own choice"] = lambda c: int(gains(c, "dpo", "gold").argmax())
  last = [len(c["dpo"]) - 1 for c in runs]
  at = lambda rule: [rule(c) for c in runs]

  def gained(judge: str, places: list[int]) -> np.ndarray:
    return np.array([gains(c, "dpo", judge)[i] for c, i in zip(runs, places, strict=True)])

  def over(values: np.ndarray, show: Callable[..., str] = number) -> str:
    return show(float(values.mean()), ci=statistics.t_interval(values.tolist()))

  cells = {
    "DPO stops at": lambda row: row[0],
    "step": lambda row: ", ".join(
      str(c["dpo"][i]["step"]) for c, i in zip(runs, at(row[1]), strict=True)
    ),
    "KL": lambda row: number(
      float(np.mean([c["dpo"][i]["kl"] for c, i in zip(runs, at(row[1]), strict=True)]))
    ),
    "RM score gained, sd": lambda row: over(gained("rm", at(row[1]))),
  }
  if "gold" in runs[0]["sd"]:
    more = lambda places: gained("gold", places) - gained("gold", last)
    cells |= {
      "gold gained, sd": lambda row: over(gained("gold", at(row[1]))),
      "more gold than the last step, sd": lambda row: over(more(at(row[1])), signed),
    }
  return columns(rules.items(), cells)


def best_n_table(rows: dict[str, list[Row]]) -> Table:
  """Of each row of an ablation: where gold is highest on both ways, and what is there beyond."""
  cells: dict[str, Any] = {"row": lambda row: row[0], "runs": lambda row: str(len(row[2]))}
  for way, (name, _, _) in WAYS.items():
    at = {"best_of_n": "n", "dpo": "step"}[way]
    top = lambda c, way=way: int(gains(c, way, "gold").argmax())
    cells |= {
      f"{name}: gold is highest at": lambda row, way=way, at=at, top=top: (
        f"{at} {row[1][way][top(row[1])][at]}, KL {number(row[1][way][top(row[1])]['kl'])}"
      ),
      f"{name}: gold gained there, sd": lambda row, way=way, top=top: number(
        float(gains(row[1], way, "gold")[top(row[1])])
      ),
      f"{name}: gold at the end, sd": lambda row, way=way: number(
        float(gains(row[1], way, "gold")[-1])
      ),
      f"{name}: RM score at the end, sd": lambda row, way=way: number(
        float(gains(row[1], way, "rm")[-1])
      ),
    }
  known = [(row, mean(runs), runs) for row, runs in rows.items()]
  return columns(known, cells, "summary")


def section(c: Row | None) -> dict[tuple[str, str], list[pages.Part]]:
  """A chain's section of its page; none where DPO's steps were not measured."""
  if c is None:
    return {}
  drawn = pages.Pictures([picture("When to stop", c, c["chosen"])], wide=True)
  return {("stop", "When to stop"): [drawn, rule_table([c]), pages.Words(RULE)]}


def tables_of(rows: dict[str, list[Row]]) -> dict[str, Table]:
  """Of an ablation's rows: where gold is highest, and for each row what the rule would take."""
  highest = {"Where gold is highest": best_n_table(rows)} if _has_gold(rows) else {}
  return highest | {f"What the rule takes: {row}": rule_table(runs) for row, runs in rows.items()}


def _has_gold(rows: dict[str, list[Row]]) -> bool:
  return bool(rows) and all("gold" in c["sd"] for runs in rows.values() for c in runs)


def of_rows(rows: dict[str, list[Row]]) -> list[pages.Part]:
  """A sweep's part: a picture a row, where gold is highest, and what the rule would take."""
  if not rows:
    return []
  drawn = [
    picture(f"When to stop: {row.replace('_', ' ')}", mean(runs)) for row, runs in rows.items()
  ]
  parts: list[pages.Part] = [pages.Pictures(drawn)]
  for title, table in tables_of(rows).items():
    parts.append(pages.Details(title, [table], open=len(rows) == 1 or table.style == "summary"))
  return [*parts, pages.Words(RULE)]
