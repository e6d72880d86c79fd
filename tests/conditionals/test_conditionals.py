"""What holds for every family of discrete values: normalised, consistent with its own samples, finite at extremes."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from arjax.conditionals import CONDITIONALS, Bernoulli, Categorical, make_conditional
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

pytestmark = pytest.mark.usefixtures("quick_compilation")

EVENTS = {
    "binary": EventSpec((3,)),
    "binary_vector": EventSpec((3,), (2, 2)),
    "levels": EventSpec((3,), (), "levels", 5),
    "levels_vector": EventSpec((3,), (2,), "levels", 4),
    "tokens_vector": EventSpec((3,), (2,), "tokens", 3),
}


#: Every registered family as it is by default, and in other forms; `nested` is a model, see tests/models.
CALLS = [
    *(name for name in CONDITIONALS.names() if name != "nested"),
    "discretized_logistic_mixture(components=3, coupling='none')",
]
#: Families whose features are logits of independent scalars: a temperature T gives p^(1/T).
LOGITS = ("bernoulli", "categorical", "ordinal")


def families(calls) -> list:
    """Every family with every discrete event that it can describe."""
    fitting = []
    for call, event in itertools.product(calls, EVENTS):
        try:
            family = make_conditional(call, EVENTS[event])
        except UserError:
            continue
        fitting.append(pytest.param(family, EVENTS[event], id=f"{call}-{event}"))
    return fitting


each_family = pytest.mark.parametrize(("family", "event"), families(CALLS))
#: Of joint families modes are greedy, and entropies of vectors estimates: see tests/models/test_joint.py.
each_with_exact_mode = pytest.mark.parametrize(
    ("family", "event"), [case for case in families(CALLS) if not case.values[0].joint]
)
each_with_exact_entropy = pytest.mark.parametrize(
    ("family", "event"), [case for case in families(CALLS) if not (case.values[0].joint and case.values[1].value_shape)]
)
each_logit_family = pytest.mark.parametrize(("family", "event"), families(LOGITS))


def all_values(event: EventSpec) -> np.ndarray:
    """Every value that a site can have, [N, *value_shape]."""
    digits = np.indices((event.num_levels,) * event.value_size).reshape(event.value_size, -1).T
    return digits.reshape(-1, *event.value_shape).astype(np.int32)


def random_features(family, num: int = 20, scale: float = 2.0, seed: int = 0) -> np.ndarray:
    """float32[num, F]."""
    return (scale * np.random.default_rng(seed).normal(size=(num, family.num_params))).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def call(family, method: str, *args) -> jax.Array:
    """A method of a family as one compiled program: operation by operation, each would be compiled for itself."""
    return getattr(family, method)(*args)


def log_probs(family, event: EventSpec, features: np.ndarray) -> np.ndarray:
    """log p of every value (last axis) under features [B, F], float64[B, N]."""
    values = all_values(event)
    many = np.broadcast_to(values, (len(features), *values.shape))
    return np.asarray(call(family, "log_prob", features[:, None], many), float)


@each_family
def test_probabilities_of_all_values_sum_to_one(family, event):
    total = np.exp(log_probs(family, event, random_features(family))).sum(-1)
    np.testing.assert_allclose(total, 1, atol=1e-6)


@each_family
def test_shapes_and_types(family, event):
    features = random_features(family, 6).reshape(2, 3, -1)
    value = call(family, "sample", jax.random.key(1), features)
    assert (value.shape, value.dtype) == ((2, 3, *event.value_shape), jnp.int32)
    assert (call(family, "mode", features).shape, call(family, "mode", features).dtype) == (
        (2, 3, *event.value_shape),
        jnp.int32,
    )
    for result in (call(family, "log_prob", features, value), call(family, "entropy", features)):
        assert (result.shape, result.dtype) == ((2, 3), jnp.float32)
    one = features[0, 0]
    np.testing.assert_allclose(
        call(family, "log_prob", one, value[0, 0]), call(family, "log_prob", features, value)[0, 0], rtol=1e-6
    )


@each_with_exact_entropy
@pytest.mark.parametrize("scale", [0.1, 2.0, 8.0])
def test_entropy_is_minus_the_mean_log_probability(family, event, scale):
    features = random_features(family, scale=scale)
    log_p = log_probs(family, event, features)
    np.testing.assert_allclose(
        call(family, "entropy", features), -(np.exp(log_p) * log_p).sum(-1), rtol=1e-4, atol=1e-6
    )


@each_with_exact_mode
def test_mode_is_the_most_probable_value(family, event):
    features = random_features(family)
    best = all_values(event)[log_probs(family, event, features).argmax(-1)]
    np.testing.assert_array_equal(call(family, "mode", features), best)


def p_value(family, event: EventSpec, features: jax.Array, temperature: float, expected: np.ndarray) -> float:
    """Of the hypothesis that samples at one point follow the probabilities `expected` of all values."""
    num = 20_000
    many = np.broadcast_to(features, (num, family.num_params))
    samples = np.asarray(call(family, "sample", jax.random.key(2), many, temperature))
    weights = event.num_levels ** np.arange(event.value_size)[::-1]
    counts = np.bincount(samples.reshape(num, -1) @ weights, minlength=len(expected))
    assert (expected * num > 5).all()
    return stats.chisquare(counts, expected / expected.sum() * num).pvalue


@each_family
def test_frequencies_of_samples_are_the_probabilities(family, event):
    features = random_features(family, 1, scale=0.3, seed=3)
    probabilities = np.exp(log_probs(family, event, features)[0])
    assert p_value(family, event, features, 1.0, probabilities) > 1e-4


@each_logit_family
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_frequencies_of_samples_are_the_tempered_probabilities(family, event, temperature):
    features = random_features(family, 1, scale=0.6, seed=3)
    log_p = log_probs(family, event, features)[0]
    assert p_value(family, event, features, temperature, special.softmax(log_p / temperature)) > 1e-4
    wrong = special.softmax(log_p / (temperature * 1.3))  # the test can tell a wrong temperature
    assert p_value(family, event, features, temperature, wrong) < 1e-4


@each_logit_family
def test_a_cold_sample_is_the_mode_and_a_hot_one_uniform(family, event):
    features = random_features(family, 200)
    np.testing.assert_array_equal(
        call(family, "sample", jax.random.key(4), features, 1e-6), call(family, "mode", features)
    )
    assert (
        np.asarray(call(family, "sample", jax.random.key(4), features, 1.0)) != call(family, "mode", features)
    ).any()
    uniform = np.full(len(all_values(event)), 1 / len(all_values(event)))
    assert p_value(family, event, features[:1], 1e6, uniform) > 1e-4


@each_family
def test_samples_are_a_function_of_the_key(family, event):
    features = random_features(family, 200)
    first, again, other = (call(family, "sample", jax.random.key(k), features) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@functools.partial(jax.jit, static_argnums=0)
def scores(family, features, value):
    """log p, and the gradients of log p and of the entropy."""
    log_p, gradient = jax.value_and_grad(lambda f: family.log_prob(f, value).sum())(features)
    return log_p, gradient, jax.grad(lambda f: family.entropy(f).sum())(features)


@each_family
@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_extreme_logits_stay_finite(family, event, size):
    features = np.float32(size) * np.sign(random_features(family))
    mode = np.asarray(call(family, "mode", features))
    for value in (mode, (mode + 1) % event.num_levels):
        for result in scores(family, features, value):
            assert np.isfinite(result).all()
        if type(family) in (Bernoulli, Categorical):
            assert np.abs(scores(family, features, value)[1]).max() <= 1
    assert (np.asarray(call(family, "entropy", features)) >= -1e-6).all()
    sample = np.asarray(call(family, "sample", jax.random.key(0), features))
    assert ((sample >= 0) & (sample < event.num_levels)).all()
    assert (np.asarray(call(family, "log_prob", features, sample)) > -50).all()  # nothing impossible is drawn


@each_family
def test_gradient_of_the_score_has_mean_zero(family, event):
    """E[d log p / d features] = 0: the gradient belongs to a normalised density."""
    features, values = random_features(family, 1), all_values(event)
    gradients = np.asarray(jax.jit(jax.vmap(jax.grad(family.log_prob), (None, 0)))(features[0], values))
    probabilities = np.exp(log_probs(family, event, features)[0])
    assert np.abs(gradients).max() > 0.1
    np.testing.assert_allclose(probabilities @ gradients, 0, atol=1e-6)


@each_family
def test_features_of_low_precision_are_scored_in_float32(family, event):
    low = random_features(family, scale=5.0).astype(jnp.bfloat16)
    high, value = low.astype(jnp.float32), call(family, "sample", jax.random.key(5), low)
    for method, *args in (("log_prob", value), ("entropy",)):
        assert call(family, method, low, *args).dtype == jnp.float32
        np.testing.assert_array_equal(call(family, method, low, *args), call(family, method, high, *args))
    np.testing.assert_array_equal(value, call(family, "sample", jax.random.key(5), high))


@each_logit_family
def test_dimensions_of_a_value_are_independent(family, event):
    """Changing one scalar of a value changes the sum by that scalar's own term."""
    features, values = random_features(family, 1), all_values(event).reshape(-1, event.value_size)
    table = log_probs(family, event, features)[0].reshape((event.num_levels,) * event.value_size)
    marginals = [np.exp(table).sum(tuple(set(range(table.ndim)) - {axis})) for axis in range(table.ndim)]
    product = np.prod([m[values[:, axis]] for axis, m in enumerate(marginals)], 0)
    np.testing.assert_allclose(np.exp(table).ravel(), product, rtol=1e-5)
