"""Faults of flows, of mixtures of models and of Gaussians, and of the data that flows are tried on."""

from __future__ import annotations

from fault import Fault, faults_of

_FLOW, _SPLINE = "models/test_flow.py::", "conditionals/test_spline.py::"
_MIXTURE, _PLANE = "models/test_mixture.py::", "data/test_plane.py::"
_flow = faults_of("models/flow.py", _FLOW + "test_samplers_invert_the_blocks")
_inverse = faults_of("models/flow.py", _FLOW + "test_samplers_invert_the_blocks")
_levels = faults_of("models/flow.py", _FLOW + "test_levels_are_scored_by_a_bound_whose_exponential_is_unbiased")
_spline = faults_of("conditionals/spline.py", _SPLINE + "test_it_is_the_spline_of_the_paper_and_its_inverse")
_family = faults_of("conditionals/spline.py", _SPLINE + "test_entropy_of_narrow_bins")
_mixture = faults_of("models/mixture.py", _MIXTURE + "test_probabilities_are_the_weighted_sum_of_those_of_the_members")
_GAUSSIANS = "models/test_gaussian_mixture.py::"
_gaussians = faults_of("models/gaussian_mixture.py", _GAUSSIANS + "test_values_that_are_nan_are_integrated_over")
_parts = faults_of("config/base.py", "models/test_kinds.py::test_a_part_under_two_names_is_two_parts")
_law = faults_of("testing/model.py", "laws/test_laws_of_models.py::test_draws_of_another_distribution_are_noticed")
_plane = faults_of("data/plane.py", _PLANE + "test_densities_by_hand")

MODEL_FAULTS = (
    _flow(
        "a flow with the log-determinant of its last block alone",
        "log_det = log_det + log_slope.reshape(len(x), -1).sum(-1)",
        "log_det = log_slope.reshape(len(x), -1).sum(-1)",
        _FLOW + "test_log_det_is_that_of_the_jacobian",
    ),
    _flow(
        "a draw that inverts the first block of a flow first",
        "for k in reversed(range(len(self.blocks))):",
        "for k in range(len(self.blocks)):",
    ),
    _flow(
        "a flow of levels whose scores are called exact",
        'return "bound" if base == "exact" and self.dequantisation else base',
        "return base",
        _FLOW + "test_levels_are_scored_by_a_bound_whose_exponential_is_unbiased",
    ),
    _flow(
        "noise of variance T^2",
        "return jnp.sqrt(temperature) * jax.vmap",
        "return temperature * jax.vmap",
        _FLOW + "test_the_temperature_is_that_of_the_base",
    ),
    _flow(
        "a flow that scores its noise as normal whatever the base",
        "if self.base is None:\n            terms",
        "if True:\n            terms",
        _FLOW + "test_a_base_that_is_a_model",
    ),
    Fault(
        "a window that reads the noise of the step before",
        "networks/beside.py",
        "return jnp.minimum(t + jnp.arange(k), factorization.num_steps - 1)",
        "return jnp.maximum(t + jnp.arange(k) - 1, 0)",
        (_FLOW + "test_samplers_invert_the_blocks",),
    ),
    _inverse(
        "blocks that are inverted under another context",
        "DrawOptions(context={**(context or {}), NOISE: noise})",
        "DrawOptions(context={**jax.tree.map(jnp.zeros_like, context or {}), NOISE: noise})",
        _FLOW + "test_a_draw_depends_on_its_own_key_alone",
    ),
    _levels(
        "dequantised levels without the width of a level",
        "return value, (log_slope - math.log(num_levels))",
        "return value, (log_slope)",
    ),
    _levels(
        "a logit without its slope",
        "log_slope = math.log(1 - 2 * MARGIN) - jnp.log(q) - jnp.log1p(-q)",
        "log_slope = jnp.zeros(x.shape)",
    ),
    _levels(
        "levels read off the middle of the range",
        "y = (value + 1) / 2",
        "y = value",
        _FLOW + "test_real_values_lead_back_to_their_levels",
    ),
    _spline("the slope of a spline without its numerator", "- jnp.log(bottom)) + jnp.log(top)", "- jnp.log(bottom))"),
    _spline(
        "an inverse that takes the other root", "xi = jnp.clip(2 * c / (-b - root)", "xi = jnp.clip(2 * c / (-b + root)"
    ),
    _spline("tails of the inverse that end at the bound", "at.x + xi * at.width, y)", "at.x + xi * at.width, bound)"),
    _spline(
        "derivatives at the wrong ends of a bin",
        "xi**2 + at.first * xi * (1 - xi))",
        "xi**2 + at.last * xi * (1 - xi))",
    ),
    _family(
        "an entropy of the noise in place of the values", "return self._sum(log_scale + 0.5", "return self._sum(0.5"
    ),
    _family(
        "an entropy that adds what the spline compresses",
        "math.log(2 * math.pi * math.e) - mean)",
        "math.log(2 * math.pi * math.e) + mean)",
    ),
    _family(
        "a density without the scale of its shift",
        "return z, log_slope - log_scale",
        "return z, log_slope",
        _SPLINE + "test_without_bends_it_is_normal",
    ),
    _mixture("weights that do not add up to 1", "return jax.nn.log_softmax(params[WEIGHTS])", "return params[WEIGHTS]"),
    _mixture(
        "members that are chosen with equal chances",
        "tempered(self.log_weights(params), options.temperature), drawn)",
        "jnp.zeros(len(drawn)), drawn)",
        _MIXTURE + "test_draws_follow_the_mixture",
    ),
    _mixture(
        "all examples of a draw from one member",
        "return jax.vmap(lambda k, values: values[k], (0, 1))(member_B, jnp.stack(of_members))",
        "return jax.vmap(lambda k, values: values[k], (0, 1))(0 * member_B, jnp.stack(of_members))",
        _MIXTURE + "test_draws_follow_the_mixture",
    ),
    _mixture(
        "calls of the chosen member alone",
        'calls = functools.reduce(operator.add, [draw.stats["network_calls"] for draw in drawn])',
        'calls = drawn[0].stats["network_calls"]',
        _MIXTURE + "test_draws_follow_the_mixture",
    ),
    _mixture(
        "a mixture of bounds that is called exact",
        '"exact" if not kinds else',
        '"exact" if kinds else',
        _MIXTURE + "test_one_bound_makes_a_bound",
    ),
    _mixture(
        "a mixture of single draws of chains that is called a bound",
        'kinds == {"bound"} and self.unbiased',
        'kinds == {"bound"}',
        "models/test_latent_objectives.py::test_scores_whose_exponentials_are_no_bound",
    ),
    _parts(
        "a part under two names that is one",
        "own_sections(value) if key",
        "value if key",
    ),
    _mixture(
        "a temperature that leaves the weights of a mixture",
        "tempered(self.log_weights(params), options.temperature)",
        "self.log_weights(params)",
        _MIXTURE + "test_cold_mixtures_draw_from_the_heaviest_member",
    ),
    _gaussians(
        "a marginal that counts missing values as if they were observed",
        "nats_KD = jnp.where(is_first_D, 0.5",
        "nats_KD = jnp.where(True, 0.5",
    ),
    _gaussians(
        "observed values in another order than their factor",
        '- params["means"], 0)[:, order_D]',
        '- params["means"], 0)',
    ),
    _gaussians(
        "a mixture of Gaussians without its floor",
        "math.exp(self.min_log_scale) * jnp.eye(len(x_D))",
        "math.exp(self.min_log_scale - 1) * jnp.eye(len(x_D))",
        _GAUSSIANS + "test_the_density_is_that_of_scipy",
    ),
    _gaussians(
        "components of the prior in draws given observed values",
        "tempered(given.log_weights, temperature)",
        'tempered(jax.nn.log_softmax(params["weights"]), temperature)',
        _GAUSSIANS + "test_draws_given_observed_values_follow_the_conditional",
    ),
    _gaussians(
        "noise of the prior in draws given observed values",
        "jnp.where(is_first_D, 0, cholesky_KDD)[:, back_D]",
        "jnp.where(False, 0, cholesky_KDD)[:, back_D]",
        _GAUSSIANS + "test_draws_given_observed_values_follow_the_conditional",
    ),
    _gaussians(
        "EM with the floor of a scale as its variance",
        "math.exp(2 * self.min_log_scale)\n        x_ND",
        "math.exp(self.min_log_scale)\n        x_ND",
        _GAUSSIANS + "test_the_start_is_where_em_of_scikit_learn_ends",
    ),
    _gaussians(
        "ranges in the upper tail by differences of probabilities near 1",
        "jnp.where(below > 0, -above, below), jnp.where(below > 0, -below, above)",
        "below, above",
        _GAUSSIANS + "test_ranges_modes_and_means_of_missing_values",
    ),
    _plane("moons that lie beside one another", "np.array([1.0, 0.5]) - upper", "np.array([1.0, -0.5]) - upper"),
    _plane("a density of points on a line", "math.log(2 * math.pi * noise**2)", "math.log(2 * math.pi * noise**2) / 2"),
    Fault(
        "draws that do not depend on the seed of the data set",
        "data/base.py",
        "draw(np.random.default_rng((seed, i)), size)",
        "draw(np.random.default_rng((0, i)), size)",
        (_PLANE + "test_seeds_and_splits_differ",),
    ),
    Fault(
        "a divergence of latents at the mean of the posterior",
        "models/latent.py",
        "z = self.weights(params, batch, key).latents[0]",
        "z = self.encode(params, batch.x, context=dict(batch.context) or None)",
        ("models/test_latent.py::test_units_that_tell_something_are_active",),
    ),
    Fault(
        "a prior that is trained without dropout",
        "models/latent.py",
        "key=keys[1], train=train).log_prob",
        "key=keys[1], train=False).log_prob",
        ("models/test_dropout_of_parts.py::test_dropout_of_a_part_is_on_in_training_alone",),
    ),
    Fault(
        "samples of an exact kind that may follow any probabilities",
        "testing/statistics.py",
        "require(p_value > LEAST_P,",
        "require(p_value >= 0,",
        ("laws/test_laws_of_models.py::test_draws_of_another_distribution_are_noticed",),
    ),
    _law(
        "samples of a bound of which one example is frequent enough",
        "lack = float(((least - counts) / np.sqrt(least + 1)).max())",
        "lack = float(((least - counts) / np.sqrt(least + 1)).min())",
    ),
)
