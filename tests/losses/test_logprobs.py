"""Token log-probs: their values, their hand-written gradient, and which token they speak of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import close
from goldens.reference import log_softmax

from xwinjax.core.segments import segment
from xwinjax.losses import logprobs

B, T, D, V = 2, 6, 5, 11
RNG = np.random.default_rng(2)
HIDDEN = RNG.normal(size=(B, T, D)).astype(np.float32)
KERNEL = RNG.normal(size=(D, V)).astype(np.float32)
TOKENS = RNG.integers(0, V, (B, T))
MASK = np.array([[0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0]])
GATHER = np.array([[2, 3, 4, 5, 7, 9, 10, -1, -1]])  # flat places of supervised tokens


def naive(hidden, kernel, tokens, mask):
  """The formula as it is written down, for autodiff; log-probs and log-sum-exp [B, T-1]."""
  logits = hidden[:, :-1] @ kernel
  logps = jax.nn.log_softmax(logits)
  chosen = jnp.take_along_axis(logps, tokens[:, 1:, None], -1)[..., 0]
  return chosen * mask[:, 1:], jax.nn.logsumexp(logits, -1) * mask[:, 1:]


def test_values_equal_a_float64_log_softmax():
  logps, lse, weights = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK)
  wanted = log_softmax(HIDDEN.astype(np.float64) @ KERNEL)
  for b in range(B):
    for t in range(T - 1):
      value = wanted[b, t, TOKENS[b, t + 1]] * MASK[b, t + 1]
      assert float(logps[b, t]) == pytest.approx(value, abs=1e-5)
      if MASK[b, t + 1]:
        assert float(logps[b, t]) != pytest.approx(wanted[b, t, TOKENS[b, t]], abs=1e-5)
  assert (np.asarray(logps)[:, -1] == 0).all()
  assert (np.asarray(lse)[np.asarray(weights) == 0] == 0).all()
  assert np.array_equal(weights[:, :-1], MASK[:, 1:])


def gradients(values, *args):
  """Gradients to hidden and kernel of a random mixture of log-probs and log-sum-exps."""
  a, b = np.random.default_rng(4).normal(size=(2, B, T - 1))

  def mixture(hidden, kernel):
    logps, lse, *_ = values(hidden, kernel, *args)
    return (a * logps[:, : T - 1]).sum() + (b * lse[:, : T - 1]).sum()

  return jax.jit(jax.grad(mixture, (0, 1)))(HIDDEN, KERNEL)


@pytest.mark.parametrize("gather", [None, GATHER], ids=["everywhere", "gathered"])
def test_the_hand_written_gradient_equals_autodiff(gather):
  got = gradients(logprobs.token_logps, TOKENS, MASK, None, gather)
  assert close(got, gradients(naive, TOKENS, MASK))
  assert not close(got, gradients(naive, np.roll(TOKENS, 1, 1), MASK))  # labels shifted once more
  assert not close(got, gradients(naive, TOKENS, np.roll(MASK, 1, 1)))


def test_a_wrong_backward_pass_shows(monkeypatch):
  broken = jax.custom_vjp(lambda *args: logprobs._logps_forward(*args)[0], nondiff_argnums=(0,))
  broken.defvjp(
    logprobs._logps_forward,
    # d lse with a wrong sign
    lambda operands, saved, ct: logprobs._logps_backward(operands, saved, (ct[0], -ct[1])),
  )
  monkeypatch.setattr(logprobs, "_logps", broken)
  got = gradients(logprobs.token_logps, TOKENS, MASK)
  assert not close(got, gradients(naive, TOKENS, MASK))


@pytest.mark.parametrize("operands", ["", "bfloat16"])
@pytest.mark.parametrize("chunks", [2, 3, 5])
@pytest.mark.parametrize("gather", [None, GATHER], ids=["everywhere", "gathered"])
def test_chunks_of_places_give_what_all_at_once_gives(monkeypatch, gather, chunks, operands):
  """12 and 9 places in chunks: some are not full, and the fill counts for nothing."""
  whole = gradients(logprobs.token_logps, TOKENS, MASK, None, gather, operands)
  values = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK, None, gather, operands)
  places = B * T if gather is None else gather.shape[1]
  monkeypatch.setattr(logprobs, "LOGITS", -(-places * V // chunks))
  parts = logprobs._in_chunks(V, jnp.zeros((1, places)))
  assert parts[0].shape[0] == chunks
  assert close(gradients(logprobs.token_logps, TOKENS, MASK, None, gather, operands), whole)
  assert close(logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK, None, gather, operands), values)


@pytest.mark.parametrize("lost", ["fill", "sum"])
def test_twin_chunks_joined_wrongly_show(monkeypatch, lost):
  whole = gradients(logprobs.token_logps, TOKENS, MASK)
  monkeypatch.setattr(logprobs, "LOGITS", 5 * V)  # three chunks of four of 12 places
  if lost == "fill":
    joined = logprobs._joined
    monkeypatch.setattr(logprobs, "_joined", lambda x, like: jnp.roll(joined(x, like), 1, 1))
  else:
    scan = jax.lax.scan

    def last_only(f, first, xs):
      return scan(lambda carry, x: f(jnp.zeros_like(carry), x), first, xs)

    monkeypatch.setattr(logprobs.jax.lax, "scan", last_only)
  assert not close(gradients(logprobs.token_logps, TOKENS, MASK), whole)


def test_chunks_bound_the_memory(monkeypatch):
  """The logits of 4,096 places of 2,048 words are 32 MB; an eighth at once takes less."""

  def temporaries():
    def loss(hidden, kernel):
      return logprobs.token_logps(hidden, kernel, tokens, tokens > 0)[0].sum()

    step = jax.jit(jax.grad(loss, (0, 1)))
    arrays = jnp.zeros((4, 1024, 8)), jnp.zeros((8, 2048))
    return step.lower(*arrays).compile().memory_analysis().temp_size_in_bytes

  tokens = jnp.ones((4, 1024), jnp.int32)
  whole = temporaries()
  monkeypatch.setattr(logprobs, "LOGITS", 4096 * 2048 // 8)
  assert whole > 4096 * 2048 * 4
  assert temporaries() < whole / 3


def test_gathered_places_give_what_the_whole_row_gives():
  everywhere = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK)
  gathered = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK, None, GATHER)
  assert close(gathered, everywhere)
  by_row = np.array([[2, 3, 4, 5, -1], [1, 3, 4, -1, -1]])  # two groups of one row
  assert close(logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK, None, by_row), everywhere)
  missing = np.where(GATHER == 3, -1, GATHER)
  assert not close(logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK, None, missing), everywhere)


def test_a_row_s_first_token_is_not_predicted_from_the_row_before():
  """Supervised tokens in column 0, and at a segment's start, have places and no weight."""
  mask = np.maximum(MASK, [[1] + [0] * 5] * B)
  segments = np.array([[segment(1)] * 3 + [segment(2)] * 3] * B)
  gather = np.array([[*np.flatnonzero(mask), -1]])
  assert {0, T} < set(gather[0].tolist())  # both rows' first tokens
  states = np.asarray(logprobs.states_before(jnp.asarray(gather), T))
  assert states.tolist() == [[-1 if g % T == 0 or g < 0 else g - 1 for g in gather[0]]]
  for ids in (None, segments):
    everywhere = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, mask, ids)
    gathered = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, mask, ids, gather)
    assert close(gathered, everywhere)
    assert (np.asarray(gathered[0])[:, -1] == 0).all()
  got = gradients(logprobs.token_logps, TOKENS, mask, None, gather)
  assert close(got, gradients(naive, TOKENS, mask))


def test_twin_a_first_token_read_from_the_row_before_shows(monkeypatch):
  """What `states_before` prevents: its place, and the fill, are written over a neighbour's."""
  monkeypatch.setattr(logprobs, "states_before", lambda gather_GM, length: gather_GM)
  everywhere = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK)
  assert not close(logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK, None, GATHER), everywhere)


def test_half_precision_keeps_the_softmax_in_f32():
  logps, _, _ = logprobs.token_logps(HIDDEN.astype(jnp.bfloat16), KERNEL, TOKENS, MASK)
  wanted, _, _ = logprobs.token_logps(HIDDEN, KERNEL, TOKENS, MASK)
  assert logps.dtype == jnp.float32
  assert np.allclose(logps, wanted, atol=0.1)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
def test_half_precision_trains_the_head_in_one_compiled_step(tied):
  """A product that XLA turns together with a tied embedding has no kernel on CPU."""

  def step(weights, hidden):
    def loss(weights):
      kernel = weights.T if tied else weights
      return logprobs.token_logps(hidden, kernel, TOKENS, MASK)[0].sum()

    return weights - 0.1 * jax.grad(loss)(weights)

  weights = KERNEL.T if tied else KERNEL
  half = jax.jit(step)(weights, HIDDEN.astype(jnp.bfloat16))
  assert close(half, jax.jit(step)(weights, HIDDEN), atol=0.02)
  assert not close(half, weights, atol=0.02)


def test_a_token_that_opens_a_segment_is_not_predicted_from_the_one_before():
  segments = np.array([[segment(1)] * 3 + [segment(2)] * 2 + [0]])
  everything = np.ones((1, 6), int)
  weights = logprobs.target_weights(everything, segments)
  assert weights.tolist() == [[1, 1, 0, 1, 0, 0]]
  assert logprobs.target_weights(everything).tolist() == [[1, 1, 1, 1, 1, 0]]
  logps, _, _ = logprobs.token_logps(HIDDEN[:1], KERNEL, TOKENS[:1], everything, segments)
  assert (np.asarray(logps)[0] == 0).tolist() == [False, False, True, False, True, True]


def test_branches_do_not_predict_each_others_first_tokens():
  ids = [segment(1), segment(1), segment(1, 1), segment(1, 1), segment(1, 2), segment(1, 2)]
  weights = logprobs.target_weights(np.ones((1, 6), int), np.array([ids]))
  assert weights.tolist() == [[1, 0, 1, 0, 1, 0]]


def test_sums_and_last_values_of_branches():
  ids = [segment(1), segment(1, 1), segment(1, 1), segment(1, 2), segment(2), segment(2, 1), 0]
  values, segments = jnp.arange(1.0, 8.0)[None], np.array([ids])
  sums = logprobs.branch_sums(values, segments, 2, 2)
  assert sums.tolist() == [[[5.0, 4.0], [6.0, 0.0]]]
  last = logprobs.last_of_branch(values, segments, 2, 2)
  assert last.tolist() == [[[3.0, 4.0], [6.0, 1.0]]]
  whole_example = np.array(ids) // 256 * 256 + 1  # everything in branch 1
  assert logprobs.branch_sums(values, whole_example[None], 2, 2).tolist() != sums.tolist()


def test_wrong_shapes_are_named():
  with pytest.raises(ValueError, match="tokens_BT"):
    logprobs.token_logps(HIDDEN, KERNEL, TOKENS[:, :-1], MASK)
