"""Mixtures of whole examples and their weights."""

import numpy as np
import pytest

from arjax.core.mixtures import mixed_nats
from arjax.evaluation.mixtures import fit_weights, greedy

RNG = np.random.default_rng(0)


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
