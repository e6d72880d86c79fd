"""Beta conditionals against scipy, at their edges, and the sentences for options that make no sense."""

import functools

import jax
import numpy as np
import pytest
from compiled import of_family
from scipy import special, stats

from arjax.conditionals import Beta, make_conditional
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

REAL = EventSpec((3,), (), "real", 0)
FAMILY = Beta(-2.0, 3.0)
LOG_SHAPES = np.random.default_rng(0).uniform(-0.7, 9, (500, 2)).astype(np.float32)


#: Rows of every call: one compiled program of each method and family answers all tests.
NUM = 20_001


def call(family: Beta, method: str, features: np.ndarray, *value: np.ndarray) -> np.ndarray:
    """A method that maps rows to rows."""
    filled = [np.resize(a, (NUM, *a.shape[1:])) for a in (features, *value)]
    return np.asarray(of_family(family, method, *filled))[: len(features)]


@jax.jit
def gradients(features: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Those of log p and of the entropy, by the features [500, 2]."""
    of_score = jax.grad(lambda f: FAMILY.log_prob(f, value).sum())
    return of_score(features), jax.grad(lambda f: FAMILY.entropy(f).sum())(features)


def reference(log_shapes: np.ndarray):
    """The distributions of scipy, of all rows of log a, log b."""
    a, b = np.exp(log_shapes.astype(float)).T
    return stats.beta(a, b, loc=-2, scale=5)


def test_formula_in_data_units():
    x = np.clip(reference(LOG_SHAPES).rvs(random_state=1), -2 + 1e-4, 3 - 1e-4).astype(np.float32)
    expected, found = reference(LOG_SHAPES).logpdf(x.astype(float)), call(FAMILY, "log_prob", LOG_SHAPES, x)
    # float32 knows neither the value nor a shape of 8000 better than to its seventh digit
    np.testing.assert_allclose(found, expected, atol=2e-3)
    gentle = (LOG_SHAPES < 5).all(1)
    np.testing.assert_allclose(found[gentle], expected[gentle], atol=5e-5)
    np.testing.assert_allclose(call(FAMILY, "entropy", LOG_SHAPES), reference(LOG_SHAPES).entropy(), atol=1e-4)


def test_features_of_zero_are_the_uniform_distribution():
    zero = np.zeros((9, 2), np.float32)
    log_p = call(FAMILY, "log_prob", zero, np.float32([*np.linspace(-1.9, 2.9, 7), -2, 3]))
    np.testing.assert_allclose(log_p[:7], -np.log(5), rtol=1e-6)
    np.testing.assert_allclose(log_p[7:], -np.log(5) - np.log(1.25), rtol=1e-5)  # room for what rounding may take, too
    np.testing.assert_allclose(call(FAMILY, "entropy", zero), np.log(5), rtol=1e-6)


def test_gradients_are_those_of_the_formula():
    log_shapes, h = np.where(LOG_SHAPES < 6, LOG_SHAPES, LOG_SHAPES - 3), 1e-5
    found = gradients(log_shapes, np.full(500, 0.7, np.float32))
    for gradient, of in zip(found, (lambda f: reference(f).logpdf(0.7), lambda f: reference(f).entropy()), strict=True):
        for j in range(2):
            step = h * np.eye(2)[j]
            numeric = (of(log_shapes + step) - of(log_shapes - step)) / (2 * h)
            np.testing.assert_allclose(gradient[:, j], numeric, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "shapes", [(-0.7, -0.7), (-0.7, 2.0), (0.0, 0.0), (3.0, 1.0), (0.0, 7.0), (-0.5, 7.0), (-0.7, 9.0)]
)
def test_total_is_one_edges_included(shapes):
    """In log-odds, where also peaks at the edges are smooth, and the bands around the edges by themselves."""
    edge = special.logit(1 - 1.0001e-6)
    t = np.linspace(-edge, edge, NUM - 2)
    inside = special.expit(t) * special.expit(-t) * (t[1] - t[0])
    inside[[0, -1]] /= 2  # the rule of trapezoids
    weights = np.concatenate([inside, [1.25e-6, 1.25e-6]])
    x = np.concatenate([special.expit(t), [0, 1]]).astype(np.float32)
    total = np.exp(call(Beta(), "log_prob", np.float32([shapes] * NUM), x).astype(float)) @ weights
    np.testing.assert_allclose(total, 1, atol=3e-4)


def test_edges_share_the_mass_of_a_millionth():
    """Near 0 the mass is that of u^(a - 1), on average 1/a of the density a millionth inside."""
    features, bounds = np.float32([[0.5, 1.0]] * 3), np.float32([-2.0, -2.000001, -1.999995])
    low, rounded, inside = call(FAMILY, "log_prob", features, bounds)
    assert low == rounded and abs(low - inside + 0.5 + np.log(1.25)) < 0.05
    gradient, _ = gradients(np.float32([[0.5, 1.0]] * 500), np.resize(np.float32([-2.0, 3.0]), 500))
    assert np.isfinite(gradient).all() and (np.asarray(gradient) != 0).all()


def test_values_outside_are_impossible():
    features, outside = np.zeros((500, 2), np.float32), np.resize(np.float32([-2.1, 3.1]), 500)
    assert (call(FAMILY, "log_prob", features, outside) == -np.inf).all()
    assert np.isfinite(gradients(features, outside)[0]).all()


@pytest.mark.parametrize("shapes", [(-0.7, -0.6), (-0.6, -0.7), (0.5, -0.5), (-0.5, 3.0), (1.0, 2.0), (9.0, 8.0)])
def test_mode_is_highest_of_all(shapes):
    features, x = np.float32([shapes] * 10_001), np.linspace(-2, 3, 10_001, dtype=np.float32)
    mode = call(FAMILY, "mode", features[:1])
    rounding = 2e-3 if max(shapes) > 8 else 1e-3
    assert call(FAMILY, "log_prob", features[:1], mode) >= call(FAMILY, "log_prob", features, x).max() - rounding


@functools.partial(jax.jit, static_argnums=0)
def draws(family: Beta, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    return family.sample(jax.random.key(0), features, temperature)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_temperature_divides_the_concentration(temperature):
    samples = np.asarray(draws(FAMILY, np.float32([[0.2, 1.2]] * 10_000), temperature))
    expected = stats.beta(np.exp(0.2) / temperature, np.exp(1.2) / temperature, loc=-2, scale=5)
    assert stats.kstest(samples, expected.cdf).pvalue > 1e-3
    assert stats.kstest(samples + 0.1, expected.cdf).pvalue < 1e-3


def test_samples_keep_within_the_bounds():
    family, features = Beta(0.1, 0.7), np.float32([[-9, 9], [9, -9], [-9, -9], [9, 9]] * 500)
    x = np.asarray(draws(family, features))
    assert np.isfinite(call(family, "log_prob", features, x)).all()
    assert x.min() >= np.float32(0.1) and x.max() <= np.float32(0.7)


def test_the_lower_bound_of_a_beta_is_below_the_upper():
    for bounds in ("low=0.9", "high=0.1", "low=-1e9, high=-1e8"):
        make_conditional(f"beta({bounds})", REAL)
    for bounds in ("low=1", "high=0", "low=2, high=1", "low=1e999"):
        with pytest.raises(UserError, match=r"(low|high)\b"):
            make_conditional(f"beta({bounds})", REAL)
