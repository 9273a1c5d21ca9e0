"""What a reader of a chain should know before trusting its figures: what moved the wrong way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xwinjax.report.chain_files import NAMES, PREVIOUS, TRAINED, Chain
from xwinjax.report.tables import number, percent, signed

# Bounds from which a warning is given; ours.
BLIND = 0.6  # of a skill's share that the interval does not exclude
FAR = 5.0  # nats of KL to SFT
LONGER = 1.5  # times the length of the model before
FALL = 0.1  # of a best-of-k curve
LESS = 0.05  # of the share of answers that end


def notes(work: Chain) -> list[str]:
  """All sentences."""
  missing = [NAMES[name] for name in NAMES if name not in work.models()]
  first = [f"Not evaluated yet: {', '.join(missing)}."] if missing else []
  return [*first, *of_reward(work), *of_models(work), *of_dpo(work), *of_training(work)]


def of_reward(work: Chain) -> Iterator[str]:
  """A reward model no better than chance, or blind to a skill, before RS uses it."""
  f = work.figures("reward")
  if f.get("heldout_accuracy_ci", [1.0])[0] <= 0.5:
    yield "The reward model's held-out accuracy is not above chance."
  for skill, c in (f.get("card") or {}).items():
    if c["ci"][0] <= BLIND:
      yield (
        f"The reward model is nearly blind to {skill}: right in {percent(c['accuracy'], c['ci'])} "
        "of pairs that differ in nothing else. Picking by it will not improve that."
      )


def of_models(work: Chain) -> Iterator[str]:
  """Answers cut off, and picks that get worse with more to pick from."""
  misled = []
  for name in work.models():
    f = work.figures(f"evaluate_{name}")
    if f["ended_share"] < 0.95:
      yield f"{NAMES[name]}: {1 - f['ended_share']:.0%} of answers were cut off at max_new."
    if "gold_best_of_k" in f:
      curve = np.array(f["gold_best_of_k"])
      k, last = int(curve.argmax()), len(curve)
      if curve[k] - curve[-1] > FALL:
        misled.append(f"{NAMES[name]} {number(curve[-1])} at {last}, {number(curve[k])} at {k + 1}")
  if misled:
    yield (
      "The reward model's highest scores mislead: its pick of many answers is worth less gold "
      f"than its pick of fewer ({'; '.join(misled)})."
    )


def of_dpo(work: Chain) -> Iterator[str]:
  """What goes wrong in preference training: RS and DPO against the model before."""
  for name in ("rs", "dpo"):
    if not {name, PREVIOUS[name]} <= set(work.models()):
      continue
    f, before = (work.figures(f"evaluate_{n}") for n in (name, PREVIOUS[name]))
    ours, theirs = NAMES[name], NAMES[PREVIOUS[name]]
    gain, rm = f.get("versus_previous", {}).get("gain"), f.get("rm_mean")
    if gain and gain["mean"] < 0 and gain["significant"]:
      yield f"{ours} is worse than {theirs}: {signed(gain['mean'], gain['ci'])}."
      if "gold_mean" in f and rm is not None and rm > before["rm_mean"]:
        yield f"{ours}: the RM score rose while gold fell: the reward model is being gamed."
    if f.get("kl", 0.0) > FAR and f["kl"] > 2 * before.get("kl", 0.0):
      yield (
        f"{ours} is far from SFT: {number(f['kl'])} nats an answer ({number(before.get('kl'))} "
        f"for {theirs}). A lower rate, fewer epochs or a larger beta keep it nearer."
      )
    if f["mean_length"] > LONGER * before["mean_length"]:
      yield (
        f"{ours} writes {f['mean_length'] / before['mean_length']:.1f} times as many tokens as "
        f"{theirs}: look whether length is what was learnt."
      )
    if f["ended_share"] < before["ended_share"] - LESS:
      yield f"{ours} ends fewer of its answers than {theirs}: {percent(f['ended_share'])}."
  rows = work.metrics("dpo")
  if rows and "gain_chosen" in rows[-1]:
    last = rows[-max(len(rows) // 10, 1) :]
    chosen = float(np.mean([row["gain_chosen"] for row in last]))
    if chosen < -1.0:
      yield (
        f"DPO made the chosen answers less likely ({number(chosen)} nats at the end of training): "
        "the loss sees the gap alone. Weigh their likelihood in with dpo.nll_weight."
      )


def of_training(work: Chain) -> Iterator[str]:
  """Updates that were left out, and steps whose loss was far above that of the steps before."""
  for name in TRAINED:
    if jumps := work.figures(name).get("loss_spikes"):
      more = f" and {len(jumps) - 5} more" if len(jumps) > 5 else ""
      yield f"{name}: the loss jumped at step {', '.join(map(str, jumps[:5]))}{more}."
    if skipped := work.figures(name).get("skipped_updates", 0):
      yield f"{name}: {skipped} updates were not finite and were skipped."
