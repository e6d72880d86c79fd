"""Rational-quadratic splines against their equations, and the conditional made of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from arjax.conditionals import SplineNormal, make_conditional
from arjax.conditionals.spline import forward, inverse, make_spline
from arjax.core.spec import EventSpec

SCALAR = EventSpec((3,), (), "real", 0)
BOUND, BINS = 3.0, 5


def raw_of(seed: int, scale: float, num: int = 6) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=(num, 3 * BINS - 1))).astype(np.float32)


def by_hand(raw: np.ndarray, x: float) -> float:
    """Equation 4 of Durkan et al. (2019) for one spline, in float64."""
    widths, heights, slopes = np.split(raw.astype(float), [BINS, 2 * BINS])
    knots = [
        BOUND * (2 * np.cumsum([0, *(1e-3 + (1 - BINS * 1e-3) * np.exp(r) / np.exp(r).sum())]) - 1)
        for r in (widths, heights)
    ]
    delta = np.array([1, *(1e-3 + np.log1p(np.exp(slopes + np.log(np.expm1(1 - 1e-3))))), 1])
    if abs(x) >= BOUND:
        return x
    k = np.searchsorted(knots[0], x, side="right") - 1
    w, h = knots[0][k + 1] - knots[0][k], knots[1][k + 1] - knots[1][k]
    s, xi = h / w, (x - knots[0][k]) / w
    top = h * (s * xi**2 + delta[k] * xi * (1 - xi))
    return knots[1][k] + top / (s + (delta[k + 1] + delta[k] - 2 * s) * xi * (1 - xi))


@jax.jit
def both_directions(raw, x):
    """y, log dy/dx, the slope by differentiation, and x and log dy/dx again from y; [N, P] each."""
    spline = jax.tree.map(lambda knots: knots[:, None], make_spline(raw, BOUND))
    y, log_slope = forward(spline, x)
    _, slope = jax.jvp(lambda x: forward(spline, x)[0], (x,), (jnp.ones_like(x),))
    return y, log_slope, slope, *inverse(spline, y)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_it_is_the_spline_of_the_paper_and_its_inverse(scale):
    raw = raw_of(0, scale)
    x = np.tile(np.linspace(-4, 4, 161, dtype=np.float32), (len(raw), 1))
    y, log_slope, slope, back, log_slope_back = map(np.asarray, both_directions(raw, x))
    expected = [[by_hand(r, each) for each in row] for r, row in zip(raw, x, strict=True)]
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(np.exp(log_slope), slope, rtol=2e-3, atol=1e-5)
    well = slope > 0.05  # where it is flatter, an inverse magnifies rounding
    assert well.mean() > 0.7
    np.testing.assert_allclose(back[well], x[well], atol=2e-4)
    np.testing.assert_allclose(log_slope_back[well], log_slope[well], atol=2e-2)
    if scale == 0:
        np.testing.assert_allclose(y, x, atol=1e-6)


def test_bins_at_their_least_size_stay_finite():
    raw = np.float32([[50, 0, 0, 0, -50, -50, 0, 0, 0, 50, -50, 50, -50, 50]])
    x = np.linspace(-3.5, 3.5, 200, dtype=np.float32)[None]
    for found in both_directions(raw, x):
        assert np.isfinite(found).all()
    gradient = jax.jit(jax.grad(lambda raw: jnp.sum(jnp.stack(both_directions(raw, x)[:2]))))(raw)
    assert np.isfinite(gradient).all()


def test_entropy_of_narrow_bins():
    """With the knots as breakpoints, quadratures see every bin."""
    family = SplineNormal(BINS, BOUND)
    features = np.concatenate([np.float32([[0.3, -1.0]] * 6), raw_of(1, 2.0)], -1)
    found = np.asarray(jax.jit(family.entropy)(features))
    log_prob, knots_of = jax.jit(family.log_prob), jax.jit(lambda raw: make_spline(raw, BOUND).x)
    for each, entropy in zip(features, found, strict=True):
        knots = np.asarray(knots_of(each[2:]), float) * np.exp(-1) + 0.3
        ends = [knots[0] - 4, *knots, knots[-1] + 4]
        total = 0.0
        for low, high in itertools.pairwise(ends):
            x = np.linspace(low, high, 4001)
            log_p = np.asarray(log_prob(np.tile(each, (4001, 1)), x.astype(np.float32)), float)
            total -= integrate.simpson(np.exp(log_p) * log_p, x=x)
        assert abs(entropy - total) < 2e-3


def test_without_bends_it_is_normal():
    family = make_conditional("spline(bins=3, bound=2)", SCALAR)
    features = np.zeros((50, family.num_params), np.float32)
    features[:, 0], features[:, 1] = 0.7, -0.4
    x = np.linspace(-3, 3, 50, dtype=np.float32)
    expected = stats.norm.logpdf(x, 0.7, np.exp(-0.4))
    np.testing.assert_allclose(jax.jit(family.log_prob)(features, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "spline"])
def test_a_soft_bound_of_the_scale(name):
    """Of a spline whose other parameters are all 0, which is N(m, s^2), too."""
    family = make_conditional(f"{name}(scale_bound=2)", SCALAR)
    features, x = np.float32([[0.0, 0.1], [0.0, 1.0], [0.5, -50.0]]), np.float32([0.3, -2.0, 0.4])
    scales = np.exp(2 * np.tanh(features[:, 1] / 2))
    expected = stats.norm.logpdf(x, features[:, 0], scales)
    features = np.pad(features, ((0, 0), (0, family.num_params - 2)))
    np.testing.assert_allclose(jax.jit(family.log_prob)(features, x), expected, rtol=1e-5)
