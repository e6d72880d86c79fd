"""Faults of the train step, of models and their scores, of factorizations, conditionals and data."""

from __future__ import annotations

from fault import Fault, faults_of

STEP = "training/test_step_equations.py::"
_mixture = "evaluation/test_data_units.py::test_a_mixture_of_orders_is_a_density_of_the_data_too"
_orders = faults_of("factorization/order_distributions.py")
_families = "conditionals/test_families.py::"
_discrete = "conditionals/test_conditionals.py::"

OTHER_FAULTS = (
    Fault(
        "the average is of the parameters before the step",
        "training/step.py",
        "ema = average(state.ema, params, state.step, recipe.ema_decay)",
        "ema = average(state.ema, state.params, state.step, recipe.ema_decay)",
        (STEP + "test_the_average_is_of_the_parameters_after_the_step",),
    ),
    Fault(
        "a cosine that counts from the beginning of the warm-up",
        "training/schedules.py",
        "(t - warmup_steps) / (total_steps - warmup_steps)",
        "t / total_steps",
        (STEP + "test_the_cosine_begins_where_the_warm_up_ends",),
    ),
    Fault(
        "updates are clipped instead of gradients",
        "training/optimizer.py",
        "return optax.chain(*clip, *_with_rate(rule, rate))",
        "return optax.chain(*_with_rate(rule, rate), *clip)",
        (STEP + "test_gradients_are_clipped_and_not_the_updates",),
    ),
    Fault(
        "decoupled decay of sgd",
        "training/optimizer.py",
        "[*decay(weight_decay, decay_pattern), optax.trace(b1)]",
        "[optax.trace(b1), *decay(weight_decay, decay_pattern)]",
        (STEP + "test_decay_of_gradient_descent_is_a_penalty",),
    ),
    Fault(
        "a mixture of orders without the Jacobian of standardisation",
        "evaluation/likelihood.py",
        '"by_order": added_B[:, None] - jax.lax.map',
        '"by_order": -jax.lax.map',
        (_mixture,),
    ),
    Fault(
        "a mixture of orders that sums them",
        "evaluation/likelihood.py",
        "jax.nn.logsumexp(jnp.log(weights_K) - nll_BK, axis=-1)",
        "jax.nn.logsumexp(-nll_BK, axis=-1)",
        ("evaluation/test_likelihood.py",),
    ),
    Fault(
        "rows that fill up a batch count",
        "evaluation/splits.py",
        "keep_B = np.asarray(weight_B) > 0",
        "keep_B = np.asarray(weight_B) >= 0",
        ("evaluation/test_likelihood.py",),
    ),
    Fault(
        "bits that are nats",
        "evaluation/summaries.py",
        "bits = 1 / math.log(2)",
        "bits = 1.0",
        ("evaluation/test_likelihood.py",),
    ),
    Fault(
        "entropies along the order without the units of the data",
        "evaluation/entropy.py",
        "jnp.where(counted_BD > 0, v + log_scale_D, 0.0)",
        "jnp.where(counted_BD > 0, v, 0.0)",
        ("evaluation/test_data_units.py::test_entropies_along_the_order_are_those_of_the_data",),
    ),
    Fault(
        "masked sites count",
        "models/autoregressive.py",
        "return found if mask is None else jnp.where(mask, found, 0.0)",
        "return found",
        ("models/test_autoregressive.py::test_mask_counts_only_what_it_marks",),
    ),
    Fault(
        "masked sites count by a product, which nan survives",
        "models/autoregressive.py",
        "return found if mask is None else jnp.where(mask, found, 0.0)",
        "return found if mask is None else mask * found",
        ("models/test_autoregressive.py::test_masked_sites_pass_no_gradient_even_when_their_score_is_not_finite",),
    ),
    Fault(
        "a query whose answer counts every site",
        "models/autoregressive.py",
        '"query": Query(asked_for, given)}',
        '"query": None}',
        ("models/test_queries.py::test_all_orders_answer_for_any_sites",),
    ),
    Fault(
        "a mask that lets a step see itself",
        "factorization/factorization.py",
        "return step_D[None, :] < step_D[:, None]",
        "return step_D[None, :] <= step_D[:, None]",
        ("factorization/test_factorization.py",),
    ),
    Fault(
        "a snake that never turns",
        "factorization/orderings.py",
        "(inner if i % 2 == 0 else inner[::-1])",
        "inner",
        ("factorization/test_orderings.py",),
    ),
    Fault(
        "a window of a graph that is one step short",
        "factorization/graphs.py",
        "(distance_DD > 0) & (distance_DD <= size)",
        "(distance_DD > 0) & (distance_DD < size)",
        ("factorization/test_graphs.py",),
    ),
    Fault(
        "a Bernoulli with its classes exchanged",
        "conditionals/bernoulli.py",
        "jnp.where(value > 0, -logits, logits)",
        "jnp.where(value > 0, logits, -logits)",
        (_families + "test_bernoulli_formula",),
    ),
    Fault(
        "categorical draws that ignore the temperature",
        "conditionals/categorical.py",
        "return jax.random.categorical(key, tempered(logits, temperature)).astype(jnp.int32)",
        "return jax.random.categorical(key, tempered(logits, 1.0)).astype(jnp.int32)",
        (_discrete + "test_frequencies_of_samples_are_the_tempered_probabilities",),
    ),
    Fault(
        "the last level of a discretized logistic without its tail",
        "conditionals/discretized_logistic_mixture.py",
        "is_first, is_last = level <= 0, level >= self.num_levels - 1",
        "is_first, is_last = level <= 0, level >= self.num_levels",
        (_discrete + "test_probabilities_of_all_values_sum_to_one",),
    ),
    Fault(
        "a Gaussian without its constant",
        "conditionals/transformed_normal.py",
        "return -0.5 * jnp.square(z) - 0.5 * math.log(2 * math.pi)",
        "return -0.5 * jnp.square(z)",
        ("conditionals/test_real_values.py",),
    ),
    Fault(
        "mixtures of real values without the Jacobian of their scales",
        "conditionals/location_scale_mixture.py",
        "log_weights + self.log_standard(z) - log_scales, axis=0",
        "log_weights + self.log_standard(z), axis=0",
        ("conditionals/test_real_values.py",),
    ),
    Fault(
        "a Beta without the Jacobian of its range",
        "conditionals/beta.py",
        "- _log_beta_at_mean(a, b) - self._log_range",
        "- _log_beta_at_mean(a, b)",
        ("conditionals/test_beta.py::test_formula_in_data_units",),
    ),
    Fault(
        "a mixture of products whose weights forget the sites before",
        "conditionals/mixture_of_products.py",
        "return jax.nn.log_softmax(jnp.cumsum(jnp.concatenate([prior, log_p[..., :-1, :]], -2), -2))",
        "return jnp.broadcast_to(prior, log_p.shape)",
        ("models/test_joint.py::test_the_joint_sums_to_one_and_sites_of_a_step_depend_on_one_another",),
    ),
    Fault(
        "a nucleus that leaves out the value that reaches its mass",
        "conditionals/truncated.py",
        "(jnp.cumsum(p, -1) - p < self.top_p)",
        "(jnp.cumsum(p, -1) < self.top_p)",
        ("conditionals/test_truncated.py::test_top_p_keeps_the_fewest_with_at_least_that_mass",),
    ),
    Fault(
        "noise on the rows that are scored",
        "data/vectors.py",
        "jax.random.normal(key, batch.x.shape, batch.x.dtype)) if train else batch",
        "jax.random.normal(key, batch.x.shape, batch.x.dtype))",
        ("data/test_table.py::test_noise_is_fresh_and_of_training_alone",),
    ),
    Fault(
        "the error of a ratio as if its denominator were a constant",
        "evaluation/summaries.py",
        "stderr_of(values_N - ratio * sites_N)",
        "stderr_of(values_N)",
        ("evaluation/test_errors.py::test_the_error_of_a_ratio_is_that_of_many_draws",),
    ),
    Fault(
        "a bound of a split that counts examples without a scored site",
        "evaluation/bounds.py",
        'scored_N = rows["sites"] > 0',
        'scored_N = rows["sites"] >= 0',
        (
            "evaluation/test_bounds.py::test_the_bound_of_a_split_is_the_mean_over_scored_examples_in_the_units_of_the_data",
        ),
    ),
    Fault(
        "scales of sites that are not scored",
        "evaluation/bounds.py",
        "log_scale_B = jnp.where(counted_BD, log_scale_D, 0).sum(-1)",
        "log_scale_B = jnp.where(counted_BD | True, log_scale_D, 0).sum(-1)",
        (
            "evaluation/test_bounds.py::test_the_bound_of_a_split_is_the_mean_over_scored_examples_in_the_units_of_the_data",
        ),
    ),
    Fault(
        "units that are active by the deviation of their means",
        "models/latent.py",
        ".var(0) > ACTIVE",
        ".std(0) > ACTIVE",
        ("models/test_latent.py::test_units_that_tell_something_are_active",),
    ),
    Fault(
        "a limit of levels that is one lower than it says",
        "data/table_columns.py",
        "if num <= rule.most_levels and",
        "if num < rule.most_levels and",
        ("data/test_mixed_table.py::test_kinds_that_are_stated_and_the_limit_of_levels",),
    ),
    Fault(
        "orders that are cut into different blocks",
        "factorization/order_distributions.py",
        "if len(set(cuts)) > 1:",
        "if len(set(cuts)) > len(cuts):",
        ("factorization/test_order_distributions.py::test_orders_that_a_partition_cuts_differently_are_refused",),
    ),
    _orders(
        "listed orders that are drawn by other weights than theirs",
        "jax.random.categorical(choice_key, jnp.log(jnp.asarray(self.weights)))",
        "jax.random.categorical(choice_key, jnp.asarray(self.weights))",
        "factorization/test_order_distributions.py::test_weighted_orders_have_their_probabilities",
    ),
    _orders(
        "random orders of a mixture that count as much as listed ones",
        "np.where(places < 0, of_others, np.append(",
        "np.where(places < 0, uniform, np.append(",
        "factorization/test_order_distributions.py::test_members_of_weighted_orders_come_by_their_shares",
    ),
    Fault(
        "an order of a list that is trained as if the sites left were exchangeable",
        "objectives/order_agnostic.py",
        "jnp.where(of_all, later_D, alone_D) if alike",
        "later_D if alike",
        ("objectives/test_order_agnostic.py::test_predicting_from_observed_sites_has_the_loss_of_a_random_order",),
    ),
    Fault(
        "an ordering that refuses vectors of one number",
        "factorization/data_orderings.py",
        "if data.ndim > 2 and data[0, 0].size > 1:",
        "if data.ndim > 2 and data[0, 0].size >= 1:",
        ("factorization/test_data_orderings.py::test_information_is_that_of_the_frequencies_of_pairs",),
    ),
)
