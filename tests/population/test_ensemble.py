"""Ensembles: mixtures of whole examples, weights chosen on validation alone."""

from __future__ import annotations

import numpy as np
import pytest

from arjax.core.mixtures import mixed_nats
from arjax.evaluation.mixtures import fit_weights, greedy, make_ensemble

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


def test_weights_and_sequence_never_see_the_test_split():
    valid, test = RNG.normal(10, 1, (3, 200)), RNG.normal(10, 1, (3, 100))
    one, other = make_ensemble(valid, test), make_ensemble(valid, test[::-1])
    np.testing.assert_array_equal(one.weights, other.weights)
    assert one.chosen == other.chosen
    assert one.uniform == pytest.approx(other.uniform) and one.weighted != other.weighted


def test_greedy_starts_with_the_best_and_adds_what_is_different():
    best = RNG.normal(10, 1, 400)
    twin, other = best + 0.01, RNG.normal(10.1, 1, 400)
    assert greedy(np.stack([twin, other, best])) == (2, 1, 0)


def test_gains_add_up_to_the_uniform_mixture():
    valid, test = RNG.normal(10, 1, (5, 200)), RNG.normal(10, 1, (5, 300))
    ensemble = make_ensemble(valid, test)
    assert ensemble.by_size[-1] == pytest.approx(ensemble.uniform)
    assert ensemble.by_size[0] == pytest.approx(test[ensemble.chosen[0]].mean())
    assert ensemble.uniform_stderr == pytest.approx(mixed_nats(test, np.full(5, 0.2)).std(ddof=1) / np.sqrt(300))
