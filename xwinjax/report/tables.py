"""What a chain's figures say: the summary as rows, tables and sentences, from the files alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from xwinjax.report.workdir import MODELS, NAMES, ORDER, PREVIOUS, TRAINED, Row, Workdir

NONE = "–"


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells as text. The first column names the row."""

  head: tuple[str, ...]
  rows: list[tuple[str, ...]]

  def without_empty(self) -> Table:
    """Leaves out columns that say nothing in any row."""
    keep = [i for i in range(len(self.head)) if any(row[i] != NONE for row in self.rows)]
    pick = lambda cells: tuple(cells[i] for i in keep)
    return Table(pick(self.head), [pick(row) for row in self.rows])


def lines(table: Table) -> str:
  """The table for a terminal: columns as wide as their widest cell."""
  cells = [table.head, *table.rows]
  widths = [max(len(row[i]) for row in cells) for i in range(len(table.head))]
  return "\n".join(
    "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
  )


def number(x: float | None, digits: int = 2, ci: Sequence[float] | None = None) -> str:
  """A figure with its interval: 3.89 [3.80, 3.98]. A true minus, and no minus before zero."""
  if x is None:
    return NONE
  text = lambda v: f"{round(v, digits) + 0.0:.{digits}f}".replace("-", "−")
  return text(x) + (f" [{text(ci[0])}, {text(ci[1])}]" if ci else "")


def percent(x: float | None, ci: Sequence[float] | None = None) -> str:
  """A share with its interval: 76.5% [74.6%, 78.4%]."""
  if x is None:
    return NONE
  return f"{x:.1%}" + (f" [{ci[0]:.1%}, {ci[1]:.1%}]" if ci else "")


def signed(x: float, ci: Sequence[float] | None = None) -> str:
  """A gain with its interval: +1.18 [+1.08, +1.28]; three digits where two would say nothing."""
  digits = 2 if abs(x) >= 0.05 else 3
  text = lambda v: f"{round(v, digits) + 0.0:+.{digits}f}".replace("-", "−")
  return text(x) + (f" [{text(ci[0])}, {text(ci[1])}]" if ci else "")


def seconds(x: float) -> str:
  """75 as 1 min 15 s."""
  if x < 60:
    return f"{x:.1f} s"
  minutes, rest = divmod(round(x), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def summary(work: Workdir) -> Row:
  """What summary.json holds: a row for each model evaluated, and the reward model's figures."""
  rows = []
  for name in work.models():
    made = work.manifests.get({"base": "pretrain"}.get(name, name))
    rows.append(
      summary_row(name, work.manifests[f"evaluate_{name}"], made["seconds"] if made else 0.0)
    )
  last = next((work.manifests[name] for name in reversed(ORDER) if name in work.manifests), {})
  return {
    "stages": rows,
    "reward_model": work.figures("reward"),
    "device": last.get("device"),
    "seed": last.get("config", {}).get("seed"),
  }


def summary_row(name: str, record: Row, seconds: float) -> Row:
  """One model's line: from its evaluation's manifest, and the seconds its training took."""
  f = record["figures"]
  curve = f["gold_best_of_k" if "gold_mean" in f else "rm_best_of_k"]
  versus = f.get("versus_previous")
  return {
    "stage": name,
    "gold_mean": f.get("gold_mean"),
    "gold_ci": f.get("gold_ci"),
    "rm_mean": f["rm_mean"],
    "rm_ci": f["rm_ci"],
    "best_of": {str(k): curve[k - 1] for k in powers(len(curve))},
    "win_rate_vs_previous": versus["win_rate"] if versus else None,
    "win_rate_ci": versus["ci"] if versus else None,
    "gain_vs_previous": versus["gain"] if versus else None,
    "kl": f["kl"],
    "mean_length": f["mean_length"],
    "hallucination": f.get("hallucination"),
    "ended_share": f["ended_share"],
    "seconds": seconds,
  }


def powers(n: int) -> list[int]:
  """The powers of two up to n, and n.

  >>> powers(10)
  [1, 2, 4, 8, 10]
  """
  return sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | {n})


def text(summary: Row) -> str:
  """The summary as the lines a person reads at the end of a run."""
  rows = []
  for row in summary["stages"]:
    best = list(row["best_of"].values())
    rows.append(
      (
        row["stage"],
        number(row["gold_mean"], ci=row["gold_ci"]),
        number(row["rm_mean"]),
        percent(row["win_rate_vs_previous"], row["win_rate_ci"]),
        number(row["kl"]),
        number(row["mean_length"], 1),
        f"{number(best[0])} → {number(best[-1])}",
      )
    )
  k = list(summary["stages"][-1]["best_of"])[-1] if summary["stages"] else "n"
  head = (
    "stage",
    "gold (95 %)",
    "RM score",
    "win rate vs previous",
    "KL to SFT",
    "length",
    f"best of 1 → {k}",
  )
  table = Table(head, rows).without_empty()
  cells = [table.head, *table.rows]
  widths = [max(len(line[i]) for line in cells) for i in range(len(table.head))]
  lines = [
    "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
  ]
  said = reward_sentence(summary["reward_model"])
  return "\n".join([*lines, *(["", f"reward model: {said}"] if said else [])])


def reward_sentence(f: Row) -> str:
  """What the reward model's accuracy is and how much its labels allow; "" where not measured."""
  if "heldout_accuracy" not in f:
    return ""
  said = f"held-out accuracy {number(f['heldout_accuracy'], 3, f['heldout_accuracy_ci'])}"
  if "heldout_label_noise" in f:
    said += (
      f" against labels of which {f['heldout_label_noise']:.1%} contradict gold; "
      f"{number(f['heldout_accuracy_gold'], 3)} against gold"
    )
  return said


def summary_table(work: Workdir) -> Table:
  """The report's summary, with every interval there is."""
  rows, last = [], "n"
  for row in summary(work)["stages"]:
    f, gain = work.figures(f"evaluate_{row['stage']}"), row["gain_vs_previous"]
    best = list(row["best_of"].values())
    last = list(row["best_of"])[-1]
    rows.append(
      (
        NAMES[row["stage"]],
        number(row["gold_mean"], ci=row["gold_ci"]),
        number(row["rm_mean"], ci=row["rm_ci"]),
        percent(row["win_rate_vs_previous"], row["win_rate_ci"]),
        signed(gain["mean"], gain["ci"]) if gain else NONE,
        number(row["kl"], ci=f.get("kl_ci")),
        number(row["mean_length"], 1),
        f"{number(best[0])} → {number(best[-1])}",
        percent(row["hallucination"]),
        percent(row["ended_share"]),
        percent(f["duplicate_share"]),
      )
    )
  head = (
    "model",
    "gold score",
    "RM score",
    "win rate vs previous",
    "gain vs previous",
    "KL to SFT, nats",
    "tokens",
    f"best of 1\u00a0→\u00a0{last}",
    "false claims",
    "ended",
    "repeats",
  )
  return Table(head, rows).without_empty()


def comparisons(work: Workdir) -> list[str]:
  """One sentence for each model measured against the one before."""
  said = []
  for name in work.models():
    versus = work.figures(f"evaluate_{name}").get("versus_previous")
    if versus:
      said.append(comparison(NAMES[name], NAMES[PREVIOUS[name]], versus))
  return said


def comparison(ours: str, theirs: str, versus: Row) -> str:
  """What the interval of a gain says, in words."""
  gain, judge = versus["gain"], {"gold": "gold", "rm": "RM"}[versus["judge"]]
  by = f"{signed(gain['mean'], gain['ci'])} {judge} points"
  rate = f"win rate {percent(versus['win_rate'], versus['ci'])}"
  if not gain["significant"]:
    return f"{ours} and {theirs}: no significant difference, {by}; {rate}."
  verb = "beats" if gain["mean"] > 0 else "is worse than"
  return f"{ours} {verb} {theirs}: {by}; {rate}."


def notes(work: Workdir) -> list[str]:
  """What a reader should know before trusting the rest."""
  said = []
  missing = [name for name in MODELS if name not in work.models()]
  if missing:
    said.append(f"Not evaluated yet: {', '.join(NAMES[name] for name in missing)}.")
  low = work.figures("reward").get("heldout_accuracy_ci", [1.0])[0]
  if low <= 0.5:
    said.append("The reward model's held-out accuracy is not above chance.")
  misled = []
  for name in work.models():
    f = work.figures(f"evaluate_{name}")
    if f["ended_share"] < 0.95:
      said.append(f"{NAMES[name]}: {1 - f['ended_share']:.0%} of answers were cut off at max_new.")
    if "gold_best_of_k" in f:
      curve = np.array(f["gold_best_of_k"])
      k, last = int(curve.argmax()), len(curve)
      if curve[k] - curve[-1] > 0.1:
        misled.append(f"{NAMES[name]} {number(curve[-1])} at {last}, {number(curve[k])} at {k + 1}")
  if misled:
    said.append(
      "The reward model's highest scores mislead: its pick of many answers is worth less gold "
      f"than its pick of fewer ({'; '.join(misled)})."
    )
  for name in TRAINED:
    skipped = work.figures(name).get("skipped_updates", 0)
    if skipped:
      said.append(f"{name}: {skipped} updates were not finite and were skipped.")
  return said


def curves(work: Workdir, score: str) -> dict[str, list[float]]:
  """The best-of-k curves, gold or rm, of the models that have one."""
  found = {
    name: work.figures(f"evaluate_{name}").get(f"{score}_best_of_k") for name in work.models()
  }
  return {name: curve for name, curve in found.items() if curve}


def best_of_table(work: Workdir, score: str) -> Table:
  """Best-of-k at powers of two."""
  found = curves(work, score)
  ks = powers(max(map(len, found.values()), default=1))
  return Table(
    ("best of", *map(str, ks)),
    [
      (NAMES[name], *(number(c[k - 1]) if k <= len(c) else NONE for k in ks))
      for name, c in found.items()
    ],
  )
