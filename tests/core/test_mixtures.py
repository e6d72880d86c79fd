"""The arithmetic of mixtures, in numpy and in JAX, and the weights of their members."""

import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.scores import fit_weights, greedy, kind_of_mixture, log_mean, log_mixture, mixed_nats, weakest

PROBS = np.array([[0.1, 0.2, 0.5], [0.4, 0.3, 0.25]])
WEIGHTS = np.array([0.25, 0.75])
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("array", (np.asarray, jnp.asarray))
@pytest.mark.parametrize("axis", (0, 1, -1))
def test_the_log_of_a_weighted_sum(array, axis):
    probs = PROBS if axis == 0 else PROBS.T
    log_probs, expected = array(np.log(probs) - 2000), np.log(WEIGHTS @ PROBS) - 2000
    mixed = log_mixture(array(np.log(WEIGHTS)), log_probs, axis)
    assert isinstance(mixed, type(log_probs))
    np.testing.assert_allclose(mixed, expected, rtol=1e-6)
    np.testing.assert_allclose(log_mean(log_probs, axis), np.log(PROBS.mean(0)) - 2000, rtol=1e-6)


def test_a_member_without_weight_has_no_part():
    nats = -np.log(PROBS)
    np.testing.assert_array_equal(mixed_nats(nats, np.array([0.0, 1.0])), nats[1])


def test_kinds_of_mixtures():
    assert weakest("exact", "exact") == "exact" and weakest("exact", "estimate", "bound") == "estimate"
    assert kind_of_mixture("exact", "exact", unbiased=False) == "exact"
    assert kind_of_mixture("exact", "bound", unbiased=True) == "bound"
    assert kind_of_mixture("exact", "bound", unbiased=False) == "estimate"


def test_a_mixture_averages_likelihoods_of_whole_examples():
    nll = np.array([[1.0, 700.0, 3.0], [2.0, 710.0, 3.0]])
    weights = np.array([0.25, 0.75])
    expected = [-np.log(0.25 * np.exp(-1) + 0.75 * np.exp(-2)), 700 - np.log(0.25 + 0.75 * np.exp(-10)), 3.0]
    np.testing.assert_allclose(mixed_nats(nll, weights), expected, rtol=1e-12)


def test_fitted_weights_are_where_no_small_change_helps():
    nll = RNG.normal(10, 1, (4, 500)) + np.array([0, 0.2, 0.4, 3.0])[:, None]
    weights = fit_weights(nll)
    assert weights.sum() == pytest.approx(1) and weights.min() >= 0 and weights[3] < weights[0]
    best = mixed_nats(nll, weights).mean()
    for _ in range(50):
        other = np.abs(weights + RNG.normal(0, 0.02, 4))
        assert mixed_nats(nll, other / other.sum()).mean() > best - 1e-6


def test_the_weights_are_as_good_as_any_to_a_ten_thousandth():
    for members, examples in ((8, 50), (2, 400)):
        nll = RNG.normal(10, 1, (members, examples))
        weights = fit_weights(nll)
        ratio = (weights @ np.exp(-nll)) ** -1 * np.exp(-nll)
        assert ratio.mean(1).max() < 1 + 1.01e-4


def test_what_is_impossible_under_all_members_fits_no_weights():
    weights = fit_weights(np.array([[1.0, np.inf, 3.0], [2.0, np.inf, 1.0]]))
    np.testing.assert_array_equal(weights, fit_weights(np.array([[1.0, 3.0], [2.0, 1.0]])))
    np.testing.assert_array_equal(fit_weights(np.full((2, 3), np.inf)), [0.5, 0.5])


def test_greedy_starts_with_the_best_and_adds_what_is_different():
    best = RNG.normal(10, 1, 400)
    twin, other = best + 0.01, RNG.normal(10.1, 1, 400)
    assert greedy(np.stack([twin, other, best])) == (2, 1, 0)
