"""Faults of objectives on prefixes that are not those of the data."""

from __future__ import annotations

from fault import Fault

_PREFIXES, _DRAWS = "objectives/test_prefixes.py::", "objectives/test_draws.py::"

REGIME_FAULTS = (
    Fault(
        "passes of scheduled sampling that read the data each time",
        "objectives/scheduled_sampling.py",
        "features = model.features(params, inputs, context=batch.context)",
        "features = model.features(params, batch.x, context=batch.context)",
        (_PREFIXES + "test_with_all_replaced_the_prefixes_are_the_draws_of_the_naive_sampler",),
    ),
    Fault(
        "scheduled sampling of sites that are not scored",
        "objectives/prefixes.py",
        "return jnp.asarray(batch.mask).reshape(len(batch), -1) > 0",
        "return jnp.asarray(batch.mask).reshape(len(batch), -1) >= 0",
        (_PREFIXES + "test_a_coin_for_each_value_and_masked_values_stay",),
    ),
    Fault(
        "draws in steps that forget the other values",
        "samplers/prefixes.py",
        "return carry, where_own(own_BD, steps.fill(canvas, t, features), canvas, model)",
        "return carry, steps.fill(canvas, t, features)",
        (_PREFIXES + "test_a_coin_for_each_value_and_masked_values_stay",),
    ),
    Fault(
        "a window of a rollout that is a step too long",
        "objectives/rollout.py",
        "(step_D < first + length)",
        "(step_D <= first + length)",
        (_PREFIXES + "test_the_window_of_a_rollout_grows",),
    ),
    Fault(
        "a reverse divergence without the entropy of the model",
        "objectives/rollout.py",
        "reward_B = jnp.where(window_BD, log_q, 0.0).sum(-1) - jax.lax.stop_gradient(log_p_B)",
        "reward_B = jnp.where(window_BD, log_q, 0.0).sum(-1)",
        (_DRAWS + "test_the_reverse_divergence_of_a_rollout_has_the_enumerated_gradient",),
        slow=True,
    ),
    Fault(
        "an oracle whose conditionals are those of another order",
        "objectives/rollout.py",
        "if not traced and not np.array_equal(own.step, other.step):",
        "if not traced and own.num_steps != other.num_steps:",
        (_DRAWS + "test_an_oracle_has_the_conditionals_that_the_loss_reads",),
    ),
    Fault(
        "matches counted by the scored values of whole examples",
        "objectives/rollout.py",
        'num = window_BD[: len(batch)].any(-1) if self.target == "match" else None',
        "num = None",
        (_DRAWS + "test_matches_are_a_part_of_the_scored_values_of_the_window",),
    ),
    Fault(
        "draws of the recursion with the losses of earlier steps as their signal",
        "objectives/as_is.py",
        "jnp.cumsum(nats_SB[::-1], axis=0)[::-1]",
        "jnp.cumsum(nats_SB, axis=0)",
        (_DRAWS + "test_the_score_function_of_as_is_has_the_gradient_of_the_enumerated_mean",),
    ),
    Fault(
        "a straight-through draw without the gradient of its probability",
        "objectives/as_is.py",
        "weights_MV = one_hot_MV + prob_MV - jax.lax.stop_gradient(prob_MV)",
        "weights_MV = one_hot_MV",
        (_DRAWS + "test_straight_through_has_the_gradient_of_the_probability",),
    ),
    Fault(
        "noise on half of the inputs that the rate says",
        "objectives/input_noise.py",
        "jax.random.bernoulli(coin_key, self.rate, may.shape)",
        "jax.random.bernoulli(coin_key, self.rate / 2, may.shape)",
        (_PREFIXES + "test_noise_has_its_rate",),
    ),
    Fault(
        "a sum of objectives without their weights",
        "objectives/weighted.py",
        "Mean(weight * term.total, term.count)",
        "Mean(term.total, term.count)",
        ("objectives/test_weighted.py::test_weighted_objectives_add_up",),
    ),
    Fault(
        "a temperature of the probabilities and not of the noise",
        "objectives/as_is.py",
        "weights_MV = jax.nn.softmax(noisy_MV / self.temperature)",
        "weights_MV = jax.nn.softmax(log_prob_MV / self.temperature + noisy_MV - log_prob_MV)",
        ("objectives/test_draws.py::test_gradients_through_draws_are_those_of_the_recursion_written_out",),
    ),
    Fault(
        "a last window of a rollout that is never drawn",
        "objectives/rollout.py",
        "first = jax.random.randint(place_key, (), 0, num_steps - length + 1)",
        "first = jax.random.randint(place_key, (), 0, num_steps - length)",
        ("objectives/test_prefixes.py::test_windows_of_a_rollout_begin_at_all_steps_from_which_they_fit",),
    ),
    Fault(
        "gradients through the draws of scheduled sampling",
        "objectives/scheduled_sampling.py",
        "keys_B, params = jax.random.split(draw_key, len(batch)), jax.lax.stop_gradient(params)",
        "keys_B = jax.random.split(draw_key, len(batch))",
        ("objectives/test_prefixes.py::test_no_gradient_flows_through_draws_of_real_values",),
    ),
    Fault(
        "fractional weights that count as 1",
        "objectives/prefixes.py",
        "num = (num_B if batch.weight is None else batch.weight * num_B).sum",
        "num = (num_B if batch.weight is None else (batch.weight > 0) * num_B).sum",
        ("objectives/test_prefixes.py::test_means_are_weighted",),
    ),
    Fault(
        "values of examples that are not weighted",
        "objectives/base.py",
        "jnp.where(weight_B > 0, weight_B * value_B, 0.0)",
        "jnp.where(weight_B > 0, value_B, 0.0)",
        ("objectives/test_prefixes.py::test_means_are_weighted",),
    ),
    Fault(
        "a likelihood that counts the divergence of examples of which nothing is scored",
        "objectives/base.py",
        "weighted_sum(weights_of(batch), -log_prob_B)",
        "weighted_sum(batch.weight, -log_prob_B)",
        ("objectives/test_latent_terms.py::test_the_loss_of_a_likelihood_weighs_examples_as_the_bounds_do",),
    ),
)
