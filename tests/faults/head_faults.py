"""Faults of heads for continuous values."""

from __future__ import annotations

from fault import faults_of

HEADS = "models/test_heads.py::"
ORDERS = "objectives/test_order_agnostic.py::"
REPORTS = "training/test_scores_without_likelihood.py::"

_NOISE = "test_a_head_that_draws_has_noise_of_its_own_for_each_site_example_and_key"

_flow = faults_of("models/heads/flow_matching.py", HEADS + "test_flow_matching_is_a_density_and_samples_follow_it")
_regression = faults_of("models/heads/flow_matching.py", HEADS + "test_flow_matching_is_regression_on_straight_paths")
_energy = faults_of("models/heads/energy.py", HEADS + "test_the_energy_score_is_that_of_its_draws_and_proper")
_hidden = faults_of("objectives/order_agnostic.py", ORDERS + "test_the_hidden_part_is_that_of_a_truncated_normal")

_inside = faults_of(
    "models/cascade.py", HEADS + "test_the_loss_of_a_head_reaches_the_parts_of_a_cascade_and_recoded_data"
)

HEAD_FAULTS = (
    _inside(
        "a cascade that trains a head by its density",
        "loss_B -= model.train_score(own, part, key=folded(key, k)).log_prob",
        "loss_B -= model.score(own, part, key=folded(key, k), train=True).log_prob",
    ),
    _flow("a density without the divergence", "return v, -parts_dN.sum(0)", "return v, 0 * parts_dN.sum(0)", slow=True),
    _flow(
        "a divergence that leaves out an entry",
        "return v, -parts_dN.sum(0)",
        "return v, -parts_dN[1:].sum(0)",
        HEADS + "test_the_divergence_is_the_trace_of_the_jacobian",
    ),
    _flow(
        "a method of Runge and Kutta with the weights of another",
        "y + h / 6 * (a + 2 * b + 2 * c + d)",
        "y + h / 6 * (2 * a + b + b + 2 * c + 0 * d)",
        HEADS + "test_the_method_of_runge_and_kutta_is_of_order_4",
    ),
    _regression("a velocity that goes back to the noise", "- (x - z)\n", "- (z - x)\n"),
    _regression("a path that is curved", "(1 - part) * z + part * x", "(1 - part**2) * z + part * x"),
    _energy(
        "an energy score of which draws count as their own neighbours",
        "score_N = to_value_KN.mean(0) - 0.5 * apart_N / (num * (num - 1))",
        "score_N = to_value_KN.mean(0) - 0.5 * apart_N / (num * num)",
    ),
    _energy(
        "an energy score without the distance between draws",
        "score_N = to_value_KN.mean(0) - 0.5 * apart_N / (num * (num - 1))",
        "score_N = to_value_KN.mean(0) - 0.0 * apart_N / (num * (num - 1))",
    ),
    faults_of("models/heads/diffusion.py", HEADS + "test_the_diffusion_head_is_a_chain_of_each_value")(
        "a diffusion head that is scored by the steps of training",
        "key=self.noise_key, train=self.train)",
        "key=self.noise_key, train=True)",
    ),
    faults_of("models/gaussian_chain.py", HEADS + "test_the_temperature_scales_the_noise")(
        "draws of a chain at any temperature alike",
        "return temperature * jax.vmap(lambda key: jax.random.normal(key, shape))(step_keys(keys_B, t))",
        "return jax.vmap(lambda key: jax.random.normal(key, shape))(step_keys(keys_B, t))",
    ),
    faults_of("objectives/base.py", HEADS + "test_objectives_train_by_the_loss_of_the_conditional")(
        "a loss that is no likelihood and is reported as nats",
        'if score.kind != "none":',
        'if score.kind != "":',
    ),
    faults_of("evaluation/bounds.py", "evaluation/test_k_steps.py::" + _NOISE)(
        "scores in k steps whose noise no seed changes",
        "batch, orders, sizes, jax.random.fold_in(key, len(batch)))",
        "batch, orders, sizes)",
    ),
    faults_of("evaluation/entropy.py", "evaluation/test_entropy.py::test_estimates_have_other_noise_in_each_batch")(
        "estimates of entropies with the same noise in each batch",
        "context=batch.context, key=key)",
        "context=batch.context)",
    ),
    _hidden(
        "hidden parts of MAR that may be smaller than .7",
        "jax.random.truncated_normal(key, (LEAST_HIDDEN - 1.0) / HIDDEN_STD, 0.0)",
        "jax.random.truncated_normal(key, -1.0 / HIDDEN_STD, 0.0)",
    ),
    faults_of("core/score_names.py", REPORTS + "test_a_run_without_a_likelihood")(
        "a sample score that is called nats",
        'NLL, SAMPLE_SCORE = "nll_nats", "sample_score"',
        'NLL, SAMPLE_SCORE = "nll_nats", "sample_nats"',
    ),
)
