"""Win rates of AlpacaEval from annotation files as published, raw and length-controlled.

An annotation compares `output_2` of `generator_2`, the model, with `output_1` of `generator_1`, the
baseline. Its preference is 1 where the baseline wins, 2 where the model does, anything between for
a judge whose probabilities are kept (AlpacaEval 2), and 1.5 or 0 for a draw; null for no verdict.

  win rate           100 · mean(preference - 1)
  length-controlled  100 · mean of what a logistic regression predicts for answers of equal length

Source: Dubois et al. 2024 (arXiv 2404.04475); alpaca_eval 0.6.6, metrics/winrate.py and
metrics/glm_winrate.py, whose settings of scikit-learn's LogisticRegressionCV are taken over.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs
from xwinjax.data import fields, jsonl
from xwinjax.data.records import Counts

Row = dict[str, Any]
GAMED = "df_gamed.csv"
GAMED_WEIGHT = 0.2 / 2  # of a row of the two gamed baselines, beside 1 of the model's own
NO_VERDICT = "without a preference"
TWICE = "annotated twice (the first counts)"


@dataclasses.dataclass(frozen=True)
class Annotation:
  """One judged comparison, told from the model's side."""

  instruction: str
  preference: float | None  # 1 to 2; None where the judge gave none
  outputs: tuple[str, str] | None  # the baseline's and the model's, where the file has them

  @property
  def delta(self) -> int | None:
    """How many characters the baseline's output is longer."""
    return None if self.outputs is None else len(self.outputs[0]) - len(self.outputs[1])


@dataclasses.dataclass
class Entry:
  """All annotations of one model against one baseline by one annotator."""

  model: str
  baseline: str
  annotator: str
  rows: list[Annotation] = dataclasses.field(default_factory=list)
  notes: Counts = dataclasses.field(default_factory=Counts)

  def preferences(self) -> np.ndarray:
    """In [0, 1], NaN where there is none."""
    values = [math.nan if r.preference is None else r.preference - 1 for r in self.rows]
    return np.array(values, np.float64)


def preference(value: Any) -> float | None:
  """An annotation's preference, from 1 to 2. Raises ValueError for what is none.

  >>> preference(0), preference("2"), preference(1.25), preference(None)
  (1.5, 2.0, 1.25, None)
  """
  if value is None or value == "":
    return None
  try:
    number = math.inf if isinstance(value, bool) else float(value)
  except (TypeError, ValueError):
    number = math.inf
  if math.isnan(number):
    return None
  if number != 0 and not 1 <= number <= 2:
    raise ValueError(f"field 'preference': found {value!r:.40}, expected 1 to 2, 0 or null")
  return number or 1.5


def _parse(row: Row) -> tuple[tuple[str, str, str], Annotation]:
  for key in ("instruction", "generator_1", "generator_2"):
    if not isinstance(row.get(key), str):
      found = f"{row[key]!r:.40}" if key in row else "nothing"
      raise ValueError(f"field {key!r}: found {found}, expected text; is this an annotation file?")
  if "preference" not in row:
    raise ValueError("field 'preference': found nothing, expected 1 to 2, 0 or null")
  outputs = (row.get("output_1"), row.get("output_2"))
  both = all(isinstance(text, str) for text in outputs)
  found = Annotation(
    row["instruction"],
    preference(row["preference"]),
    outputs if both else None,  # pyright: ignore[reportArgumentType]
  )
  annotator = row.get("annotator")
  return (row["generator_2"], row["generator_1"], str(annotator or "")), found


def _swapped(a: Annotation) -> Annotation:
  return Annotation(
    a.instruction,
    None if a.preference is None else 3 - a.preference,
    None if a.outputs is None else (a.outputs[1], a.outputs[0]),
  )


def read(paths: Iterable[str | Path], baseline: str | None = None) -> list[Entry]:
  """Every model of these files, in the order met.

  Args:
    paths: .json, .jsonl, .gz of either; a file may hold several models or annotators.
    baseline: the system that others are compared with; without it whichever is `generator_1` where
      a pair is first met.

  Raises: UserError naming file and line for a row that is no annotation.
  """
  entries: dict[tuple[str, str, str], Entry] = {}
  seen: dict[tuple[str, str, str], set[tuple]] = {}
  for path in paths:
    for line, row in jsonl.read_rows(path):
      try:
        (model, base, annotator), found = _parse(row)
      except fields.MISTAKES as e:
        raise UserError(f"{path}:{line}: {e}") from None
      turned = (base, model, annotator) in entries and model != base
      if turned or (baseline is not None and model == baseline != base):
        model, base, found = base, model, _swapped(found)
      key = (model, base, annotator)
      entry = entries.setdefault(key, Entry(*key))
      content = (found.instruction, found.outputs)
      if content in seen.setdefault(key, set()):
        entry.notes[TWICE] += 1
        continue
      seen[key].add(content)
      entry.notes[NO_VERDICT] += found.preference is None
      entry.rows.append(found)
  return list(entries.values())


def win_rate(preferences_P: np.ndarray) -> Row:
  """The raw figures of a leaderboard's row, as alpaca_eval names them; in percent.

  >>> win_rate(np.array([0.0, 0.2, 1.0, 0.5]))["win_rate"]
  42.5
  """
  p = preferences_P[np.isfinite(preferences_P)]
  n = len(p)
  wins, draws = int((p > 0.5).sum()), int((p == 0.5).sum())
  # The official discrete rate rounds preferences of 1 to 2, half to even: 0.5 is a draw before.
  return {
    "win_rate": float(p.mean()) * 100 if n else None,
    "standard_error": float(p.std(ddof=1) / math.sqrt(n)) * 100 if n > 1 else None,
    "n_wins": wins,
    "n_wins_base": n - wins - draws,
    "n_draws": draws,
    "n_total": n,
    "discrete_win_rate": (wins + draws / 2) / n * 100 if n else None,
  }


@dataclasses.dataclass(frozen=True)
class Gamed:
  """What the published length control knows beside a model's annotations.

  `rows_N4` are annotations of a baseline that was asked to be brief and to be verbose: preference,
  length difference over its standard deviation, difficulty, 0. `difficulty_P` is each
  instruction's, in the order of the evaluation set.
  """

  rows_N4: np.ndarray
  difficulty_P: np.ndarray


def read_gamed(path: str | Path) -> Gamed:
  """The dataset's df_gamed.csv. Raises UserError naming file and line where it is another."""
  columns = ("preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline", "index")
  rows, difficulty = [], {}
  try:
    with Path(path).open(encoding="utf-8", newline="") as file:
      reader = csv.DictReader(file)
      if missing := set(columns) - set(reader.fieldnames or ()):
        raise UserError(f"{path}:1: lacks column {min(missing)!r}; expected AlpacaEval's {GAMED}")
      for row in reader:
        values = [math.nan if row[c] == "" else float(row[c]) for c in columns[:3]]
        own = {"true": 1.0, "false": 0.0}[row["not_gamed_baseline"].lower()]
        rows.append([*values, own])
        difficulty.setdefault(int(float(row["index"])), values[2])
  except UserError:
    raise
  except OSError as e:
    raise UserError(f"{path}: {e.strerror}; expected AlpacaEval's {GAMED}") from None
  except (ValueError, KeyError, TypeError, AttributeError) as e:
    where = f"{path}:{len(rows) + 2}"
    raise UserError(f"{where}: {e!r:.80}; expected a row of AlpacaEval's {GAMED}") from None
  if sorted(difficulty) != list(range(len(difficulty))):
    raise UserError(f"{path}: column 'index' has gaps; is the file cut short?")
  ordered = np.array([difficulty[i] for i in range(len(difficulty))])
  return Gamed(np.array(rows), ordered)


def cached_gamed() -> Path | None:
  """The file in the Hub's cache, where the official tool left it."""
  try:
    from huggingface_hub import try_to_load_from_cache  # pyright: ignore[reportMissingImports]
  except ModuleNotFoundError:
    return None
  found = try_to_load_from_cache("tatsu-lab/alpaca_eval", GAMED, repo_type="dataset")
  return Path(found) if isinstance(found, str) else None


def why_not_length_controlled(entry: Entry, gamed: Gamed | None) -> str:
  """Why a model gets no length-controlled win rate; empty where it gets one."""
  known = [r for r in entry.rows if r.preference is not None]
  if entry.model == entry.baseline:
    return ""
  if any(r.outputs is None for r in entry.rows):
    return "outputs are missing, so lengths are unknown"
  if len(known) < 10:
    return f"{len(known)} annotations are too few"
  if len({r.delta for r in entry.rows}) < 2:
    return "all length differences are the same"
  if gamed is not None and len(entry.rows) != len(gamed.difficulty_P):
    return (
      f"{len(entry.rows)} annotations, but {GAMED} knows {len(gamed.difficulty_P)} instructions "
      "and names them by place"
    )
  return ""


def length_controlled(entry: Entry, gamed: Gamed | None, *, bootstrap: int = 0) -> Row:
  """The length-controlled win rate in percent.

  With `gamed` it is the published metric (length_controlled_v1); without, the official
  length_controlled_minimal, which knows lengths and nothing of instructions.

  Args:
    bootstrap: so many resamples of prompts, at the strength of the L1 penalty found once, give a
      95 % interval; 0 for none.

  Raises: UserError where scikit-learn is missing, and for what `why_not_length_controlled` says.
  """
  if why := why_not_length_controlled(entry, gamed):
    raise UserError(f"{entry.model}: no length-controlled win rate: {why}")
  if entry.model == entry.baseline:  # by construction, as in the official tool
    return {"length_controlled_winrate": 50.0, "lc_standard_error": 0.0}
  delta = np.array([r.delta for r in entry.rows], np.float64)
  own = np.stack(
    [
      entry.preferences(),
      delta / delta.std(ddof=1),
      gamed.difficulty_P if gamed is not None else np.zeros_like(delta),
      np.ones_like(delta),
    ],
    1,
  )
  others = gamed.rows_N4 if gamed is not None else np.zeros((0, 4))
  train = np.concatenate([others, own])
  train = train[np.isfinite(train[:, 0])]
  features = [1, 2, 3] if gamed is not None else [1, 3]
  penalty, coefficients = _fit(train, features)
  asked = own.copy()
  asked[:, 1] = 0
  predicted = _predict(asked, features, coefficients)
  ci = None
  if bootstrap:
    rng, P, rates = np.random.default_rng(0), len(own), []
    for _ in range(bootstrap):
      drawn = own[rng.integers(0, P, P)]
      again = np.concatenate([others, drawn])
      _, c = _fit(again[np.isfinite(again[:, 0])], features, penalty)
      asked = drawn.copy()
      asked[:, 1] = 0
      rates.append(_predict(asked, features, c).mean() * 100)
    ci = np.quantile(rates, (0.025, 0.975)).tolist()
  spread = float(predicted.std(ddof=1) / math.sqrt(len(predicted))) * 100
  return {
    "length_controlled_winrate": float(predicted.mean()) * 100,
    "lc_standard_error": spread if gamed is not None else None,  # else all predictions are equal
    "lc_ci": ci,
    "glm": "length_controlled_v1" if gamed is not None else "length_controlled_minimal",
  }


def check_installed() -> None:
  """Raises UserError where what length control needs is missing: before judging, not after."""
  with needs("leaderboard"):
    import sklearn  # noqa: F401


def _design(rows_N4: np.ndarray, features: Sequence[int]) -> np.ndarray:
  x = rows_N4.copy()
  x[:, 1] = np.tanh(x[:, 1])
  return x[:, features]


def _predict(rows_N4: np.ndarray, features: Sequence[int], coefficients: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-_design(rows_N4, features) @ coefficients))


def _logloss(y_true, y_pred, true_prob, true_weight):
  """Cross entropy of probabilities; each row stands there as a win and as a loss."""
  target = np.where(y_true == 1, true_prob, 1 - true_prob)
  p = np.clip(y_pred, 1e-15, 1 - 1e-15)
  return -np.mean((target * np.log(p) + (1 - target) * np.log(1 - p)) * true_weight)


def _fit(
  rows_N4: np.ndarray, features: Sequence[int], penalty: float | None = None
) -> tuple[float, np.ndarray]:
  """(C, coefficients) of the L1 regression of preferences; C by 5-fold cross-validation."""
  with needs("leaderboard"):
    import sklearn
    from sklearn import linear_model, metrics, model_selection
  N = len(rows_N4)
  x = np.tile(_design(rows_N4, features), (2, 1))
  y = np.repeat([1, 0], N)
  share = np.concatenate([rows_N4[:, 0], 1 - rows_N4[:, 0]])
  weight = np.tile(np.where(rows_N4[:, 3] == 1, 1.0, GAMED_WEIGHT), 2)
  # alpaca_eval says penalty="l1"; newer scikit-learns call that l1_ratio 1.
  settings: Any = {"solver": "liblinear", "fit_intercept": False, "random_state": 123}
  with warnings.catch_warnings(), sklearn.config_context(enable_metadata_routing=True):
    warnings.simplefilter("ignore")
    if penalty is not None:
      model: Any = linear_model.LogisticRegression(C=penalty, l1_ratio=1, **settings)
      model.set_fit_request(sample_weight=True).fit(x, y, sample_weight=share * weight)
      return penalty, model.coef_[0]
    scorer: Any = metrics.make_scorer(
      _logloss, response_method="predict_proba", greater_is_better=False
    )
    model = linear_model.LogisticRegressionCV(
      cv=model_selection.GroupKFold(n_splits=5),  # pyright: ignore[reportArgumentType]
      scoring=scorer.set_score_request(true_prob=True, true_weight=True),
      l1_ratios=(1,),
      use_legacy_attributes=False,
      **settings,
    )
    model.set_fit_request(sample_weight=True)
    groups = np.tile(np.arange(N), 2)
    model.fit(
      x, y, sample_weight=share * weight, groups=groups, true_prob=share, true_weight=weight
    )
    return float(np.ravel(model.C_)[0]), model.coef_[0]


def rows(
  entries: Sequence[Entry], gamed: Gamed | None, *, control: bool = True, bootstrap: int = 0
) -> Iterator[Row]:
  """A leaderboard's rows, best of each annotator and baseline first, and what there is to note."""
  made = []
  for entry in entries:
    row: Row = {"model": entry.model, "baseline": entry.baseline, "annotator": entry.annotator}
    row |= win_rate(entry.preferences())
    texts = [r.outputs[1] for r in entry.rows if r.outputs is not None]
    row["avg_length"] = int(sum(map(len, texts)) / len(texts)) if texts else None
    notes = [f"{n} {what}" for what, n in entry.notes.items() if n]
    row["length_controlled_winrate"], row["lc_standard_error"] = None, None
    if control and (why := why_not_length_controlled(entry, gamed)):
      notes.append(f"no length-controlled win rate: {why}")
    elif control:
      row |= length_controlled(entry, gamed, bootstrap=bootstrap)
    made.append(row | {"notes": notes})
  best = lambda row: -1 if row["win_rate"] is None else row["win_rate"]
  yield from sorted(made, key=lambda row: (row["annotator"], row["baseline"], -best(row)))
