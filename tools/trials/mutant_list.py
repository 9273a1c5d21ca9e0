"""Deliberate bugs in the numerics: an edit each, and the tests that should notice.

Each `old` stands once in its file. Tests are named as narrowly as they can be.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
  """One small wrong edit."""

  name: str
  file: str  # under xwinjax/
  old: str
  new: str
  tests: tuple[str, ...]  # under tests/, as pytest takes them


def mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
  return Mutant(name, file, old, new, tests)


NUMERICS = (
  mutant(
    "labels not shifted",
    "losses/logprobs.py",
    "return jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))",
    "return tokens_BT",
    "losses/test_logprobs.py::test_values_equal_a_float64_log_softmax",
  ),
  mutant(
    "labels shifted twice",
    "losses/logprobs.py",
    "return jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))",
    "return jnp.pad(tokens_BT[:, 2:], ((0, 0), (0, 2)))",
    "losses/test_logprobs.py::test_values_equal_a_float64_log_softmax",
  ),
  mutant(
    "mask not shifted with the labels",
    "losses/logprobs.py",
    "weights = jnp.pad(mask_BT[:, 1:], ((0, 0), (0, 1))).astype(jnp.float32)",
    "weights = mask_BT.astype(jnp.float32)",
    "losses/test_logprobs.py::test_values_equal_a_float64_log_softmax",
  ),
  mutant(
    "a segment's first token predicted from the one before",
    "losses/logprobs.py",
    "same = segments_BT[:, 1:] == segments_BT[:, :-1]",
    "same = segments_BT[:, 1:] >= segments_BT[:, :-1]",
    "losses/test_logprobs.py::test_a_token_that_opens_a_segment_is_not_predicted_from_the_one_before",
  ),
  mutant(
    "a row's first token predicted from the row before",
    "losses/logprobs.py",
    "(gather_GM % length > 0)",
    "(gather_GM > 0)",
    "losses/test_logprobs.py::test_a_row_s_first_token_is_not_predicted_from_the_row_before",
  ),
  mutant(
    "branch sums off by one branch",
    "losses/logprobs.py",
    "+ jnp.arange(1, branches + 1)",
    "+ jnp.arange(branches)",
    "losses/test_logprobs.py::test_sums_and_last_values_of_branches",
  ),
  mutant(
    "the reward of a branch's first token",
    "losses/logprobs.py",
    "last_BER = jnp.max(jnp.where(belongs, jnp.arange(segments_BT.shape[1]), 0), axis=-1)",
    "last_BER = jnp.argmax(belongs, axis=-1)",
    "losses/test_logprobs.py::test_sums_and_last_values_of_branches",
  ),
  mutant(
    "no minus before the log-prob",
    "losses/sft.py",
    "losses = -logps_BT",
    "losses = logps_BT",
    "losses/test_preference.py::test_cross_entropy_is_a_mean_over_supervised_tokens_with_its_z_loss",
  ),
  mutant(
    "z-loss not squared",
    "losses/sft.py",
    "z_loss * lse_BT**2",
    "z_loss * lse_BT",
    "losses/test_preference.py::test_cross_entropy_is_a_mean_over_supervised_tokens_with_its_z_loss",
  ),
  mutant(
    "chosen and rejected exchanged in DPO",
    "losses/preference.py",
    "return gain_A2[..., 0] - gain_A2[..., 1]",
    "return gain_A2[..., 1] - gain_A2[..., 0]",
    "losses/test_preference.py::test_dpo_equals_its_equation",
  ),
  mutant(
    "DPO without its reference",
    "losses/preference.py",
    "gain_A2 = policy_A2.astype(jnp.float32) - reference_A2.astype(jnp.float32)",
    "gain_A2 = policy_A2.astype(jnp.float32)",
    "losses/test_preference.py::test_dpo_equals_its_equation",
  ),
  mutant(
    "DPO without beta",
    "losses/preference.py",
    "jax.nn.log_sigmoid(beta * margin_A), jax",
    "jax.nn.log_sigmoid(margin_A), jax",
    "losses/test_preference.py::test_dpo_equals_its_equation",
  ),
  mutant(
    "label smoothing on the wrong side",
    "losses/preference.py",
    "-(1 - label_smoothing) * right - label_smoothing * wrong",
    "-label_smoothing * right - (1 - label_smoothing) * wrong",
    "losses/test_preference.py::test_dpo_equals_its_equation",
  ),
  mutant(
    "IPO's target of beta",
    "losses/preference.py",
    "1 / (2 * beta)",
    "1 / beta",
    "losses/test_preference.py::test_dpo_equals_its_equation",
  ),
  mutant(
    "hinge at zero",
    "losses/preference.py",
    "jax.nn.relu(1 - beta",
    "jax.nn.relu(-beta",
    "losses/test_preference.py::test_dpo_equals_its_equation",
  ),
  mutant(
    "robust DPO of the labels' wrong share",
    "losses/preference.py",
    "(label_smoothing * wrong - (1 - label_smoothing) * right) / (1 - 2 * label_smoothing)",
    "(label_smoothing * right - (1 - label_smoothing) * wrong) / (1 - 2 * label_smoothing)",
    "losses/test_trl_goldens.py::test_dpo_equals_trl",
  ),
  mutant(
    "DPOP's penalty on a gain",
    "losses/preference.py",
    "jax.nn.relu(-gain_A2[..., 0])",
    "jax.nn.relu(gain_A2[..., 0])",
    "losses/test_losses_goldens.py::test_a_loss_and_its_gradient_are_the_stored_ones",
  ),
  mutant(
    "means over no tokens",
    "losses/preference.py",
    "policy_A2.astype(jnp.float32) / jnp.maximum(lengths_A2, 1)",
    "policy_A2.astype(jnp.float32)",
    "losses/test_losses_goldens.py::test_a_loss_and_its_gradient_are_the_stored_ones",
  ),
  mutant(
    "KTO's KL of padding too",
    "losses/preference.py",
    "jnp.where(weight_A > 0, gain_A2[..., 1] * weight_A, 0.0)",
    "jnp.nan_to_num(gain_A2[..., 1] + 1.0)",
    "losses/test_losses_goldens.py::test_kto_leaves_padding_out_of_its_kl",
  ),
  mutant(
    "a ranking from the worst on",
    "losses/lists.py",
    "jnp.argsort(-scores_AS, axis=-1)",
    "jnp.argsort(scores_AS, axis=-1)",
    "losses/test_losses_goldens.py::test_a_loss_and_its_gradient_are_the_stored_ones",
  ),
  mutant(
    "the KL turned round",
    "losses/logprobs.py",
    "(targets_GM, logits_GMV, reference_GMV) -> jax.Array:",
    "(targets_GM, reference_GMV, logits_GMV) -> jax.Array:",
    "losses/test_losses_goldens.py::test_a_token_loss_and_its_gradient_are_the_stored_ones",
  ),
  mutant(
    "chosen and rejected exchanged in the reward loss",
    "losses/reward.py",
    "gap_A = rewards[..., 0] - rewards[..., 1]",
    "gap_A = rewards[..., 1] - rewards[..., 0]",
    "losses/test_trl_goldens.py::test_bradley_terry_equals_trl",
    "train/test_objectives.py::test_reward_reads_the_last_token_of_each_answer",
  ),
  mutant(
    "margins added to the gap",
    "losses/reward.py",
    "gap_A - margin_A",
    "gap_A + margin_A",
    "train/test_objectives.py::test_margins_and_the_language_model_term_enter_the_reward_loss",
  ),
  mutant(
    "mean of means",
    "core/types.py",
    "return Mean(self.total + other.total, self.weight + other.weight)",
    "return Mean(self.value() + other.value(), jnp.ones(()) * 2)",
    "train/test_objectives.py::test_means_add_by_sum_and_weight",
  ),
  mutant(
    "RoPE turned the other way",
    "model/rope.py",
    "[first * cos - second * sin, second * cos + first * sin]",
    "[first * cos + second * sin, second * cos - first * sin]",
    "model/test_rope.py::test_a_plane_is_coordinates_i_and_i_plus_half",
  ),
  mutant(
    "RoPE frequencies not halved",
    "model/rope.py",
    "np.arange(0, config.head_dim, 2, dtype=np.float32)",
    "np.arange(config.head_dim // 2, dtype=np.float32)",
    "model/test_rope.py",
  ),
  mutant(
    "Llama 3's long waves kept",
    "model/rope.py",
    "(1 - blend) / scaling.factor",
    "(1 - blend)",
    "model/test_rope.py::test_llama3_scaling_slows_long_waves_and_keeps_short_ones",
  ),
  mutant(
    "packed examples see each other",
    "core/segments.py",
    "return same_example & shared_or_own",
    "return shared_or_own",
    "model/test_segments_in_rows.py::test_packed_sequences_do_not_see_each_other",
  ),
  mutant(
    "branches see each other",
    "core/segments.py",
    "return same_example & shared_or_own",
    "return same_example",
    "model/test_segments_in_rows.py::test_branches_equal_separate_sequences_in_values_and_gradients",
  ),
  mutant(
    "weight decay on norms",
    "train/optim.py",
    "return parameters.BY_PATH[place].decayed",
    "return True",
    "train/test_optim.py::test_decay_leaves_norms_alone",
  ),
  mutant(
    "warm-up begins at nothing",
    "train/optim.py",
    "config.lr / (warmup + 1), config.lr, warmup",
    "0.0, config.lr, warmup",
    "train/test_optim.py::test_constant_after_a_rise_that_never_wastes_a_step_on_zero",
  ),
  mutant(
    "clipping after the update",
    "train/optim.py",
    "optax.chain(optax.clip_by_global_norm(config.clip), adamw)",
    "optax.chain(adamw, optax.clip_by_global_norm(config.clip))",
    "train/test_optim.py::test_four_steps_equal_adamw_worked_out_in_float64",
  ),
  mutant(
    "a NaN update is taken",
    "train/step.py",
    "keep = lambda new, old: jnp.where(finite, new, old)",
    "keep = lambda new, old: new",
    "train/test_step.py::test_an_update_that_is_not_finite_is_skipped_and_counted",
  ),
  mutant(
    "skips are not counted",
    "train/step.py",
    "jnp.where(finite, 0, state.skipped + 1)",
    "jnp.where(finite, 0, state.skipped)",
    "train/test_step.py::test_an_update_that_is_not_finite_is_skipped_and_counted",
  ),
  mutant(
    "dropout keys do not move with the step",
    "train/step.py",
    "rng.step_key(seed, state.step)",
    "rng.step_key(seed, 0)",
    "train/test_step.py::test_dropout_keys_are_a_function_of_the_step",
  ),
  mutant(
    "micro-batches each divided by their own weight",
    "train/step.py",
    "return sum(Mean(mean.total, weight).value() for mean, weight in means), metrics",
    "return sum(mean.value() for mean, weight in means), metrics",
    "train/test_step.py::test_four_microbatches_give_the_gradient_of_one",
  ),
  mutant(
    "top-p keeps the token beyond the mass",
    "sample/logits.py",
    "probabilities, 0.0), -1) < p\n\n  # Tokens below",
    "probabilities, 0.0), -1) <= p\n\n  # Tokens below",
    "stages/test_headline_figures.py::test_the_top_p_boundary_keeps_no_token_beyond_the_mass",
  ),
  mutant(
    "top-k keeps one more",
    "sample/logits.py",
    "jnp.sum(logits > t[..., None], -1) < k",
    "jnp.sum(logits > t[..., None], -1) <= k",
    "sample/test_filters.py::test_filters_keep_what_they_should_and_leave_it_as_it_is",
  ),
  mutant(
    "min-p of the total",
    "sample/logits.py",
    "probabilities >= p * most",
    "probabilities >= p",
    "sample/test_filters.py::test_filters_keep_what_they_should_and_leave_it_as_it_is",
  ),
  mutant(
    "a penalty that rewards repeats",
    "sample/logits.py",
    "jnp.where(logits > 0, logits / penalty, logits * penalty)",
    "jnp.where(logits > 0, logits * penalty, logits / penalty)",
    "sample/test_filters.py::test_filters_keep_what_they_should_and_leave_it_as_it_is",
  ),
  mutant(
    "log-probs after the filters",
    "sample/decode.py",
    "jnp.take_along_axis(scores, jnp.maximum(token, 0)",
    "jnp.take_along_axis(filtered, jnp.maximum(token, 0)",
    "sample/test_sampler.py::test_log_probs_are_the_model_s_own_under_any_filter",
  ),
  mutant(
    "every sample of a prompt the same",
    "core/rng.py",
    "jax.random.fold_in(jax.random.fold_in(base, p), s)",
    "jax.random.fold_in(base, p)",
    "sample/test_draw.py::test_keys_depend_on_seed_prompt_and_number_alone",
  ),
  mutant(
    "a draw that misses the last weight",
    "sample/logits.py",
    "first = jnp.sum(cumulative <= target[..., None], -1)",
    "first = jnp.sum(cumulative < target[..., None], -1)",
    "sample/test_draw.py",
  ),
  mutant(
    "NaN logits give token 0",
    "sample/decode.py",
    "block.bad | jnp.any(active & (token < 0))",
    "block.bad",
    "sample/test_endings.py::test_logits_that_are_not_finite_raise",
  ),
)
