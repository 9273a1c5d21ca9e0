"""The figures that a run is judged by, by hand: their sides, signs, weights and boundaries."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xwinjax.data.records import Candidate, CandidateSet, Message
from xwinjax.eval import reward_metrics, winrate
from xwinjax.report.chain_files import Chain
from xwinjax.sample import logits as L
from xwinjax.stages import evaluate

ASKED = (Message("user", "Which?"),)


def sets(*rows: list[float], logp: float = -1.0, reference: float = -3.0):
  """A set a row, with an answer a value: its gold score."""
  return [
    CandidateSet(
      f"p{i}",
      ASKED,
      tuple(
        Candidate("a", logp, 3, "stop", {"gold": value, "reference": reference}, (5, 6, 2))
        for value in row
      ),
    )
    for i, row in enumerate(rows)
  ]


BETTER, WORSE = sets([3.0, 2.0], [1.0, 4.0]), sets([1.0, 2.0], [1.0, 0.0])


def test_the_win_rate_is_ours():
  figures = evaluate.compare(BETTER, WORSE, "gold")
  # 3 > 1, 3 > 2, 2 > 1, 2 = 2; 1 = 1, 1 > 0, 4 > 1, 4 > 0
  assert (figures["win"], figures["tie"], figures["lose"]) == (0.75, 0.25, 0.0)
  assert figures["win_rate"] == 0.875
  assert figures["gain"]["mean"] == 1.5
  back = evaluate.compare(WORSE, BETTER, "gold")
  assert (back["win_rate"], back["gain"]["mean"]) == (0.125, -1.5)


def test_twin_exchanged_sides_are_seen(monkeypatch):
  rightly = winrate.head_to_head
  monkeypatch.setattr(winrate, "head_to_head", lambda a, b, **how: rightly(b, a, **how))
  assert evaluate.compare(BETTER, WORSE, "gold")["win_rate"] == 0.125


def test_kl_is_the_model_s_log_prob_less_the_reference_s():
  figures = evaluate.measures(sets([1.0, 2.0], [3.0, 4.0], logp=-1.0, reference=-3.5))
  assert figures["kl"] == 2.5
  assert figures["kl_ci"] == [2.5, 2.5]


def test_the_report_s_kl_is_the_evaluation_s(tmp_path):
  measured = sets([1.0, 2.0], [3.0, 4.0], logp=-1.0, reference=-3.5)
  from xwinjax.data import candidates

  folder = tmp_path / "evaluate_dpo"
  candidates.write(folder / "candidates.jsonl", measured)
  figures = evaluate.measures(measured)
  record = {"stage": "evaluate", "config": {}, "inputs": {}, "outputs": {}, "figures": figures}
  (folder / "manifest.json").write_text(json.dumps({**record, "seconds": 1.0}))
  assert Chain(tmp_path).samples("dpo").kl_P.tolist() == [2.5, 2.5]
  assert figures["kl"] == 2.5


def test_the_calibration_error_weighs_every_pair_the_same():
  gaps = np.array([3.0, 3.0, -1.0])  # parts of two pairs and of one
  made = reward_metrics.calibration(gaps, bins=2)
  assert made["pairs"] == [2, 1]
  said, seen = np.array(made["said"]), np.array(made["seen"])
  weighted = (2 * abs(said[0] - seen[0]) + abs(said[1] - seen[1])) / 3
  assert made["ece"] == pytest.approx(weighted, abs=1e-4)
  assert abs(np.abs(said - seen).mean() - weighted) > 0.04  # the twin: parts weigh the same


def test_the_top_p_boundary_keeps_no_token_beyond_the_mass():
  logits = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1]))
  probabilities = np.asarray(jax.nn.softmax(logits))
  kept = lambda p: np.flatnonzero(np.isfinite(L.keep_top_p(logits, float(p)))).tolist()
  first = probabilities[0]
  assert kept(first) == [0]  # the first alone reaches this mass
  assert kept(np.nextafter(first, np.float32(1))) == [0, 1]  # the twin: a little more needs two
  two = np.float32(first + probabilities[1])
  assert kept(two) == [0, 1]
  assert kept(np.nextafter(two, np.float32(1))) == [0, 1, 2]
