"""Beta conditionals against scipy, at their edges, and the sentences for options that make no sense."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import special, stats

from arjax.conditionals import Beta, make_conditional
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

REAL = EventSpec((3,), (), "real", 0)
FAMILY = Beta(-2.0, 3.0)
LOG_SHAPES = np.random.default_rng(0).uniform(-0.7, 9, (500, 2)).astype(np.float32)


def reference(log_shapes: np.ndarray):
    """The distributions of scipy, of all rows of log a, log b."""
    a, b = np.exp(log_shapes.astype(float)).T
    return stats.beta(a, b, loc=-2, scale=5)


def test_formula_in_data_units():
    x = np.clip(reference(LOG_SHAPES).rvs(random_state=1), -2 + 1e-4, 3 - 1e-4).astype(np.float32)
    expected = reference(LOG_SHAPES).logpdf(x.astype(float))
    # float32 knows neither the value nor a shape of 8000 better than to its seventh digit
    np.testing.assert_allclose(FAMILY.log_prob(LOG_SHAPES, x), expected, atol=2e-3)
    gentle = (LOG_SHAPES < 5).all(1)
    np.testing.assert_allclose(FAMILY.log_prob(LOG_SHAPES[gentle], x[gentle]), expected[gentle], atol=5e-5)
    np.testing.assert_allclose(FAMILY.entropy(LOG_SHAPES), reference(LOG_SHAPES).entropy(), atol=1e-4)


def test_features_of_zero_are_the_uniform_distribution():
    zero = np.zeros((7, 2), np.float32)
    np.testing.assert_allclose(
        FAMILY.log_prob(zero, np.linspace(-1.9, 2.9, 7, dtype=np.float32)), -np.log(5), rtol=1e-6
    )
    at_bounds = np.asarray(
        FAMILY.log_prob(zero[:2], np.float32([-2, 3]))
    )  # what rounding may take is room for them, too
    np.testing.assert_allclose(at_bounds, -np.log(5) - np.log(1.25), rtol=1e-5)
    np.testing.assert_allclose(FAMILY.entropy(zero), np.log(5), rtol=1e-6)


def test_gradients_are_those_of_the_formula():
    log_shapes, x, h = LOG_SHAPES[(LOG_SHAPES < 6).all(1)], np.float32(0.7), 1e-5
    for method, of in (
        (lambda f: FAMILY.log_prob(f, x), lambda f: reference(f).logpdf(float(x))),
        (FAMILY.entropy, lambda f: reference(f).entropy()),
    ):
        gradient = jax.grad(lambda f, m=method: m(f).sum())(log_shapes)
        for j in range(2):
            step = h * np.eye(2)[j]
            numeric = (of(log_shapes + step) - of(log_shapes - step)) / (2 * h)
            np.testing.assert_allclose(gradient[:, j], numeric, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shapes", [(-0.7, -0.7), (-0.7, 2.0), (0.0, 0.0), (3.0, 1.0), (0.0, 7.0), (-0.5, 7.0)])
def test_total_is_one_edges_included(shapes):
    """In log-odds, where also peaks at the edges are smooth, and the bands around the edges by themselves."""
    t = np.linspace(-13.8, 13.8, 20_001)
    unit, weights = Beta(), special.expit(t) * special.expit(-t) * (t[1] - t[0])
    features = np.broadcast_to(np.float32(shapes), (len(t), 2))
    inside = np.exp(np.asarray(unit.log_prob(features, special.expit(t).astype(np.float32)), float)) @ weights
    edges = np.exp(np.asarray(unit.log_prob(features[:2], np.float32([0, 1])), float)).sum() * 1.25e-6
    np.testing.assert_allclose(inside + edges, 1, atol=3e-4)


def test_edges_share_the_mass_of_a_millionth():
    """Near 0 the mass is that of u^(a - 1), on average 1/a of the density a millionth inside."""
    features = np.float32([[0.5, 1.0]] * 3)
    low, rounded, inside = np.asarray(FAMILY.log_prob(features, np.float32([-2.0, -2.000001, -1.999995])))
    assert low == rounded and abs(low - inside + 0.5 + np.log(1.25)) < 0.05
    gradient = jax.grad(lambda f: FAMILY.log_prob(f, np.float32([-2.0, 3.0, 3.0])).sum())(features)
    assert np.isfinite(gradient).all() and (np.asarray(gradient) != 0).all()


def test_values_outside_are_impossible():
    features = np.zeros((2, 2), np.float32)
    assert (np.asarray(FAMILY.log_prob(features, np.float32([-2.1, 3.1]))) == -np.inf).all()
    gradient = jax.grad(lambda f: FAMILY.log_prob(f, np.float32([-2.1, 3.1])).sum())(features)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("shapes", [(-0.7, -0.6), (-0.6, -0.7), (0.5, -0.5), (-0.5, 3.0), (1.0, 2.0), (9.0, 8.0)])
def test_mode_is_highest_of_all(shapes):
    features = np.broadcast_to(np.float32(shapes), (10_001, 2))
    x = np.linspace(-2, 3, 10_001, dtype=np.float32)
    mode = FAMILY.mode(features[:1])
    assert FAMILY.log_prob(features[:1], mode) >= FAMILY.log_prob(features, x).max() - 1e-3


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_temperature_divides_the_concentration(temperature):
    features = np.broadcast_to(np.float32([0.2, 1.2]), (10_000, 2))
    samples = np.asarray(FAMILY.sample(jax.random.key(0), features, temperature))
    expected = stats.beta(np.exp(0.2) / temperature, np.exp(1.2) / temperature, loc=-2, scale=5)
    assert stats.kstest(samples, expected.cdf).pvalue > 1e-3
    assert stats.kstest(samples + 0.1, expected.cdf).pvalue < 1e-3


def test_samples_keep_within_the_bounds():
    family, features = Beta(0.1, 0.7), np.float32([[-9, 9], [9, -9], [-9, -9], [9, 9]] * 500)
    x = family.sample(jax.random.key(1), features)
    assert np.isfinite(family.log_prob(features, x)).all()
    assert x.min() >= np.float32(0.1) and x.max() <= np.float32(0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("low=1, high=1", "low of the conditional 'beta' must be below high, not 1.0 with high=1.0"),
        ("low='a'", "the option 'low' of the conditional 'beta' must be a number, not 'a'"),
        ("high=1e999", "high of the conditional 'beta' must be a number, not inf"),
        ("min_log_shape=10", "min_log_shape of the conditional 'beta' must be from -5 to 9, not 10.0"),
        (
            "lo=0",
            "conditional 'beta' has no option 'lo', did you mean 'low'?; its options are: low, high, min_log_shape",
        ),
    ],
)
def test_bounds_that_make_no_sense(options, message):
    with pytest.raises(UserError) as error:
        make_conditional(f"beta({options})", REAL)
    assert str(error.value) == message
