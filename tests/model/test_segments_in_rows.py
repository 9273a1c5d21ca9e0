"""Several sequences in one row: packed side by side, or branching from a shared prompt."""

import jax
import numpy as np
import pytest
from compiled import close, logits, logps_and_gradient, small_config, small_params

from xwinjax.core.segments import segment

CONFIG = small_config()
PARAMS = small_params(CONFIG)
RNG = np.random.default_rng(3)


def rows(sequences, length):
  """Each sequence in a row of its own, padded."""
  out = np.zeros((len(sequences), length), np.int32)
  for row, ids in zip(out, sequences, strict=True):
    row[: len(ids)] = ids
  return out


@pytest.fixture(scope="module")
def packed():
  """Three sequences, and one row that holds them all with padding behind."""
  sequences = [RNG.integers(1, 64, n) for n in (5, 9, 4)]
  tokens = np.concatenate([*sequences, np.zeros(4, int)])[None]
  positions = np.concatenate([*map(np.arange, (5, 9, 4)), np.zeros(4, int)])[None]
  segments = np.repeat([segment(1), segment(2), segment(3), 0], [5, 9, 4, 4])[None]
  return sequences, tokens, positions, segments


def test_packed_sequences_do_not_see_each_other(packed):
  sequences, tokens, positions, segments = packed
  alone = np.asarray(logits(CONFIG, PARAMS, rows(sequences, 22)))
  wanted = np.concatenate([alone[i, : len(ids)] for i, ids in enumerate(sequences)])
  together = np.asarray(logits(CONFIG, PARAMS, tokens, positions, segments))[0, :18]
  assert np.allclose(together, wanted, atol=2e-5)
  leaky = np.asarray(logits(CONFIG, PARAMS, tokens, positions, np.full_like(segments, segment(1))))
  assert np.allclose(leaky[0, :5], wanted[:5], atol=2e-5)  # the first has nothing before it
  assert not np.allclose(leaky[0, 5:18], wanted[5:], atol=2e-5)


@pytest.fixture(scope="module")
def branched():
  """A prompt of 6 with answers of 4, 3 and 5: rows 0-2 hold them apart, row 3 as branches."""
  prompt, answers = RNG.integers(1, 64, 6), [RNG.integers(1, 64, n) for n in (4, 3, 5)]
  tokens, mask, positions, segments = np.zeros((4, 4, 20), np.int32)
  tree = [(prompt[:-1], np.zeros(5), np.arange(5), np.full(5, segment(1)))]
  for branch, answer in enumerate(answers, 1):
    n = len(answer)
    tokens[branch - 1, : 6 + n] = np.r_[prompt, answer]
    mask[branch - 1, 6 : 6 + n] = 1
    positions[branch - 1] = np.arange(20)
    segments[branch - 1, : 6 + n] = segment(1)
    # A branch opens with its own copy of the prompt's last token.
    tree.append(
      (
        np.r_[prompt[-1], answer],
        np.r_[0, np.ones(n)],
        np.arange(5, 6 + n),
        np.full(n + 1, segment(1, branch)),
      )
    )
  tokens[3], mask[3], positions[3], segments[3] = map(np.concatenate, zip(*tree, strict=True))
  return tokens, mask, positions, segments


def apart_and_branched(tokens, mask, positions, segments):
  """(log-probs of the 12 answer tokens, their gradient) by rows 0-2, and by row 3."""
  for rows in (slice(0, 3), slice(3, 4)):
    here = np.zeros_like(mask)
    here[rows] = mask[rows]
    logps, gradient = logps_and_gradient(CONFIG, PARAMS, tokens, here, positions, segments)
    yield np.asarray(logps)[np.asarray(logps) != 0], gradient


def test_branches_equal_separate_sequences_in_values_and_gradients(branched):
  (logps, gradient), (tree_logps, tree_gradient) = apart_and_branched(*branched)
  assert len(logps) == 12
  assert np.allclose(tree_logps, logps, atol=1e-5)
  assert close(tree_gradient, gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("broken", ["positions", "segments"])
def test_branches_with_wrong_positions_or_segments_do_not(branched, broken):
  tokens, mask, positions, segments = (x.copy() for x in branched)
  if broken == "positions":
    positions[3] = np.arange(20)
  else:
    segments[3] = np.minimum(segments[3], segment(1, 1))  # all answers in one branch
  (logps, gradient), (tree_logps, tree_gradient) = apart_and_branched(
    tokens, mask, positions, segments
  )
  assert tree_logps.sum() != pytest.approx(logps.sum(), abs=1e-3)
  assert not close(tree_gradient, gradient, rtol=1e-4, atol=1e-4)


def test_a_token_sees_its_past_and_never_its_future():
  ids = RNG.integers(1, 64, (1, 12))
  changed = ids.copy()
  changed[0, 7] = (changed[0, 7] + 1) % 64
  before, after = (np.asarray(logits(CONFIG, PARAMS, x))[0] for x in (ids, changed))
  assert np.array_equal(before[:7], after[:7])
  assert (np.abs(before[7:] - after[7:]).max(-1) > 1e-4).all()


def test_rows_of_padding_alone_give_finite_numbers_and_no_gradient():
  nothing = np.zeros((4, 20), np.int32)
  logps, gradient = logps_and_gradient(CONFIG, PARAMS, nothing, nothing, nothing, nothing)
  assert np.asarray(logps).sum() == 0
  assert all(np.all(np.asarray(g) == 0) for g in jax.tree.leaves(gradient))
