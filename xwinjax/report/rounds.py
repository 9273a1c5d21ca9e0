"""The report of Self-Rewarding LMs' rounds: summary, terminal lines and page, from files alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.eval import statistics, winrate
from xwinjax.report import charts, pages
from xwinjax.report.charts import Chart
from xwinjax.report.tables import NONE, Row, Table, Text, columns, gained, lines, number, percent
from xwinjax.report.workdir import Stages

TEXTS = 6  # held-out prompts whose answers are shown
PROMPTS = 12  # new prompts that are shown of each round
JUDGEMENTS = 4  # judged answers that are shown of each round
BASELINE = "baseline"
NAMES = {BASELINE: "SFT baseline"}
BY = {"gold": "gold", "rm": "RM", "fixed": "M1's"}  # who compares two models; the first there is
# Yuan et al. 2024, with Llama-2 70B: baseline, M1, M2, M3.
PAPER = {
  "AlpacaEval 2 win rate, %": (NONE, "9.94", "15.38", "20.44"),
  "MT-bench": (NONE, "6.78", "7.01", "7.25"),
  "against SFT, win/tie/lose, %": (NONE, "30.5/38.7/30.9", "49.2/36.3/14.5", "62.5/27.7/9.8"),
  "judge: pairwise accuracy, %": ("65.1", "78.7", "80.4", "81.7"),
  "judge: 5-best, %": ("39.6", "41.5", "44.3", "43.2"),
  "judge: exact match, %": ("10.1", "13.1", "14.3", "14.3"),
  "judge: Spearman": ("0.253", "0.279", "0.331", "0.349"),
  "judge: Kendall's τ": ("0.233", "0.253", "0.315", "0.324"),
  "characters of an answer": (NONE, "1092", "1552", "2552"),
}
STAGES = "instruct sample judge pairs reference dpo choose mix sft best evaluate judging"


class Run(Stages):
  """Reads the folder of a run."""

  def __init__(self, folder: str | Path):
    super().__init__(folder)
    if not self.manifests:
      raise UserError(f"{folder}: holds no finished stage of experiments.self_rewarding")

  def order(self) -> Iterator[str]:
    yield from ("world", "pretrain", "make_eft", "reward")
    for name in self.candidates():
      yield from (f"{name}/{stage}" for stage in STAGES.split())

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
    by_prompt = {
      row["id"]: [c["scores"][judge] for c in row["candidates"] if judge in c.get("scores", {})]
      for row in self.rows_if_any(f"{model}/{file}")
    }
    return {id: values for id, values in by_prompt.items() if values}


def name_of(model: str) -> str:
  return NAMES.get(model, model)


def versus(work: Run, ours: str, theirs: str, seed: int = 0) -> Row | None:
  """Head to head of two models over their held-out prompts; None without a judge of both."""
  for judge in BY:
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


def characters(work: Run, model: str) -> float | None:
  """Mean characters of an answer to a held-out prompt."""
  rows = work.rows_if_any(f"{model}/evaluate/candidates.jsonl")
  lengths = [len(c["text"]) for row in rows for c in row["candidates"]]
  return float(np.mean(lengths)) if lengths else None


def round_row(work: Run, model: str) -> Row | None:
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
    **{k: judge.get(k) for k in ("unparsed", "agreement", "prompt_tokens")},
    "expected_prompt_tokens": judge.get("expected", {}).get("prompt_tokens"),
    "pairs": pairs.get("pairs"),
    "pair_counts": pairs.get("counts"),
    **{k: pairs.get(k) for k in ("margin", "chosen_tokens", "rejected_tokens", "chosen_longer")},
    **{k: choose.get(k) for k in ("step", "steps")},
  }


def summary(work: Run) -> Row:
  """What summary.json holds: a row for each model that has been measured."""
  rows: list[Row] = []
  models = work.models()
  for i, model in enumerate(models):
    f, judging = work.figures(f"{model}/evaluate"), work.figures(f"{model}/judging")
    own, people = judging.get("own", {}), judging.get("people", {})
    rows.append(
      {
        "model": model,
        **{k: f.get(k) for k in ("gold_mean", "gold_ci", "rm_mean")},
        **{k: own.get(k) for k in ("self_mean", "self_ci", "inflation")},
        "own_against_gold": own.get("against_gold"),
        "versus_baseline": versus(work, model, BASELINE) if i else None,
        "versus_previous": versus(work, model, models[i - 1]) if i else None,
        "judge": {how: people[how] for how in ("written", "expected") if how in people}
        | {k: people[k] for k in ("unparsed", "agreement", "spread", "scores") if k in people},
        "mean_length": f["mean_length"],
        "characters": characters(work, model),
        **{k: f.get(k) for k in ("hallucination", "kl", "ended_share")},
        "round": round_row(work, model),
        "seconds": round(work.seconds(f"{model}/"), 2),
      }
    )
  last = versus(work, models[-1], "M1") if len(models) > 2 else None
  return {"models": rows, "last_versus_m1": last, **work.origin(), **work.spent()}


def wins(v: Row | None) -> str:
  """Win/tie/lose in percent, as the paper writes it."""
  return "/".join(f"{100 * v[k]:.1f}" for k in ("win", "tie", "lose")) if v else NONE


def accuracy(row: Row, how: str = "written") -> str:
  f = row["judge"].get(how) or {}
  return percent(f.get("pairwise_accuracy"), f.get("pairwise_accuracy_ci"))


def main_table(s: Row) -> Table:
  """A row a model: what its answers are worth, and what it thinks of them."""
  own = lambda r: r["inflation"] or {}
  cells = {
    "model": lambda r: name_of(r["model"]),
    "gold score": lambda r: number(r["gold_mean"], ci=r["gold_ci"]),
    "RM score": lambda r: number(r["rm_mean"]),
    "self-score": lambda r: number(r["self_mean"], ci=r["self_ci"]),
    "self-score − gold": lambda r: number(own(r).get("mean"), ci=own(r).get("ci")),
    "win/tie/lose vs baseline": lambda r: wins(r["versus_baseline"]),
    "vs previous": lambda r: wins(r["versus_previous"]),
    "judge accuracy": accuracy,
    "by expected score": lambda r: accuracy(r, "expected"),
    "unparsed": lambda r: percent(r["judge"].get("unparsed")),
    "tokens": lambda r: number(r["mean_length"], 1),
    "characters": lambda r: number(r["characters"], 0),
    "false claims": lambda r: percent(r["hallucination"]),
  }
  return columns(s["models"], cells, "summary").without_empty()


def text(s: Row) -> str:
  """The summary as the lines a person reads at the end of a run."""
  return "\n".join([lines(main_table(s)), "", *sentences(s)])


def sentences(s: Row) -> list[str]:
  """Whether each model beats the one before, and the last beats M1, in words."""
  compared = [(r["model"], r["versus_previous"]) for r in s["models"] if r["versus_previous"]]
  if s["last_versus_m1"] and len(s["models"]) > 3:
    compared.append((s["models"][-1]["model"], s["last_versus_m1"]))
  return [
    f"{gained(model, name_of(v['against']), v['gain'], BY[v['judge']])}." for model, v in compared
  ]


def pictures(s: Row) -> list[Chart | None]:
  """Scores, judges, lengths and head-to-heads over the models."""
  models = s["models"]
  names = [name_of(r["model"]) for r in models]

  def judged(how: str) -> list[Any]:
    figures = [r["judge"].get(how) or {} for r in models]
    return [(f.get("pairwise_accuracy"), f.get("pairwise_accuracy_ci")) for f in figures]

  def by_model(title: str, lines: Row, y: str, note: str, **how: Any) -> Chart | None:
    series = []
    looks = (("one", "-", "o"), ("two", "--", "s"))
    for (label, values), (colour, line, mark) in zip(lines.items(), looks, strict=False):
      there = [f"{n} {number(v)}" for n, (v, _) in zip(names, values, strict=True) if v is not None]
      description, at = f"{label}: {', '.join(there)}", range(len(names))
      series += charts.by_row(label, values, at, description, colour=colour, line=line, marker=mark)
    return charts.plot(title, series, "", y, note, ticks=dict(enumerate(names)), **how)

  own = {
    "gold": [(r["gold_mean"], r["gold_ci"]) for r in models],
    "its own score": [(r["self_mean"], r["self_ci"]) for r in models],
  }
  both = {"written": judged("written"), "expected score": judged("expected")}
  lengths = {"tokens": [(r["mean_length"], None) for r in models]}
  against = {name_of(r["model"]): r["versus_baseline"] for r in models if r["versus_baseline"]}
  shares = {name: [v[k] for k in ("win", "tie", "lose")] for name, v in against.items()}
  flatters = (
    "Bars are 95 % intervals over prompts. Where its own score runs ahead of gold, the model "
    "flatters itself."
  )
  counts = (
    "Of pairs of answers that people value differently; a tie or a missing score counts half."
  )
  over, all_ = "Mean over all answers to the held-out prompts.", "mean score, 0 to 5"
  each = "Every answer against every one of the baseline's to the same prompt."
  return [
    by_model("Answers to held-out prompts", own, all_, flatters),
    by_model("The models as judges", both, "pairwise accuracy", counts, level=(0.5, "a coin")),
    by_model("Length of answers", lengths, "tokens", over),
    charts.win_tie_lose("Against the SFT baseline", shares, each),
  ]


def judge_table(s: Row) -> Table:
  """Every figure of every model as judge."""
  both = [(r, how) for r in s["models"] for how in ("written", "expected") if r["judge"].get(how)]
  rows = [
    {"name": f"{name_of(r['model'])}, {how}", **r["judge"][how]}
    | ({k: r["judge"].get(k) for k in ("unparsed", "agreement")} if how == "written" else {})
    for r, how in both
  ]
  spread = lambda f: " ".join(f"{k}:{n}" for k, n in f.get("distribution", {}).items())
  cells = {
    "judge": lambda f: f["name"],
    "pairwise accuracy": lambda f: percent(f["pairwise_accuracy"], f["pairwise_accuracy_ci"]),
    "undecided": lambda f: percent(f["pairwise_undecided"]),
    "5-best": lambda f: percent(f["five_best"]),
    "exact match": lambda f: percent(f["exact_match"]),
    "Spearman": lambda f: number(f["spearman"], 3),
    "Kendall's τ": lambda f: number(f["kendall"], 3),
    "mean score": lambda f: number(f["mean_score"]),
    "unparsed": lambda f: percent(f.get("unparsed")),
    "same score twice": lambda f: percent(f.get("agreement")),
    "scores": lambda f: spread(f) or NONE,
  }
  return columns(rows, cells)


def round_table(s: Row) -> Table:
  """How each round came to its pairs: a column a round."""
  rounds = {r["model"]: r["round"] for r in s["models"] if r["round"]}
  table: dict[str, list[str]] = {}
  shared = lambda t: f"{t['read']} → {t['computed']}" if t else NONE
  for i, r in enumerate(rounds.values()):
    cells = {
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
      "checkpoint chosen": r["step"],
    }
    for name, value in cells.items():
      table.setdefault(name, [NONE] * len(rounds))[i] = NONE if value is None else str(value)
  rows = [(name, *row) for name, row in table.items() if any(x != NONE for x in row)]
  return Table(("figure", *rounds), rows)


def paper_table(s: Row) -> Table:
  """The paper's numbers, and ours where the same thing is measured."""

  def judged(figure: str, scale: float, digits: int) -> Any:
    """Of written judgements where there are any."""
    f = lambda r: r["judge"].get("written") or r["judge"].get("expected") or {}
    times = lambda x: None if x is None else x * scale
    return lambda r: number(times(f(r).get(figure)), digits)

  ours = {r["model"]: r for r in s["models"]}
  measured = {
    "against SFT, win/tie/lose, %": lambda r: wins(r["versus_baseline"]),
    "characters of an answer": lambda r: number(r["characters"], 0),
    "judge: pairwise accuracy, %": judged("pairwise_accuracy", 100, 1),
    "judge: 5-best, %": judged("five_best", 100, 1),
    "judge: exact match, %": judged("exact_match", 100, 1),
    "judge: Spearman": judged("spearman", 1, 3),
    "judge: Kendall's τ": judged("kendall", 1, 3),
  }
  names, rows = [BASELINE, "M1", "M2", "M3"], []
  for line, numbers in PAPER.items():
    rows.append((f"{line}: paper", *numbers))
    if line in measured:
      here = [measured[line](ours[n]) if n in ours else NONE for n in names]
      rows.append((f"{line}: here", *here))
  return Table(("figure", *(name_of(n) for n in names)), rows)


def texts_table(work: Run) -> Table:
  """The first answer of every model to some held-out prompts."""
  rows = {m: work.rows_if_any(f"{m}/evaluate/candidates.jsonl") for m in work.models()}
  answers = {name_of(m): {r["id"]: r["candidates"][0] for r in sets} for m, sets in rows.items()}
  prompts = {r["id"]: r["prompt"] for r in next(iter(rows.values()), [])}
  return pages.side_by_side(answers, prompts, ("gold",), TEXTS)


def judgements(work: Run) -> list[Any]:
  """Some answers of each round, with what its judge wrote of them."""
  parts: list[Any] = []
  for model in work.candidates():
    judged = work.rows_if_any(f"{model}/judge/judgements.jsonl")
    sets = work.rows_if_any(f"{model}/judge/candidates.jsonl")
    if not (judged and sets):
      continue
    rows = []
    for i in pages.spread_out(JUDGEMENTS, len(sets)):
      replies = [
        Text(j["text"], note=j["reason"] if j["score"] is None else "")
        for j in judged[i]["judgements"][0]
      ]
      rows.append((Text(turns=sets[i]["prompt"]), Text(sets[i]["candidates"][0]["text"]), *replies))
    numbered = (f"judgement {k}" for k in range(1, len(rows[0]) - 1))
    table = Table(("prompt", "answer", *numbered), rows, "texts")
    parts += [pages.Words(f"On the way to {model}", "heading"), table]
  return parts


def new_prompts(work: Run) -> list[Any]:
  """Some of the prompts each round wrote."""
  parts: list[Any] = []
  for model in work.candidates():
    rows = work.rows_if_any(f"{model}/instruct/prompts.jsonl")
    if rows:
      shown = [rows[i]["messages"][0]["content"] for i in pages.spread_out(PROMPTS, len(rows))]
      parts += [pages.Words(f"On the way to {model}", "heading"), pages.Says(shown, "answers")]
  return parts


def page(work: Run) -> pages.Page:
  """Everything the folder says, finished or not."""
  s = summary(work)
  gold = "Gold is the sandbox's own scorer, 0 to 5; no round sees it unless it was made the judge."
  if all(r["gold_mean"] is None for r in s["models"]):
    gold = (
      "There is no gold score here: models are compared by a reward model or by M1's judgements, "
      "which may favour what they were trained with."
    )
  read = (
    f"Brackets hold 95 % intervals over the held-out prompts. {gold} Judge accuracy is of pairs of "
    "answers that people value differently; a tie or a missing score counts half."
  )
  of_judges = (
    "5-best: how often an answer that got the scale's top score is one that people rank first. "
    "Exact match, Spearman and Kendall's τ are means over prompts. Same score twice: of two "
    "judgements of one answer."
  )
  of_paper = (
    "Yuan et al. 2024, with Llama-2 70B, its own test sets and judges: numbers to know the shape "
    "of, not to compare with."
  )
  table = main_table(s) or "No model has been measured yet."
  parts = {
    ("pictures", "Pictures"): [pages.Pictures(pictures(s))],
    ("judges", "Judges"): [judge_table(s), pages.Words(of_judges)],
    ("rounds", "Rounds"): [round_table(s) or "No round has begun."],
    ("paper", "The paper's numbers"): [paper_table(s), pages.Words(of_paper)],
    ("texts", "Texts side by side"): [texts_table(work)],
    ("judgements", "Judgements"): judgements(work),
    ("prompts", "New prompts"): new_prompts(work),
  }
  sections = [pages.Section(*name, contents) for name, contents in parts.items()]
  first = [table, pages.Says(sentences(s)), pages.Words(read)]
  return pages.of_run("Self-rewarding", work, s, first, sections)
