"""The pictures of a chain: curves, best of k, KL against score, histograms, ranks, times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xwinjax.core.progress import short
from xwinjax.eval import heldout, statistics
from xwinjax.eval.overoptimisation import best_of_n_kl
from xwinjax.report import charts
from xwinjax.report.chain_files import JUDGES, NAMES, TRAINED, Chain, speed
from xwinjax.report.charts import Chart, Series
from xwinjax.report.tables import number, powers

RANKED = 2000  # prompts whose candidates are read for the picture of ranks
LINES = {"base": ":", "sft": "--", "rs": "-.", "dpo": "-"}
MARKERS = {"base": "o", "sft": "s", "rs": "^", "dpo": "D"}


def of_model(name: str, x: Any, y: Any, description: str, **how: Any) -> Series:
  """A model's line, in its colour, with its marker."""
  how = {"line": LINES[name], "marker": MARKERS[name], **how}
  return Series(NAMES[name], x, y, name, description=f"{NAMES[name]}: {description}", **how)


def loss_charts(work: Chain) -> list[Chart | None]:
  """Loss, and what else was logged, of each training stage that has begun."""
  pictures: list[Chart | None] = []
  for name in TRAINED:
    rows, f, points = work.metrics(name), work.figures(name), {}
    if rows and "heldout_nll" in f:
      points = {0: f["heldout_nll_before"], rows[-1]["step"]: f["heldout_nll"]}
    pairs = name in ("reward", "dpo")
    note = "Mean of each window of steps, and the window's range."
    note += " Diamonds: held-out text, before and after." if points else ""
    added = any("nll_chosen" in row for row in rows)  # and a coin's loss is not log 2
    note += " The chosen answers' cross-entropy is in it." if pairs and added else ""
    coin = (math.log(2), "log 2 (a coin)") if pairs and not added else None
    y = "nats a pair" if pairs else "nats a token"
    keys = {"training": "loss"}
    pictures.append(
      charts.steps(f"{name}: loss", rows, keys, y, note, level=coin, points=points, log=True)
    )
    if not pairs:
      continue
    note = "How often the chosen answer of a training pair is preferred; a tie is not."
    y, chance = "share of pairs", {"level": (0.5, "chance"), "limits": (-0.02, 1.02)}
    pictures.append(
      charts.steps(f"{name}: accuracy", rows, {"accuracy": "accuracy"}, y, note, **chance)
    )
    y, note = "r(chosen) − r(rejected)", "Mean reward gap of a training pair."
    if name == "dpo":
      y = "β · (gain of chosen − of rejected)"
      note = "The implicit reward gap, which the loss widens."
    pictures.append(charts.steps(f"{name}: margin", rows, {"margin": "margin"}, y, note))
    if name == "dpo":
      keys = {"chosen": "gain_chosen", "rejected": "gain_rejected"}
      y, note = "log π − log π of the reference", "Only the gap between the two is in the loss"
      note += ", so both may fall."
      pictures.append(charts.steps("dpo: log-prob gained", rows, keys, y, note))
  return pictures


def best_of_k(title: str, curves: Mapping[str, Sequence[float]], y: str, note: str) -> Chart | None:
  """A curve a model; k on a scale of powers of two."""
  series = [
    of_model(
      name,
      range(1, len(c) + 1),
      c,
      f"{number(c[0])} at k = 1, {number(c[-1])} at k = {len(c)}",
      options={"markevery": [k - 1 for k in powers(len(c))]},
    )
    for name, c in curves.items()
  ]
  ticks = charts.doublings(max(map(len, curves.values()), default=1))
  return charts.plot(title, series, "k candidates to pick from", y, note, ticks=ticks, log="x")


def best_of_charts(work: Chain) -> list[Chart | None]:
  """What picking the best of k is worth: by the reward model, in gold and in its own score."""
  gold = {name: work.samples(name).scores.get("gold") for name in work.models()}
  perfect = {n: heldout.best_of_k(v).tolist() for n, v in gold.items() if v is not None}
  picked = (
    "Expected gold score of the one of k answers that the reward model scores highest. "
    "Where a curve falls, the reward model's highest scores mislead."
  )
  own = "The same picks by the reward model's own score: the highest of k."
  best = "What a perfect reward model would reach with the same answers."
  mine, gold_title = work.curves("rm"), "Gold score of the reward model's pick"
  return [
    best_of_k(gold_title, work.curves("gold"), "gold score", picked),
    best_of_k("RM score of the reward model's pick", mine, "RM score", own),
    best_of_k("Gold score of gold's own pick", perfect, "gold score", best),
  ]


def kl_charts(work: Chain) -> list[Chart | None]:
  """Score against KL to the SFT model; the base, which SFT starts from, is not on that way."""
  pictures = []
  for judge, y in JUDGES.items():
    series: list[Series] = []
    for name in work.models():
      samples, f = work.samples(name), work.figures(f"evaluate_{name}")
      if name == "base" or samples.kl_P is None or judge not in samples.scores:
        continue
      score_P = samples.scores[judge].mean(1)
      kl, score = float(samples.kl_P.mean()), float(score_P.mean())
      across = np.abs(np.array(f["kl_ci"]) - kl)[:, None]
      marks = {"xerr": across, "markersize": 8, "markeredgewidth": 0.6, "markeredgecolor": "white"}
      text, ends = f"KL {number(kl)}, score {number(score)}", np.array(f[f"{judge}_ci"])[:, None]
      dots = {"alpha": 0.35, "markersize": 4}
      series += [
        Series("", samples.kl_P, score_P, name, "", ".", options=dots),
        of_model(name, [kl], [score], text, line="", ends=ends, options=marks),
      ]
    best = work.figures("evaluate_sft").get(f"{judge}_best_of_k", [])
    if series and len(best) > 1:
      n = np.arange(1, len(best) + 1)
      series.insert(
        0, Series("best of n, SFT", best_of_n_kl(n), best, "ink", options={"linewidth": 1})
      )
    note = (
      "Large marks: means with 95 % intervals; dots: prompts. Line: the reward model's pick of "
      "n = 1, 2, … answers of the SFT model, at its KL of log n − (n−1)/n at most."
    )
    x = "KL to SFT, nats an answer"
    pictures.append(charts.plot(f"KL against {y}", series, x, y, note))
  return pictures


def histogram(title: str, values: Mapping[str, np.ndarray], x: str, note: str) -> Chart | None:
  """Shares of answers by score, as an outline a model; what lies beyond goes to the end bins."""
  if not values:
    return None
  low, high = np.percentile(np.concatenate([v.ravel() for v in values.values()]), (0.2, 99.8))
  edges = np.linspace(low, high if high > low else low + 1, 31)
  outline = {"drawstyle": "steps-post", "linewidth": 1.6}
  series = []
  for name, v in values.items():
    share = np.histogram(v.clip(edges[0], edges[-1]), edges)[0] / v.size
    at, share = edges[[0, *range(len(edges))]], [0, *share, 0]
    description = f"median {number(float(np.median(v)))}"
    series.append(of_model(name, at, share, description, marker="", options=outline))
  return charts.plot(title, series, x, "share of answers", note, shares=True)


def lengths(work: Chain) -> Chart | None:
  """Median, middle half and middle 90 % of the lengths of each model's answers."""
  models, sentences = work.models(), []
  if not models:
    return None
  with charts.drawing("tokens", "", (5.4, 0.9 + 0.45 * len(models))) as (figure, axes):
    for i, name in enumerate(models):
      tokens_PS, colour = work.samples(name).tokens_PS, charts.COLOURS[name]
      p5, p25, p50, p75, p95 = np.percentile(tokens_PS, (5, 25, 50, 75, 95))
      axes.hlines(i, p5, p95, color=colour, linewidth=1.5)
      axes.hlines(i, p25, p75, color=colour, linewidth=8, alpha=0.45)
      axes.plot(p50, i, MARKERS[name], color=colour, markersize=7)
      sentences.append(f"{NAMES[name]}: median {number(p50, 1)}, middle 90 % {p5:.0f} to {p95:.0f}")
    axes.set_yticks(range(len(models)), [NAMES[name] for name in models])
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    note = "Mark: median; thick: middle half; thin: middle 90 %."
    return charts.finish(figure, "Length of answers", note, "; ".join(sentences))


def spread_charts(work: Chain) -> list[Chart | None]:
  """Histograms of scores and the lengths of answers."""
  pictures: list[Chart | None] = []
  for judge, x in JUDGES.items():
    scores = {name: work.samples(name).scores.get(judge) for name in work.models()}
    known = {name: v for name, v in scores.items() if v is not None}
    pictures.append(histogram(f"Answers by {x}", known, x, "All answers to the held-out prompts."))
  return [*pictures, lengths(work)]


def reward_charts(work: Chain) -> list[Chart | None]:
  """Said against seen shares of held-out pairs, with Wilson's interval of each."""
  calibration = work.figures("reward").get("calibration")
  if not calibration:
    return []
  confidence, seen, pairs = (calibration[k] for k in ("said", "seen", "pairs"))
  triples = list(zip(confidence, seen, pairs, strict=True))
  ci = np.array([statistics.share_interval(round(s * n), n) for _, s, n in triples])
  words = "; ".join(f"said {number(a)}, seen {number(b)} of {n} pairs" for a, b, n in triples)
  series = [
    Series("said = seen", [0.5, 1], [0.5, 1], "ink", ":", options={"linewidth": 0.9}),
    Series("pairs, in equal parts", confidence, seen, "one", "", "o", ends=ci.T, description=words),
  ]
  note = (
    "How sure the reward model is of its preference, against how often it is right; bars are "
    f"95 % intervals. Each point holds {min(pairs)} pairs or one more."
  )
  x, limits = "P(preferred answer is the chosen one), said", (min(0.45, ci.min() - 0.02), 1.03)
  title = "Calibration on held-out pairs"
  return [charts.plot(title, series, x, "share seen", note, limits=limits)]


def ranks(title: str, ranked_PS: np.ndarray, marked: Mapping[str, int], note: str) -> Chart | None:
  """Scores by rank within a prompt: the mean and the middle 80 % of prompts; marked ranks.

  Args:
    ranked_PS: each prompt's scores, best first; NaN where it has fewer candidates than others.
    marked: what a rank was taken for -> the rank, from 1.
  """
  S = ranked_PS.shape[1]
  if not S:
    return None
  mean, ends = np.nanmean(ranked_PS, 0), np.nanpercentile(ranked_PS, (10, 90), axis=0)
  description = "; ".join(f"rank {k}: {number(float(mean[k - 1]))}" for k in powers(S))
  series = [
    Series("mean", np.arange(1, S + 1), mean, ends=ends, band=True, description=description)
  ]
  for (label, k), marker in zip(marked.items(), "D^sv<>", strict=False):
    series.append(Series(label, [k], [mean[k - 1]], "two", "", marker, options={"markersize": 8}))
  x, ticks = "rank of a candidate within its prompt", charts.doublings(S)
  return charts.plot(title, series, x, "RM score", note, ticks=ticks, log="x")


def rank_chart(work: Chain) -> list[Chart | None]:
  """Scores by rank of the multiwise set, with the ranks that were chosen."""
  if "score" not in work.manifests:
    return []
  select, by = work.config("select"), work.figures("score").get("score", "rm")
  first, ended_only = select.get("first") or None, select.get("ended_only", False)
  scores = []
  for row in work.rows_if_any("score/candidates.jsonl", RANKED):
    kept = [c for c in row["candidates"][:first] if not ended_only or c["finish"] != "length"]
    scores.append(sorted({c["text"]: c["scores"][by] for c in kept}.values(), reverse=True))
  size = max(map(len, scores), default=0)
  marked = {}
  if select and select["by"] == by:
    rejected = [int(rule[5:]) for rule in select["rejected"] if rule.startswith("rank:")]
    marked = {f"rank {select['rank']}: RS, chosen": select["rank"]}
    marked |= {f"rank {r}: rejected": r for r in rejected if r > 0}
    marked |= {f"rank −{-r}: rejected": size + 1 + r for r in rejected if r < 0}  # from the last
    marked = {label: r for label, r in marked.items() if 1 <= r <= size}
  whose = "prompts" if len(scores) < RANKED else f"the first {RANKED} prompts"
  note = f"Distinct candidates of a prompt, best first: mean over {whose}, and the middle 80 % of "
  ranked_PS = np.array([row + [math.nan] * (size - len(row)) for row in scores])
  return [ranks("Scores by rank", ranked_PS, marked, f"{note}them.")]


def time_charts(work: Chain) -> list[Chart | None]:
  """Seconds and tokens a second by stage."""
  spent = {name: [m["seconds"]] for name, m in work.manifests.items()}
  speeds = {}
  for name in work.manifests:
    f, pace = work.figures(name), speed(work.metrics(name))
    rate = pace.tokens_per_second if pace else f.get("sampling", f).get("tokens_per_second")
    if rate:
      speeds[name] = [rate]
  note = "Steps that compiled are left out of training's; sampling's includes all."
  return [
    charts.bars("Time by stage", spent, "seconds", "Of the run that finished the stage."),
    charts.bars("Tokens a second", speeds, "tokens/s", note, show=short),
  ]
