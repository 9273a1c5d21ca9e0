"""Log-probabilities of tokens: the only place where labels are shifted.

Hidden state t predicts token t+1 of the same segment. Everything downstream (cross-entropy,
DPO, KL, the reference pass) is a sum over what is computed here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from xwinjax.core import placed
from xwinjax.core.dims import check_dims
from xwinjax.core.matmul import matmul, products_of_columns, transposed
from xwinjax.core.segments import BRANCHES

LOGITS = 2**26  # in memory at once, a group: 256 MB of f32; more are made chunk by chunk
ON_A_MESH = 4  # times as many: there each chunk's gradient of the head is summed over devices


def target_weights(mask_BT: jax.Array, segments_BT: jax.Array | None = None) -> jax.Array:
  """The weight [B, T] with which hidden state t is scored on token t+1.

  `mask_BT` says of each token, as a target, whether it is supervised. The last column has no
  next token, and a token that opens a segment is not predicted from the segment before it.
  """
  weights = jnp.pad(mask_BT[:, 1:], ((0, 0), (0, 1))).astype(jnp.float32)
  if segments_BT is not None:
    same = segments_BT[:, 1:] == segments_BT[:, :-1]
    weights = weights * jnp.pad(same, ((0, 0), (0, 1)))
  return weights


def next_tokens(tokens_BT: jax.Array) -> jax.Array:
  """Token t+1 at position t; the last column is meaningless and has weight 0."""
  return jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))


def states_before(gather_GM: jax.Array, length: int) -> jax.Array:
  """Flat places of the hidden states that predict the tokens at `gather_GM`, in rows of `length`.

  -1 where there is none: fill, and a row's first token, which the row before does not predict.
  """
  predicted = (gather_GM >= 0) & (gather_GM % length > 0)
  return jnp.where(predicted, gather_GM - 1, -1)


def token_logps(
  hidden_BTD: jax.Array,
  kernel_DV: jax.Array,
  tokens_BT: jax.Array,
  mask_BT: jax.Array,
  segments_BT: jax.Array | None = None,
  gather_GM: jax.Array | None = None,
  operands: str = "",
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """log p(token t+1 | tokens ≤ t) at each supervised place, and 0 elsewhere.

  Args:
    hidden_BTD: normed hidden states.
    kernel_DV: the head.
    tokens_BT: ids of the same rows.
    mask_BT: 1 where a token is supervised as a target.
    segments_BT: see `core.segments`; None where every row is one segment.
    gather_GM: flat places (within each of G groups of rows) of all supervised tokens, padded with
      -1. Logits that predict these are computed alone; None computes them everywhere.
    operands: what the head's operands are rounded to; see `core.matmul`.

  Returns: (logps_BT, lse_BT, weights_BT), in nats: the log-probs, the log-sum-exp of the logits
    (for a z-loss), and the weight of each place. Index t of all three speaks of token t+1.
  """
  check_dims(hidden_BTD=hidden_BTD, tokens_BT=tokens_BT, mask_BT=mask_BT, kernel_DV=kernel_DV)
  weights_BT = target_weights(mask_BT, segments_BT)
  targets, (hidden,), back = _places(next_tokens(tokens_BT), gather_GM, hidden_BTD)
  logps_BT, lse_BT = map(back, _logps(operands, hidden, kernel_DV, targets))
  supervised = weights_BT > 0
  return jnp.where(supervised, logps_BT, 0.0), jnp.where(supervised, lse_BT, 0.0), weights_BT


def uniform_logps(hidden_BTD: jax.Array, kernel_DV: jax.Array, lse_BT: jax.Array) -> jax.Array:
  """The mean over all V tokens of log p(v), [B, T] in nats; of use where `lse_BT` was computed.

  The mean of the logits is the hidden state times the head's mean column: no logits are made.
  """
  mean_D = jnp.mean(kernel_DV.astype(jnp.float32), axis=1)
  return hidden_BTD.astype(jnp.float32) @ mean_D - lse_BT


def _places(targets_BT: jax.Array, gather_GM: jax.Array | None, *hidden_BTD: jax.Array):
  """The places of logits: (targets [G, M], each hidden states [G, M, D], what puts [G, M] back)."""
  B, T = targets_BT.shape
  if gather_GM is None:
    flat = lambda x: x.reshape(1, B * T, *x.shape[2:])
    return flat(targets_BT), [flat(x) for x in hidden_BTD], lambda x: x.reshape(B, T)
  G = gather_GM.shape[0]
  states_GM = states_before(gather_GM, T)
  at = jnp.maximum(states_GM, 0)
  hidden = [
    placed.rows(jnp.take_along_axis(x.reshape(G, -1, x.shape[2]), at[..., None], axis=1))
    for x in hidden_BTD
  ]
  targets = jnp.take_along_axis(targets_BT.reshape(G, -1), at, axis=1)
  back = lambda x: _spread(states_GM, B * T // G, x).reshape(B, T)
  return targets, hidden, back


def _spread(gather_GM: jax.Array, length: int, values_GM: jax.Array) -> jax.Array:
  """Puts gathered values back at their places of a [G, length] array; -1 goes nowhere."""
  at = jnp.where(gather_GM < 0, length, gather_GM)
  zeros = jnp.zeros((gather_GM.shape[0], length), values_GM.dtype)
  return jax.vmap(lambda z, i, v: z.at[i].set(v, mode="drop"))(zeros, at, values_GM)


def _logps_values(operands, hidden_GMD, kernel_DV, targets_GM) -> tuple[jax.Array, jax.Array]:
  """(log-prob of the target, log-sum-exp), both [G, M] in f32."""
  return _logps_forward(operands, hidden_GMD, kernel_DV, targets_GM)[0]


_logps = jax.custom_vjp(_logps_values, nondiff_argnums=(0,))


def _logits(operands, hidden_GMD, kernel_DV):
  if operands:
    G, M, D = hidden_GMD.shape
    return matmul(hidden_GMD.reshape(-1, D), kernel_DV, operands).reshape(G, M, -1)
  return jnp.einsum("gmd,dv->gmv", hidden_GMD, kernel_DV, preferred_element_type=jnp.float32)


def _whole(kernel_DV: jax.Array, dtype) -> jax.Array:
  """The head in the hidden states' dtype, gathered once and not for each chunk of logits."""
  return placed.place(kernel_DV.astype(dtype), None, placed.TENSOR)


def _logps_forward(operands, hidden_GMD, kernel_DV, targets_GM):
  whole = _whole(kernel_DV, hidden_GMD.dtype)

  def values(hidden_GMD, targets_GM):
    logits = _logits(operands, hidden_GMD, whole)
    lse = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets_GM[..., None], axis=-1)[..., 0]
    return chosen - lse, lse

  parts = _in_chunks(kernel_DV.shape[1], hidden_GMD, targets_GM)
  if len(parts[0]) == 1:
    logps, lse = values(hidden_GMD, targets_GM)
  else:
    logps, lse = (_joined(x, hidden_GMD) for x in jax.lax.map(lambda p: values(*p), parts))
  return (logps, lse), (hidden_GMD, kernel_DV, targets_GM, lse)


def _logps_backward(operands, saved, cotangents):
  """d logp = onehot - softmax and d lse = softmax, from logits computed once more.

  Recomputing costs a third of the head's work and spares keeping M × V logits; the one-hot is a
  comparison fused into the same pass, where plain autodiff would scatter.
  """
  hidden_GMD, kernel_DV, targets_GM, lse = saved
  gradients = functools.partial(_gradients, operands, _whole(kernel_DV, hidden_GMD.dtype))
  parts = _in_chunks(kernel_DV.shape[1], hidden_GMD, targets_GM, lse, *cotangents)
  if len(parts[0]) == 1:
    d_hidden, d_kernel = gradients(hidden_GMD, targets_GM, lse, *cotangents)
    return d_hidden, d_kernel.astype(kernel_DV.dtype), None

  def add(d_kernel, part):
    d_hidden, more = gradients(*part)
    return d_kernel + more, d_hidden

  d_kernel, d_hidden = jax.lax.scan(add, jnp.zeros(kernel_DV.shape, jnp.float32), parts)
  return _joined(d_hidden, hidden_GMD), d_kernel.astype(kernel_DV.dtype), None


def _in_chunks(vocabulary: int, *arrays_GM: jax.Array) -> tuple[jax.Array, ...]:
  """Arrays [G, M, …] as [chunks, G, m, …], filled with zeros, so that m logits stay in bounds."""
  M = arrays_GM[0].shape[1]
  bound = LOGITS if placed.mesh() is None else ON_A_MESH * LOGITS
  chunks = max(1, -(-M * vocabulary // bound))
  m = -(-M // chunks)

  def split(x):
    x = jnp.pad(x, ((0, 0), (0, chunks * m - M), *[(0, 0)] * (x.ndim - 2)))
    return x.reshape(x.shape[0], chunks, m, *x.shape[2:]).swapaxes(0, 1)

  return tuple(map(split, arrays_GM))


def _joined(x: jax.Array, like_GM: jax.Array) -> jax.Array:
  """The inverse of `_in_chunks`, without its fill."""
  G, M = like_GM.shape[:2]
  return x.swapaxes(0, 1).reshape(G, -1, *x.shape[3:])[:, :M]


def _gradients(operands, kernel_DV, hidden_GMD, targets_GM, lse, d_logp, d_lse):
  """(d hidden, d kernel in f32)."""
  logits = _logits(operands, hidden_GMD, kernel_DV)
  probabilities = jnp.exp(logits - lse[..., None])
  onehot = jnp.arange(kernel_DV.shape[1]) == targets_GM[..., None]
  d_logits = jnp.where(onehot, d_logp[..., None], 0.0) + (d_lse - d_logp)[..., None] * probabilities
  d_logits = d_logits.astype(hidden_GMD.dtype)
  if operands:
    return _rounded_gradients(hidden_GMD, kernel_DV, d_logits, operands)
  d_hidden = jnp.einsum("gmv,dv->gmd", d_logits, kernel_DV)
  d_kernel = jnp.einsum("gmd,gmv->dv", hidden_GMD, d_logits, preferred_element_type=jnp.float32)
  d_kernel = placed.place(d_kernel, "fsdp", placed.TENSOR)
  # A tied embedding turns it: folded into the product, that is one XLA's CPU backend cannot run.
  return d_hidden, jax.lax.optimization_barrier(d_kernel)


def _rounded_gradients(hidden_GMD, kernel_DV, d_logits, operands):
  """The same of rounded operands.

  The kernel's is computed [V, D] and turned: a tied embedding turns it back, and a product turned
  in one piece is one that XLA's CPU backend cannot run.
  """
  D, V = kernel_DV.shape
  flat, hidden = d_logits.reshape(-1, V), hidden_GMD.reshape(-1, D)
  d_hidden = matmul(flat, kernel_DV.T, operands).reshape(hidden_GMD.shape)
  product = products_of_columns(hidden.astype(operands), flat.astype(operands))
  return d_hidden, transposed(product)[:, :D].T


_logps.defvjp(_logps_forward, _logps_backward)


def over_logits(
  statistic: Callable[..., jax.Array],
  heads: Sequence[tuple[jax.Array, jax.Array]],
  tokens_BT: jax.Array,
  mask_BT: jax.Array,
  segments_BT: jax.Array | None = None,
  gather_GM: jax.Array | None = None,
  *more_GM: jax.Array,
  operands: str = "",
) -> jax.Array:
  """statistic(targets, *logits, *more) at each supervised place, [B, T], and 0 elsewhere.

  For what takes all logits of a place and not their log-sum-exp alone. They are made chunk by
  chunk, and again in the backward pass, so that few are in memory.

  Args:
    statistic: (targets [G, M], logits [G, M, V] in f32 of each head, …) -> [G, M].
    heads: (hidden states [B, T, D], kernel [D, V]) of each model.
    more_GM: further numbers of each place, [G, M, …]; see `drawn` for those of chance.
    operands: the dtype that products are computed in, as in `token_logps`.
  """
  supervised = target_weights(mask_BT, segments_BT) > 0
  states = [hidden for hidden, _ in heads]
  kernels = [_whole(kernel, hidden.dtype) for hidden, kernel in heads]
  targets, hidden, back = _places(next_tokens(tokens_BT), gather_GM, *states)

  @jax.checkpoint
  def of_chunk(chunk):
    targets, *arrays = chunk
    n = len(kernels)
    logits = [_logits(operands, h, k) for h, k in zip(arrays[:n], kernels, strict=True)]
    return statistic(targets, *logits, *arrays[n:])

  parts = _in_chunks(len(heads) * kernels[0].shape[1], targets, *hidden, *more_GM)
  values = _joined(jax.lax.map(of_chunk, parts), targets)
  return jnp.where(supervised, back(values), 0.0)


def drawn(key: jax.Array | None, tokens_BT: jax.Array, gather_GM: jax.Array | None, k: int):
  """Gumbel noise [G, M, k] for the places of `over_logits`; zeros without a key."""
  shape = (1, tokens_BT.size) if gather_GM is None else gather_GM.shape
  return jnp.zeros((*shape, k)) if key is None else jax.random.gumbel(key, (*shape, k))


def divergence(targets_GM, logits_GMV, reference_GMV) -> jax.Array:
  """KL(reference ‖ policy) of each place's next token, in nats; for `over_logits`."""
  reference = jax.nn.log_softmax(reference_GMV, axis=-1)
  return jnp.sum(jnp.exp(reference) * (reference - jax.nn.log_softmax(logits_GMV, axis=-1)), -1)


def contrast(targets_GM, logits_GMV, noise_GMK) -> jax.Array:
  """-log σ(s⁺ - s): s the target's logit, s⁺ that of another token; for `over_logits`.

  s⁺ is drawn from the K most probable other tokens by their probabilities: it is the one whose
  logit with Gumbel noise is the greatest. Without noise it is the most probable one.

  Source: Cringe, Adolphs et al. 2022.
  """
  own = jnp.take_along_axis(logits_GMV, targets_GM[..., None], axis=-1)[..., 0]
  is_target = jnp.arange(logits_GMV.shape[-1]) == targets_GM[..., None]
  top, _ = jax.lax.top_k(jnp.where(is_target, -jnp.inf, logits_GMV), noise_GMK.shape[-1])
  choice = jnp.argmax(jax.lax.stop_gradient(top) + noise_GMK, axis=-1)
  rival = jnp.take_along_axis(top, choice[..., None], axis=-1)[..., 0]
  return -jax.nn.log_sigmoid(rival - own)


def _belongs(segments_BT: jax.Array, examples: int, branches: int) -> jax.Array:
  """Whether token t is in branch r+1 of the row's example e+1: [B, E, R, T]."""
  ids_ER = (jnp.arange(1, examples + 1) * BRANCHES)[:, None] + jnp.arange(1, branches + 1)
  return segments_BT[:, None, None, :] == ids_ER[None, :, :, None]


def branch_sums(
  values_BT: jax.Array, segments_BT: jax.Array, examples: int, branches: int
) -> jax.Array:
  """Sums of per-token values over each branch, [B, E, R]; 0 where a branch is absent."""
  belongs = _belongs(segments_BT, examples, branches)
  return jnp.einsum("bt,bert->ber", values_BT, belongs.astype(values_BT.dtype))


def last_of_branch(
  values_BT: jax.Array, segments_BT: jax.Array, examples: int, branches: int
) -> jax.Array:
  """The value at each branch's last token, [B, E, R]; that of index 0 where one is absent."""
  belongs = _belongs(segments_BT, examples, branches)
  last_BER = jnp.max(jnp.where(belongs, jnp.arange(segments_BT.shape[1]), 0), axis=-1)
  flat = jnp.take_along_axis(values_BT, last_BER.reshape(last_BER.shape[0], -1), axis=1)
  return flat.reshape(last_BER.shape)
