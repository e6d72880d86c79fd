"""Families of real values: densities that integrate to one, with samples, entropies and modes that belong to them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from arjax.conditionals import (
    CONDITIONALS,
    Gaussian,
    GaussianMixture,
    LogisticMixture,
    StudentTMixture,
    make_conditional,
)
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

SCALAR, VECTOR = EventSpec((3,), (), "real", 0), EventSpec((3,), (2,), "real", 0)


def fits(name: str) -> bool:
    try:
        make_conditional(name, SCALAR)
    except UserError:
        return False
    return True


#: A density with edges or peaks at them cannot be integrated on a grid; tests/conditionals/test_beta.py has those.
OPTIONS = {"beta": "(low=-3, high=4, min_log_shape=1.1)"}
NAMES = [name + OPTIONS.get(name, "") for name in CONDITIONALS.names() if fits(name)]
each_family = pytest.mark.parametrize("name", NAMES)
#: Of joint families modes are greedy, entropies estimates, and the scalars of a vector depend on one another.
each_simple_family = pytest.mark.parametrize(
    "name", [name for name in NAMES if not make_conditional(name, SCALAR).joint]
)


@functools.partial(jax.jit, static_argnums=(0, 1))
def call(family, method: str, *args) -> jax.Array:
    """A method of a family as one compiled program."""
    return getattr(family, method)(*args)


@functools.partial(jax.jit, static_argnums=0)
def score_and_gradient(family, features, value):
    return jax.value_and_grad(lambda f: family.log_prob(f, value).sum())(features)


def random_features(family, num: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=(num, family.num_params))).astype(np.float32)


def density(family, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, weights [N] of a trapezoid rule, and log p [B, N]; dense near 0, far enough out for every scale."""
    t = np.linspace(-11, 11, 20_001)
    x, weights = np.sinh(t), np.cosh(t) * (t[1] - t[0])
    many = np.broadcast_to(x.astype(np.float32), (len(features), len(x)))
    return x, weights, np.asarray(call(family, "log_prob", features[:, None], many), float)


@each_family
def test_density_integrates_to_one(name):
    family = make_conditional(name, SCALAR)
    _, weights, log_p = density(family, random_features(family, 10, 1.5))
    np.testing.assert_allclose(np.exp(log_p) @ weights, 1, atol=1e-5)


@each_simple_family
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_entropy_is_that_of_the_density(name, scale):
    family = make_conditional(name, SCALAR)
    features = random_features(family, 10, scale, seed=1)
    _, weights, log_p = density(family, features)
    np.testing.assert_allclose(call(family, "entropy", features), special.entr(np.exp(log_p)) @ weights, atol=1e-4)


@each_simple_family
def test_mode_is_where_the_density_is_highest(name):
    family = make_conditional(name, SCALAR)
    features = random_features(family, 20, 1.5, seed=2)
    mode = call(family, "mode", features)
    assert (mode.shape, mode.dtype) == ((20,), jnp.float32)
    at_mode = np.asarray(call(family, "log_prob", features, mode))
    assert (at_mode >= density(family, features)[2].max(-1) - 1e-3).all()


@each_family
def test_samples_follow_the_density(name):
    family = make_conditional(name, SCALAR)
    features = random_features(family, 1, 1.0, seed=3)
    samples = np.asarray(call(family, "sample", jax.random.key(0), np.tile(features, (4000, 1))))
    x, weights, log_p = density(family, features)
    cumulative = np.cumsum(np.exp(log_p[0]) * weights)
    assert stats.kstest(samples, lambda s: np.interp(s, x, cumulative)).pvalue > 1e-3
    assert stats.kstest(1.15 * samples + 0.1, lambda s: np.interp(s, x, cumulative)).pvalue < 1e-3  # it can fail


@each_simple_family
def test_scalars_of_a_vector_are_independent_and_stand_one_after_another(name):
    scalar, vector = make_conditional(name, SCALAR), make_conditional(name, VECTOR)
    features = random_features(vector, 6)
    value = call(vector, "sample", jax.random.key(1), features)
    assert (value.shape, value.dtype) == ((6, 2), jnp.float32)
    halves = features.reshape(6, 2, -1)
    np.testing.assert_allclose(
        call(vector, "log_prob", features, value), call(scalar, "log_prob", halves, value).sum(-1), rtol=1e-4, atol=1e-5
    )
    for method, total in (("entropy", lambda h: h.sum(-1)), ("mode", lambda m: m)):
        np.testing.assert_allclose(
            call(vector, method, features), total(call(scalar, method, halves)), rtol=1e-4, atol=1e-4
        )


@each_family
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_features_stay_finite(name, size):
    family = make_conditional(name, SCALAR)
    features = np.float32(size) * np.sign(random_features(family, 20))
    for value in (call(family, "mode", features), np.zeros(20, np.float32)):
        for result in score_and_gradient(family, features, value):
            assert np.isfinite(result).all()
    assert np.isfinite(call(family, "entropy", features)).all()
    assert np.isfinite(call(family, "sample", jax.random.key(0), features)).all()


@each_simple_family
def test_low_temperatures_narrow_the_samples(name):
    family = make_conditional(name, SCALAR)
    features = np.tile(random_features(family, 1, seed=4), (500, 1))
    spread = [np.asarray(call(family, "sample", jax.random.key(5), features, t)).std() for t in (0.01, 1.0)]
    assert spread[0] < 0.3 * spread[1]


def test_gaussian_formula():
    features, x = np.float32([[0.5, -1.0], [-2.0, 3.0], [0.0, -40.0]]), np.float32([0.1, 4.0, 0.001])
    scales = np.exp(np.maximum(features[:, 1], -7.0))
    expected = stats.norm.logpdf(x, features[:, 0], scales)
    np.testing.assert_allclose(Gaussian().log_prob(features, x), expected, rtol=1e-4)
    np.testing.assert_allclose(Gaussian().entropy(features), stats.norm.entropy(features[:, 0], scales), rtol=1e-5)


def test_a_gaussian_of_temperature_t_has_t_times_the_variance():
    features = np.tile(np.float32([1.0, 0.5]), (20_000, 1))
    samples = Gaussian().sample(jax.random.key(6), features, 4.0)
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
    features, x = random_features(family, 8), np.linspace(-4, 4, 8, dtype=np.float32)
    logits, means, log_scales = features.astype(float).reshape(8, 3, 3).transpose(1, 0, 2)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    p = (weights * standard.pdf((x[:, None] - means) / np.exp(log_scales)) / np.exp(log_scales)).sum(-1)
    np.testing.assert_allclose(family.log_prob(features, x), np.log(p), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", [LogisticMixture(1), GaussianMixture(1), StudentTMixture(1, dof=3.0)])
def test_curvature_is_how_strongly_a_component_pulls(family):
    z = np.linspace(0.05, 12, 50, dtype=np.float32)
    slope = jax.vmap(jax.grad(family.log_standard))(z)
    np.testing.assert_allclose(family.curvature(z), -slope / z, rtol=1e-4)


def test_entropy_of_components_of_very_different_scales():
    """A needle on a hill: points must lie where either bends."""
    features = np.float32([[0.0, 0.0, 0.3, -2.0, -6.0, 1.5]])
    family = LogisticMixture(2)
    x = np.unique(np.concatenate([np.linspace(-150, 150, 200_001), 0.3 + 0.06 * np.linspace(-1, 1, 100_001)]))
    parameters = features.astype(float).reshape(3, 2)
    weights, scales = np.exp(parameters[0]) / np.exp(parameters[0]).sum(), np.exp(parameters[2])
    p = sum(w * stats.logistic.pdf(x, m, s) for w, m, s in zip(weights, parameters[1], scales, strict=True))
    expected = -np.trapezoid(p * np.log(p), x)
    np.testing.assert_allclose(call(family, "entropy", features), expected, atol=1e-3)


@pytest.mark.parametrize("dof", [2.0, 3.0, 30.0, 1000.0])
@pytest.mark.parametrize("log_scale", [-7.0, 0.0, 6.0])
def test_entropy_of_heavy_tails(dof, log_scale):
    family, expected = StudentTMixture(2, dof=dof), stats.t(dof).entropy() + log_scale
    features = np.float32([[0.3, -0.5, 1.5, 1.5, log_scale, log_scale]])  # twice the same component
    np.testing.assert_allclose(call(family, "entropy", features), expected, atol=3e-4)


def test_an_outlier_costs_a_student_t_a_logarithm():
    features, x = np.zeros(3, np.float32), np.float32(100)
    student, normal = (family(1).log_prob(features, x) for family in (StudentTMixture, GaussianMixture))
    assert -23 < student < -18 and normal < -5000


def test_samples_of_a_student_t_of_temperature_t():
    features = np.zeros((20_000, 3), np.float32)
    samples = np.asarray(StudentTMixture(1, dof=3.0).sample(jax.random.key(6), features, 4.0))
    assert stats.kstest(samples / 2, stats.t(3.0).cdf).pvalue > 1e-3
    assert stats.kstest(samples / 2, stats.t(4.0).cdf).pvalue < 1e-3


@pytest.mark.parametrize("dof", [1.9, 1001, True, "4", float("nan")])
def test_degrees_of_freedom_have_bounds(dof):
    with pytest.raises(UserError, match=r"^dof of the conditional 'student_t_mixture' must be a number from 2 to 1000"):
        StudentTMixture.for_event(SCALAR, dof=dof)


@pytest.mark.parametrize("name", ["gaussian", "gaussian_mixture", "logistic_mixture", "student_t_mixture", "beta"])
def test_levels_are_refused(name):
    with pytest.raises(UserError, match=rf"^the conditional '{name}' needs real data, not levels"):
        make_conditional(name, EventSpec((3,), (), "levels", 4))


def test_real_data_is_gaussian_unless_said_otherwise():
    assert make_conditional("", VECTOR) == Gaussian((2,))
    assert make_conditional("gaussian(min_log_scale=-2)", VECTOR) == Gaussian((2,), -2.0)
