"""The report of an Xwin chain: its summary, the lines a terminal shows, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xwinjax.core.progress import short
from xwinjax.report import chain_pictures as pictures
from xwinjax.report import overoptimisation, pages, tables, warnings
from xwinjax.report.chain_files import JUDGES, NAMES, PREVIOUS, TRAINED, Chain, speed
from xwinjax.report.tables import NONE, Row, Table, Text, columns, number, percent

Run = Chain
TEXTS = 8  # held-out prompts whose answers are shown
PAIRS = 4  # DPO pairs that are shown


def summary(work: Chain) -> Row:
  """What summary.json holds: a row for each model evaluated, and the reward model's figures."""
  rows = []
  for name in work.models():
    manifest = work.manifests.get({"base": "pretrain"}.get(name, name))
    rows.append(
      summary_row(name, work.figures(f"evaluate_{name}"), manifest["seconds"] if manifest else 0.0)
    )
  false = {row["stage"]: row["hallucination"] for row in rows}
  for row in rows:
    now, before = row["hallucination"], false.get(PREVIOUS.get(row["stage"], ""))
    row["false_claims_gain"] = None if now is None or before is None else now - before
  ways = overoptimisation.of_chain(work)
  return {
    "stages": rows,
    "reward_model": work.figures("reward"),
    **({"overoptimisation": ways} if ways else {}),
    **work.origin(),
    **work.spent(),
  }


def summary_row(name: str, f: Row, seconds: float) -> Row:
  """One model's line: from its evaluation's figures, and the seconds its training took."""
  curve = f["gold_best_of_k" if "gold_mean" in f else "rm_best_of_k"]
  versus = f.get("versus_previous") or {}
  return {
    "stage": name,
    **{key: f.get(key) for key in ("gold_mean", "gold_ci", "rm_mean", "rm_ci")},
    "best_of": {str(k): curve[k - 1] for k in tables.powers(len(curve))},
    "best_of_gain": {str(k): curve[k - 1] - curve[k // 4 - 1] for k in _fours(len(curve))},
    "win_rate_vs_previous": versus.get("win_rate"),
    "win_rate_ci": versus.get("ci"),
    "gain_vs_previous": versus.get("gain"),
    **{key: f.get(key) for key in ("kl", "mean_length", "hallucination", "ended_share")},
    "seconds": seconds,
  }


def _fours(n: int) -> list[int]:
  """4, 16, 64, … up to n."""
  return [k for k in tables.powers(n) if k > 1 and k & (k - 1) == 0 and k.bit_length() % 2]


def _most(stages: list[Row]) -> str:
  """How many candidates the best is picked of, at most."""
  return list(stages[-1]["best_of"])[-1] if stages else "n"


def _ends(row: Row) -> str:
  """A best-of-k curve's ends."""
  best = list(row["best_of"].values())
  return f"{number(best[0])} → {number(best[-1])}"


def text(summary: Row) -> str:
  """The summary as the lines a person reads at the end of a run."""
  stages = summary["stages"]
  cells = {
    "stage": lambda r: r["stage"],
    "gold (95 %)": lambda r: number(r["gold_mean"], ci=r["gold_ci"]),
    "RM score": lambda r: number(r["rm_mean"]),
    "win rate vs previous": lambda r: percent(r["win_rate_vs_previous"], r["win_rate_ci"]),
    "KL to SFT": lambda r: number(r["kl"]),
    "length": lambda r: number(r["mean_length"], 1),
    f"best of 1 → {_most(stages)}": _ends,
  }
  sentence = reward_sentence(summary["reward_model"])
  table = tables.lines(columns(stages, cells).without_empty())
  parts = [table, f"reward model: {sentence}" if sentence else "", card_sentence(summary)]
  return "\n\n".join(part for part in parts if part)


def reward_sentence(f: Row) -> str:
  """What the reward model's accuracy is and how much its labels allow; "" where not measured."""
  if "heldout_accuracy" not in f:
    return ""
  sentence = f"held-out accuracy {number(f['heldout_accuracy'], 3, f['heldout_accuracy_ci'])}"
  if "heldout_label_noise" in f:
    sentence += (
      f" against labels of which {f['heldout_label_noise']:.1%} contradict gold; "
      f"{number(f['heldout_accuracy_gold'], 3)} against gold"
    )
  return sentence


def card_sentence(summary: Row) -> str:
  """The reward model's report card in a line; "" where there is none."""
  card = summary["reward_model"].get("card") or {}
  marks = ", ".join(f"{skill} {c['accuracy']:.0%}" for skill, c in card.items())
  return f"report card: right of pairs that differ in one skill alone: {marks}" if card else ""


def card_table(work: Chain) -> Table:
  """How often the reward model is right where two answers differ in one skill alone."""
  cells = {
    "skill": lambda row: row[0],
    "right": lambda row: percent(row[1]["accuracy"], row[1]["ci"]),
    "pairs": lambda row: str(row[1]["pairs"]),
  }
  return columns((work.figures("reward").get("card") or {}).items(), cells)


def summary_table(work: Chain, stages: list[Row]) -> Table:
  """The page's summary, with every interval there is."""
  f = lambda r: work.figures(f"evaluate_{r['stage']}")
  gain = lambda g: tables.signed(g["mean"], g["ci"]) if g else NONE
  cells = {
    "model": lambda r: NAMES[r["stage"]],
    "gold score": lambda r: number(r["gold_mean"], ci=r["gold_ci"]),
    "RM score": lambda r: number(r["rm_mean"], ci=r["rm_ci"]),
    "win rate vs previous": lambda r: percent(r["win_rate_vs_previous"], r["win_rate_ci"]),
    "gain vs previous": lambda r: gain(r["gain_vs_previous"]),
    "KL to SFT, nats": lambda r: number(r["kl"], ci=f(r).get("kl_ci")),
    "tokens": lambda r: number(r["mean_length"], 1),
    f"best of 1\u00a0→\u00a0{_most(stages)}": _ends,
    "false claims": lambda r: percent(r["hallucination"]),
    "ended": lambda r: percent(r["ended_share"]),
    "repeats": lambda r: percent(f(r)["duplicate_share"]),
  }
  return columns(stages, cells, "summary").without_empty()


def comparisons(work: Chain) -> list[str]:
  """One sentence for each model measured against the one before."""
  gains = {name: work.figures(f"evaluate_{name}").get("versus_previous") for name in work.models()}
  return [comparison(NAMES[n], NAMES[PREVIOUS[n]], versus) for n, versus in gains.items() if versus]


def comparison(ours: str, theirs: str, versus: Row) -> str:
  """What the interval of a gain says, in words."""
  judge = {"gold": "gold", "rm": "RM"}[versus["judge"]]
  rate = percent(versus["win_rate"], versus["ci"])
  return f"{tables.gained(ours, theirs, versus['gain'], judge)}; win rate {rate}."


def best_of_table(curves: Mapping[str, list[float]]) -> Table:
  """Best-of-k at powers of two."""
  ks = tables.powers(max(map(len, curves.values()), default=1))
  at = lambda curve, k: number(curve[k - 1]) if k <= len(curve) else NONE
  rows = [(NAMES[name], *(at(curve, k) for k in ks)) for name, curve in curves.items()]
  return Table(("best of", *map(str, ks)), rows)


def reward_table(work: Chain) -> Table:
  """The reward model on held-out pairs."""
  f = work.figures("reward")
  if "heldout_accuracy" not in f:
    return Table()
  return tables.figures(
    [
      ("accuracy on held-out pairs", percent(f["heldout_accuracy"], f["heldout_accuracy_ci"])),
      ("pairs", f["heldout_pairs"]),
      ("log loss (0.693 is a coin's)", number(f["heldout_log_loss"], 3)),
      ("mean margin", number(f["heldout_margin"], 2)),
      ("calibration error (ECE)", number(f["calibration"]["ece"], 3)),
      ("accuracy against gold", percent(f.get("heldout_accuracy_gold"))),
      ("labels that contradict gold", percent(f.get("heldout_label_noise"))),
      ("pairs trained on", f.get("items")),
    ]
  )


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
  """Pearson's, or None where either does not vary."""
  a, b = a.ravel(), b.ravel()
  return float(np.corrcoef(a, b)[0, 1]) if a.size and a.std() and b.std() else None


def judge_table(work: Chain) -> Table:
  """How the reward model's scores go with gold and with length, on each model's answers."""
  f = lambda name: work.figures(f"evaluate_{name}")
  length = lambda s: correlation(s.scores["rm"], s.tokens_PS)
  cells = {
    "model": lambda name: NAMES[name],
    "RM with gold": lambda name: number(f(name).get("rm_gold_correlation")),
    "RM with length": lambda name: number(length(work.samples(name))),
    "RM spread within a prompt": lambda name: number(f(name)["rm_std"]),
  }
  scored = [name for name in work.models() if "rm" in work.samples(name).scores]
  return columns(scored, cells).without_empty()


def selection_table(work: Chain) -> Table:
  """From prompts to candidates to what was trained on."""
  sample, score, select = (work.figures(n) for n in ("sample", "score", "select"))
  rows: list[tuple[str, Any]] = []
  if sample:
    rows += [
      ("prompts", sample["prompts"]),
      ("candidates", sample["candidates"]),
      ("repeats drawn again", sample["repeats"]),
      ("mean tokens of a candidate", number(sample["mean_length"], 1)),
      *((f"ended by: {how}", n) for how, n in sample["finish"].items()),
    ]
  if score:
    last = max(score["best_of"], key=int)
    rows += [
      ("mean score", number(score["mean"])),
      ("spread within a prompt", number(score["std"])),
      (f"best of {last}", number(score["best_of"][last])),
      (f"worst of {last}", number(score["worst_of"][last])),
    ]
  if select:
    config = work.config("select")
    rows += [
      ("ranked by", config["by"]),
      ("fine-tuned on rank", config["rank"]),
      ("pairs: best against", ", ".join(config["rejected"])),
      ("examples for RS", select["examples"]),
      ("pairs for DPO", select["pairs"]),
      ("mean score of an example", number(select["example_score"])),
      ("mean margin of a pair", number(select["pair_margin"])),
      ("tokens, chosen", number(select["chosen_tokens"], 1)),
      ("tokens, rejected", number(select["rejected_tokens"], 1)),
      *select["counts"].items(),
    ]
  return tables.figures(rows)


def pairs_table(work: Chain) -> Table:
  """Some of the pairs that DPO is trained on."""
  if "select" not in work.manifests:
    return Table()
  places = set(pages.spread_out(PAIRS, work.figures("select")["pairs"]))
  rows = [row for i, row in enumerate(work.rows("select/pairs.jsonl")) if i in places]
  cells = {
    "prompt": lambda r: Text(turns=r["prompt"]),
    "chosen": lambda r: Text(r["chosen"][0]["content"]),
    "rejected": lambda r: Text(r["rejected"][0]["content"]),
    "margin": lambda r: number(r["margin"]),
  }
  return columns(rows, cells, "texts")


def texts_table(work: Chain) -> Table:
  """The first answer of every model to some held-out prompts."""
  rows = {name: work.samples(name).rows for name in work.models()}
  answers = {NAMES[name]: {r["id"]: r["first"] for r in samples} for name, samples in rows.items()}
  prompts = {r["id"]: r["prompt"] for r in next(iter(rows.values()), [])}
  return pages.side_by_side(answers, prompts, tuple(JUDGES), TEXTS)


def token_section(work: Chain) -> dict[tuple[str, str], list[pages.Part]]:
  """A few answers of DPO and its start, token by token; none where they were not measured."""
  if "token_gains" not in work.manifests:
    return {}
  names = {"model": NAMES["dpo"], "reference": NAMES[work.start_of("token_gains")]}
  samples = {"names": names, "answers": list(work.rows("token_gains/tokens.jsonl"))}
  caption = (
    f"The first answers of {names['model']} and of {names['reference']}, which it was trained "
    "from, to prompts spread evenly over the held-out ones. A token's gain is log π − log π of the "
    "reference; over an answer they add up to what DPO's loss compares."
  )
  return {("tokens", "Token by token"): [pages.Words(caption), pages.TokenViewer(samples)]}


def speed_table(work: Chain) -> Table:
  """Training and sampling speeds."""
  rows = []
  for name in work.order():
    f, s = work.figures(name), speed(work.metrics(name)) if name in TRAINED else None
    f = f.get("sampling", f)
    if s:
      rows.append({"stage": name, **f, **vars(s)})
    elif "tokens_per_second" in f:
      rows.append(
        {"stage": name, "tokens": f["tokens"], "tokens_per_second": f["tokens_per_second"]}
      )
  of = lambda key, show: lambda r: show(r[key]) if key in r else NONE
  cells = {
    "stage": lambda r: r["stage"],
    "steps": of("steps", str),
    "tokens": of("tokens", short),
    "tokens/s": of("tokens_per_second", short),
    "compiling": of("compiling", tables.seconds),
    "waiting for data": of("waiting", percent),
    "padding": of("padding", percent),
    "MFU": of("mfu", percent),
    "skipped updates": of("skipped_updates", str),
  }
  return columns(rows, cells).without_empty()


def _read(gold: bool) -> str:
  """How the summary is read."""
  judged = (
    "Gold is the sandbox's own scorer, 0 to 5, which no stage trains on; it judges wins and gains."
    if gold
    else "There is no gold score here: wins and gains are judged by the reward model that the "
    "stages were trained with, which favours them."
  )
  return (
    f"Brackets hold 95 % intervals over the held-out prompts. {judged} Best of 1 → n is the "
    f"{'gold' if gold else 'RM'} score of the one that the reward model picks of so many."
  )


def page(work: Chain) -> pages.Page:
  """Everything the folder says, finished or not."""
  s, none = summary(work), "No model has been evaluated yet."
  gold = any(row["gold_mean"] is not None for row in s["stages"])
  curves = {JUDGES[judge]: work.curves(judge) for judge in JUDGES}
  numbers = [pages.Details(f"As numbers: {j}", [best_of_table(c)]) for j, c in curves.items() if c]
  drawn = lambda make: pages.Pictures(make(work))
  titled = lambda title, table: [pages.Words(title, "heading"), table] if table else []
  scores = "Correlation of its scores, by the model whose answers are scored"
  caption = "The first answer of each model to prompts spread evenly over the held-out ones."
  reward, selection, texts = reward_table(work), selection_table(work), texts_table(work)
  first = [
    summary_table(work, s["stages"]) or none,
    pages.Says(comparisons(work)),
    pages.Says(warnings.notes(work), "look"),
    pages.Words(_read(gold)),
  ]
  parts = {
    ("best-of-k", "Best of k"): [drawn(pictures.best_of_charts) or none, *numbers],
    ("curves", "Curves"): [drawn(pictures.loss_charts) or "No training stage has begun."],
    ("kl", "KL and score"): [
      drawn(pictures.kl_charts) or "The SFT model has not been evaluated yet."
    ],
    **overoptimisation.section(s.get("overoptimisation")),
    ("spread", "Histograms and lengths"): [drawn(pictures.spread_charts) or none],
    ("reward", "Reward model"): [
      pages.Beside([reward, drawn(pictures.reward_charts)]),
      *titled("Report card: pairs that differ in one skill alone", card_table(work)),
      *titled(scores, judge_table(work)),
      "" if reward else "Not measured on held-out pairs.",
    ],
    ("selection", "Candidates and selection"): [
      pages.Beside([selection, drawn(pictures.rank_chart)]),
      "" if selection else "No candidates have been sampled yet.",
      *titled("Some of the pairs for DPO", pairs_table(work)),
    ],
    ("texts", "Texts side by side"): [pages.Words(caption), texts] if texts else [none],
    **token_section(work),
  }
  sections = [pages.Section(*name, contents) for name, contents in parts.items()]
  time = [drawn(pictures.time_charts), speed_table(work)]
  return pages.of_run("Xwin chain", work, s, first, sections, time)
