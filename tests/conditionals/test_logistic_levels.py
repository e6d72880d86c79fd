"""Discretized mixtures of logistics: equations 2 and 3 of PixelCNN++, exact at the edges and at every scale."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_family
from scipy import special, stats

from arjax.conditionals import make_conditional
from arjax.conditionals.discretized_logistic_mixture import DiscretizedLogisticMixture
from arjax.conditionals.numerics import stratified_points
from arjax.core.spec import EventSpec

rng = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnums=0)
def gradient_of(family, features, value):
    return jax.grad(family.log_prob)(features, value)


def equation_2_and_3(features: np.ndarray, pixel: np.ndarray, num_levels: int, components: int) -> float:
    """log p of one pixel of c coupled channels in float64, component by component and channel by channel."""
    c, half = len(pixel), (num_levels - 1) / 2
    parts = np.split(features.astype(float), np.cumsum([components, components * c, components * c]))
    x, terms = pixel / half - 1, []
    for k in range(components):
        log_p = special.log_softmax(parts[0])[k]
        means, log_scales = (part.reshape(components, c)[k] for part in parts[1:3])
        couplings = iter(np.tanh(parts[3].reshape(components, -1)[k]))
        for j in range(c):
            mean = means[j] + sum(next(couplings) * x[i] for i in range(j))
            scale = np.exp(np.clip(log_scales[j], -7, 20))
            upper = np.inf if pixel[j] == num_levels - 1 else (x[j] + 0.5 / half - mean) / scale
            lower = -np.inf if pixel[j] == 0 else (x[j] - 0.5 / half - mean) / scale
            if lower > 0:  # on the side where both tails are small, as 1 - F(a) = F(-a)
                lower, upper = -upper, -lower
            log_p += np.log(special.expit(upper) - special.expit(lower))
        terms.append(log_p)
    return special.logsumexp(terms)


@pytest.mark.parametrize(
    ("num_levels", "c"),
    [(5, 2), (256, 3), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, 1), (256, 1), (1000, 2)))],
)
def test_log_prob_is_the_equation(num_levels, c):
    family = DiscretizedLogisticMixture(num_levels, (c,), components=4)
    features = rng.normal(size=(30, family.num_params)).astype(np.float32)
    pixels = rng.integers(0, num_levels, (30, c))
    pixels[:6] = 0
    pixels[6:12] = num_levels - 1
    expected = [equation_2_and_3(f, p, num_levels, 4) for f, p in zip(features, pixels, strict=True)]
    np.testing.assert_allclose(of_family(family, "log_prob", features, pixels), expected, rtol=1e-3, atol=1e-3)


def test_ten_components_of_three_channels_are_the_hundred_features_of_the_paper():
    image = EventSpec((32, 32), (3,), "levels", 256)
    assert make_conditional("discretized_logistic_mixture", image).num_params == 100
    assert make_conditional("discretized_logistic_mixture(coupling='none')", image).num_params == 90


def single(num_levels: int, mean, log_scale: float) -> tuple[DiscretizedLogisticMixture, np.ndarray]:
    """One component: features are (logit, mean, log-scale)."""
    family = DiscretizedLogisticMixture(num_levels, components=1, min_log_scale=-20.0)
    return family, np.stack(np.broadcast_arrays(np.float32(0), np.float32(mean), np.float32(log_scale)), -1)


@pytest.mark.parametrize("num_levels", [pytest.param(2, marks=pytest.mark.slow), 256, 65536])
@pytest.mark.parametrize("log_scale", [-18.0, -11.0, -7.0, -3.0, 0.0, 5.0])
def test_levels_sum_to_one_at_every_scale(num_levels, log_scale):
    means = (-3.0, -1.0, 0.1234567, 1.0, 40.0)
    family, features = single(num_levels, np.float32(means), log_scale)
    levels = np.tile(np.arange(num_levels)[:, None], len(means))
    log_p = np.asarray(of_family(family, "log_prob", np.broadcast_to(features, (*levels.shape, 3)), levels), float)
    np.testing.assert_allclose(np.exp(log_p).sum(0), 1, atol=2e-6)


def test_a_single_level_is_certain():
    """A discrete column of a table may have one level: log p, entropy and their gradients are 0."""
    family = make_conditional("discretized_logistic_mixture(components=2)", EventSpec((), (), "levels", 1))
    features = jnp.arange(family.num_params, dtype=jnp.float32)
    values_and_gradients = jax.value_and_grad(lambda f: family.log_prob(f, jnp.int32(0)) + family.entropy(f))
    for found in jax.tree.leaves(jax.jit(values_and_gradients)(features)):
        np.testing.assert_allclose(found, 0, atol=1e-6)
    assert family.sample(jax.random.key(0), features) == 0


@pytest.mark.parametrize("log_scale", [-18.0, -9.0, -7.0, 0.0, 15.0])
@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
def test_gradients_are_finite_and_right_at_tiny_scales(log_scale, level):
    """Against float64 differences of the log of the stable product."""
    family, features = single(256, 0.3, log_scale)
    gradient = np.asarray(gradient_of(family, features, np.int32(level)))
    assert np.isfinite(gradient).all() and (gradient[1:] != 0).any()

    def exact(mean: float, log_s: float) -> float:
        inverse = np.exp(-log_s) / 127.5
        a, b = (level - 127.5 + e - mean * 127.5 for e in (0.5, -0.5))
        below = 0 if level == 255 else special.log_expit(a * inverse)
        above = 0 if level == 0 else special.log_expit(-b * inverse)
        return below + above + (0 if level in (0, 255) else np.log(-np.expm1(-inverse)))

    mean, log_s = float(features[1]), float(features[2])
    by_mean = (exact(mean + 1e-7, log_s) - exact(mean - 1e-7, log_s)) / 2e-7
    by_scale = (exact(mean, log_s + 1e-5) - exact(mean, log_s - 1e-5)) / 2e-5
    np.testing.assert_allclose(gradient[1:], [by_mean, by_scale], rtol=2e-3, atol=1e-4)


def test_channels_that_are_not_coupled_are_independent():
    family = DiscretizedLogisticMixture(7, (2,), components=4, coupling="none")
    features = rng.normal(size=family.num_params).astype(np.float32)
    values = np.array(list(itertools.product(range(7), repeat=2)))
    table = np.exp(of_family(family, "log_prob", np.tile(features, (49, 1)), values)).reshape(7, 7)
    np.testing.assert_allclose(table, table.sum(1)[:, None] * table.sum(0), atol=1e-6)
    weights, means, log_scales = np.split(features.reshape(2, 12), 3, axis=1)  # of each channel
    hot = np.concatenate([weights / 1.5, means, log_scales + np.log(np.float32(1.5))], 1).ravel()
    found, expected = jax.jit(lambda x, hot: (family.tempered_table(x, 1.5), family.log_table(hot)))(features, hot)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("num_levels", "shape"),
    [(256, (3,)), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((65536, ()), (17, (2, 2))))],
)
def test_entropy_of_many_values_is_the_mean_over_samples(num_levels, shape):
    family = DiscretizedLogisticMixture(num_levels, shape, components=3)
    features = (0.7 * rng.normal(size=(4, family.num_params)) - 0.5).astype(np.float32)
    many = np.broadcast_to(features, (8000, *features.shape))
    log_p = np.asarray(of_family(family, "log_prob", many, of_family(family, "sample", jax.random.key(0), many)))
    # three standard errors beside the documented 0.1 nats
    tolerance = 0.1 + 3 * log_p.std(0).max() / np.sqrt(8000)
    np.testing.assert_allclose(of_family(family, "entropy", features), -log_p.mean(0), atol=tolerance)


def test_stratified_entropy_is_near_the_sum():
    family = DiscretizedLogisticMixture(60, (2,), components=4)
    features = rng.normal(size=(20, family.num_params)).astype(np.float32)
    estimate = jax.jit(lambda f: family._stratified_entropy(family._mixture(f)).sum(-1))(features)
    error = np.abs(estimate - of_family(family, "entropy", features))
    assert error.mean() < 0.03 and error.max() < 0.1


def test_mode_of_many_values_is_near_the_best():
    """The best of the components' own modes: where components overlap, their sum may peak a little beside them."""
    family = DiscretizedLogisticMixture(256, (3,), components=3)
    features = (0.3 * rng.normal(size=(5, family.num_params))).astype(np.float32)
    features[:, 12:21] -= 4
    mode = np.asarray(of_family(family, "mode", features))
    best = of_family(family, "log_prob", features, mode)
    many = np.broadcast_to(features, (500, *features.shape))
    others = of_family(family, "log_prob", many, of_family(family, "sample", jax.random.key(1), many))
    assert (np.asarray(best) >= np.asarray(others).max(0) - 0.2).all()


def test_samples_of_256_coupled_levels_follow_the_probabilities():
    """Red, and green given red: chi-square over coarse classes."""
    family = DiscretizedLogisticMixture(256, (2,), components=3)
    features = (0.5 * rng.normal(size=family.num_params)).astype(np.float32)
    num, values = 20_000, np.array(list(itertools.product(range(256), repeat=2)))
    samples = np.asarray(of_family(family, "sample", jax.random.key(2), np.tile(features, (num, 1)))) // 32
    p = np.exp(np.asarray(of_family(family, "log_prob", np.tile(features, (len(values), 1)), values), float))
    expected = np.bincount((values // 32) @ [8, 1], p, minlength=64)
    counts = np.bincount(samples @ [8, 1], minlength=64)
    assert stats.chisquare(counts, expected / expected.sum() * num).pvalue > 1e-4


def test_three_channels_of_tiny_scales_follow_from_one_another():
    family = DiscretizedLogisticMixture(256, (3,), components=1)
    couplings, features = np.tanh([0.8, -0.9, 0.7]), np.float32([0, 0.2, -0.3, 0.1, -9, -9, -9, 0.8, -0.9, 0.7])
    level = lambda mean: np.round((mean + 1) * 127.5)  # noqa: E731
    red = level(0.2)
    green = level(-0.3 + couplings[0] * (red / 127.5 - 1))
    blue = level(0.1 + couplings[1] * (red / 127.5 - 1) + couplings[2] * (green / 127.5 - 1))
    drawn = np.asarray(of_family(family, "sample", jax.random.key(0), np.tile(features, (200, 1))))
    np.testing.assert_array_equal(np.median(drawn, 0), [red, green, blue])
    np.testing.assert_array_equal(of_family(family, "mode", features), [red, green, blue])


def test_cold_samples_come_from_the_likeliest_component():
    family = DiscretizedLogisticMixture(256, components=2)
    features = np.float32([0.1, 0.0, 0.5, -0.5, -3.0, -3.0])
    cold = np.asarray(of_family(family, "sample", jax.random.key(3), np.tile(features, (50, 1)), 1e-4))
    assert (cold == round(127.5 * 1.5)).all()


def test_points_of_quadrature_are_those_of_an_additive_recurrence():
    """Roberts (2018): of two axes the golden ratio, of three the root of g^3 = g + 1."""
    for dims, g in ((1, 1.0), (2, (1 + 5**0.5) / 2), (3, 1.3247179572447460)):
        points, n = stratified_points(7, dims), np.arange(7)
        assert points.shape == (7, dims) and (points > 0).all() and (points < 1).all()
        np.testing.assert_allclose(points[:, 0], (n + 0.5) / 7)
        for j in range(1, dims):
            np.testing.assert_allclose(points[:, j], (0.5 + n * g**-j) % 1, atol=1e-9)
