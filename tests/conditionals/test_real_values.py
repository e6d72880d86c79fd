"""Families of real values: densities that integrate to one, with samples, entropies and modes that belong to them.

Rational-quadratic splines are compared with their equations.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_family
from scipy import integrate, stats

from arjax.conditionals import make_conditional
from arjax.conditionals.gaussian import Gaussian
from arjax.conditionals.location_scale_mixture import GaussianMixture, LogisticMixture, StudentTMixture
from arjax.conditionals.spline import SplineNormal, forward, inverse, make_spline
from arjax.core.spec import EventSpec
from arjax.testing.conditional import random_features

SCALAR, VECTOR = EventSpec((3,), (), "real", 0), EventSpec((3,), (2,), "real", 0)
#: A density with edges or peaks at them cannot be searched on a grid.
NAMES = ("gaussian", "gaussian_mixture", "logistic_mixture", "student_t_mixture",
         "spline(bins=2, bound=2, min_log_scale=1.0)")  # fmt: skip
#: Mixtures of one class: another of them is fast, and their formulas are tested below.
MIXTURES = ("logistic_mixture", "student_t_mixture")
each_family = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in MIXTURES)) for name in NAMES]
)

#: Points at which every family is asked, and draws at the first of them.
POINTS, DRAWS = 20, 4000
KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0)
def _facts(family, features, value, temperature) -> dict[str, jax.Array]:
    """Modes and entropies at all points; log p of the modes, then of the values, with gradients; draws."""
    mode = family.mode(features)
    score = jax.vmap(jax.value_and_grad(family.log_prob))
    log_p, gradient = score(jnp.concatenate([features, features]), jnp.concatenate([mode, value]))
    many = jnp.concatenate([features, jnp.broadcast_to(features[0], (DRAWS, family.num_params))])
    samples = family.sample(KEY, many, temperature)
    return {"mode": mode, "entropy": family.entropy(features), "log_p": log_p, "gradient": gradient, "samples": samples}


@functools.cache
def features_of(family) -> np.ndarray:
    """One point of usual size, and some of smaller and larger."""
    return random_features(family, POINTS, 1.0) * np.repeat(np.float32([1.0, 0.3, 1.5]), [1, 9, 10])[:, None]


@functools.cache
def facts(family, temperature: float = 1.0) -> dict[str, np.ndarray]:
    """`_facts` at `features_of` the family, and at values of 0."""
    zeros = np.zeros((POINTS, *family.value_shape), np.float32)
    return jax.tree.map(np.asarray, _facts(family, features_of(family), zeros, np.float32(temperature)))


@each_family
def test_mode_is_where_the_density_is_highest(name):
    family = make_conditional(name, SCALAR)
    x = np.broadcast_to(np.sinh(np.linspace(-11, 11, 20_001)).astype(np.float32), (POINTS, 20_001))
    highest = np.asarray(of_family(family, "log_prob", features_of(family)[:, None], x)).max(-1)
    assert (facts(family)["log_p"][:POINTS] >= highest - 1e-3).all()


@each_family
def test_scalars_of_a_vector_are_independent_and_stand_one_after_another(name):
    scalar, vector = make_conditional(name, SCALAR), make_conditional(name, VECTOR)
    features, values = features_of(vector), np.float32([0.4, -1.2]) * np.ones((POINTS, 1), np.float32)
    sample = jax.eval_shape(vector.sample, KEY, features)
    assert (sample.shape, sample.dtype) == ((POINTS, 2), jnp.float32)
    mode, entropy, log_p = jax.jit(lambda f, x: (vector.mode(f), vector.entropy(f), vector.log_prob(f, x)))(
        features, values
    )
    halves = [_facts(scalar, f, x, np.float32(1)) for f, x in zip(np.split(features, 2, 1), values.T, strict=True)]
    np.testing.assert_allclose(mode, np.stack([half["mode"] for half in halves], -1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(entropy, sum(half["entropy"] for half in halves), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_p, sum(half["log_p"][POINTS:] for half in halves), rtol=1e-4, atol=1e-5)


@each_family
def test_extreme_features_stay_finite(name):
    family = make_conditional(name, SCALAR)
    size = np.repeat(np.float32([1e2, 1e4]), POINTS // 2)[:, None]
    found = _facts(
        family, size * np.sign(random_features(family, POINTS, 1.0)), np.zeros(POINTS, np.float32), np.float32(1)
    )
    for kind, value in found.items():
        assert np.isfinite(value).all(), kind


@each_family
def test_low_temperatures_narrow_the_samples(name):
    family = make_conditional(name, SCALAR)
    cold, warm = (facts(family, temperature)["samples"][POINTS:].std() for temperature in (0.01, 1.0))
    assert cold < 0.3 * warm


def test_gaussian_formula():
    features, x = np.float32([[0.5, -1.0], [-2.0, 3.0], [0.0, -40.0]]), np.float32([0.1, 4.0, 0.001])
    scales = np.exp(np.maximum(features[:, 1], -7.0))
    expected = stats.norm.logpdf(x, features[:, 0], scales)
    entropy = stats.norm.entropy(features[:, 0], scales)
    np.testing.assert_allclose(of_family(Gaussian(), "log_prob", features, x), expected, rtol=1e-4)
    np.testing.assert_allclose(of_family(Gaussian(), "entropy", features), entropy, rtol=1e-5)


def test_a_gaussian_of_temperature_t_has_t_times_the_variance():
    features = np.tile(np.float32([1.0, 0.5]), (20_000, 1))
    samples = of_family(Gaussian(), "sample", KEY, features, 4.0)
    assert stats.kstest(np.asarray(samples), stats.norm(1.0, 2 * np.exp(0.5)).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("family", "standard"),
    [
        (LogisticMixture(3), stats.logistic),
        (GaussianMixture(3), stats.norm),
        (StudentTMixture(3), stats.t(4)),
        (StudentTMixture(3, dof=2.5), stats.t(2.5)),
    ],
)
def test_mixture_formula(family, standard):
    features, x = random_features(family, 8, 1.0), np.linspace(-4, 4, 8, dtype=np.float32)
    logits, means, log_scales = features.astype(float).reshape(8, 3, 3).transpose(1, 0, 2)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    p = (weights * standard.pdf((x[:, None] - means) / np.exp(log_scales)) / np.exp(log_scales)).sum(-1)
    np.testing.assert_allclose(of_family(family, "log_prob", features, x), np.log(p), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", [LogisticMixture(1), GaussianMixture(1), StudentTMixture(1, dof=3.0)])
def test_curvature_is_how_strongly_a_component_pulls(family):
    z = np.linspace(0.05, 12, 50, dtype=np.float32)
    curvature, slope = jax.jit(lambda z: (family.curvature(z), jax.vmap(jax.grad(family.log_standard))(z)))(z)
    np.testing.assert_allclose(curvature, -np.asarray(slope) / z, rtol=1e-4)


def test_entropy_of_components_of_very_different_scales():
    """A needle on a hill: points must lie where either bends."""
    features = np.float32([[0.0, 0.0, 0.3, -2.0, -6.0, 1.5]])
    family = LogisticMixture(2)
    x = np.unique(np.concatenate([np.linspace(-150, 150, 200_001), 0.3 + 0.06 * np.linspace(-1, 1, 100_001)]))
    parameters = features.astype(float).reshape(3, 2)
    weights, scales = np.exp(parameters[0]) / np.exp(parameters[0]).sum(), np.exp(parameters[2])
    p = sum(w * stats.logistic.pdf(x, m, s) for w, m, s in zip(weights, parameters[1], scales, strict=True))
    expected = -np.trapezoid(p * np.log(p), x)
    np.testing.assert_allclose(of_family(family, "entropy", features), expected, atol=1e-3)


@pytest.mark.parametrize("dof", [2.0, *(pytest.param(dof, marks=pytest.mark.slow) for dof in (3.0, 30.0)), 1000.0])
def test_entropy_of_heavy_tails(dof):
    log_scales = np.float32([-7, 0, 6])
    features = np.float32([[0.3, -0.5, 1.5, 1.5, s, s] for s in log_scales])  # twice the same component
    entropy = of_family(StudentTMixture(2, dof=dof), "entropy", features)
    np.testing.assert_allclose(entropy, stats.t(dof).entropy() + log_scales, atol=3e-4)


def test_an_outlier_costs_a_student_t_a_logarithm():
    features, x = np.zeros(3, np.float32), np.float32(100)
    student, normal = (of_family(family(1), "log_prob", features, x) for family in (StudentTMixture, GaussianMixture))
    assert -23 < student < -18 and normal < -5000


def test_samples_of_a_student_t_of_temperature_t():
    features = np.zeros((20_000, 3), np.float32)
    samples = np.asarray(of_family(StudentTMixture(1, dof=3.0), "sample", KEY, features, 4.0))
    assert stats.kstest(samples / 2, stats.t(3.0).cdf).pvalue > 1e-3
    assert stats.kstest(samples / 2, stats.t(4.0).cdf).pvalue < 1e-3


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
