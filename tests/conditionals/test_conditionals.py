"""What holds for every family of discrete values: normalised, consistent with its own samples, finite at extremes."""

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

KEY = jax.random.key(0)
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
#: Their other events say it in the slow suite: of a scalar and a vector, of two values and of more, one is enough.
OTHERS = {
    "bernoulli": ("binary",),
    "categorical": ("binary", "binary_vector", "levels", "levels_vector"),
    "ordinal": ("binary", "binary_vector", "levels"),
    "mixture_of_products": ("binary", "binary_vector", "levels", "tokens_vector"),
    "discretized_logistic_mixture": ("levels",),
    "discretized_logistic_mixture(components=3, coupling='none')": ("levels", "levels_vector"),
}
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
        marks = pytest.mark.slow if event in OTHERS.get(call, ()) else ()
        fitting.append(pytest.param(family, EVENTS[event], id=f"{call}-{event}", marks=marks))
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


#: Features in one batch: every test of a family runs the same compiled program, on points of its own choice.
NUM = 4096
#: Those of them at which all values are scored, or gradients, modes and entropies taken.
POINTS = 128


def random_features(family, num: int = 20, scale: float = 2.0, seed: int = 0) -> np.ndarray:
    """float32[num, F]."""
    return (scale * np.random.default_rng(seed).normal(size=(num, family.num_params))).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _facts(family, features, values, key, temperature) -> dict[str, jax.Array]:
    """log p of every value, the mode and the entropy at the first points; a sample and its log p at every point."""
    sample = family.sample(key, features, temperature)
    return {
        "table": family.log_prob(features[:POINTS, None], jnp.broadcast_to(values, (POINTS, *values.shape))),
        "mode": family.mode(features[:POINTS]),
        "entropy": family.entropy(features[:POINTS]),
        "sample": sample,
        "log_prob": family.log_prob(features, sample),
    }


def facts(family, event: EventSpec, features: np.ndarray, seed: int = 0, temperature: float = 1.0):
    """`_facts` at features [B, F] , repeated up to the batch of all tests."""
    many = np.resize(features, (NUM, family.num_params))
    found = _facts(family, many, all_values(event), jax.random.key(seed), jnp.float32(temperature))
    return {name: np.asarray(value)[: len(features)] for name, value in found.items()}


def log_probs(family, event: EventSpec, features: np.ndarray) -> np.ndarray:
    """log p of every value (last axis) under features [B, F], float64[B, N]."""
    return facts(family, event, features)["table"].astype(float)


@each_family
def test_probabilities_of_all_values_sum_to_one(family, event):
    total = np.exp(log_probs(family, event, random_features(family))).sum(-1)
    np.testing.assert_allclose(total, 1, atol=1e-6)


CAPPED = ("categorical(soft_cap=20)", "ordinal(soft_cap=20)")
#: Families that have every distribution over this number of values.
ANY_TABLE = [("bernoulli", 2), *itertools.product(("categorical", "ordinal", *CAPPED), (2, 5))]


@pytest.mark.parametrize(
    ("call", "num_levels"), [*itertools.product(CALLS, (2, 5)), *itertools.product(CAPPED, (2, 5))]
)
def test_features_of_a_table_have_its_probabilities(call, num_levels):
    """Or a sentence says that the family does not have every distribution, or not these values."""
    event = EventSpec((3,), (), "levels", num_levels) if num_levels > 2 else EventSpec((3,))
    table = jax.nn.log_softmax(2 * jax.random.normal(KEY, (7, num_levels)))
    try:
        family = make_conditional(call, event)
        features = family.from_log_table(table)
    except UserError:
        assert (call, num_levels) not in ANY_TABLE
        return
    assert features.shape == (7, family.num_params)
    near = call == "ordinal(soft_cap=20)"  # its embedding has no constant, which a cap would need
    np.testing.assert_allclose(family.log_table(features), table, atol=0.05 if near else 1e-5)


@pytest.mark.parametrize("call", ["categorical", "categorical(soft_cap=20)"])
def test_a_table_may_have_impossible_values(call):
    family = make_conditional(call, EventSpec((3,), (), "levels", 5))
    table = jnp.log(jnp.array([0.5, 0.0, 0.25, 0.25, 0.0]))
    np.testing.assert_allclose(jnp.exp(family.log_table(family.from_log_table(table))), jnp.exp(table), atol=1e-5)


def test_a_small_ordinal_family_has_not_every_distribution():
    family = make_conditional("ordinal(size=2)", EventSpec((3,), (), "levels", 5))
    with pytest.raises(UserError, match="'ordinal' cannot be any distribution over its values"):
        family.from_log_table(jnp.zeros((7, 5)))


@each_family
def test_shapes_and_types(family, event):
    for leading in ((2, 3), ()):
        features = jax.ShapeDtypeStruct((*leading, family.num_params), jnp.float32)
        value = jax.ShapeDtypeStruct((*leading, *event.value_shape), jnp.int32)
        assert jax.eval_shape(family.mode, features) == jax.eval_shape(family.sample, KEY, features) == value
        for result in (jax.eval_shape(family.log_prob, features, value), jax.eval_shape(family.entropy, features)):
            assert result == jax.ShapeDtypeStruct(leading, jnp.float32)


@each_with_exact_entropy
def test_entropy_is_minus_the_mean_log_probability(family, event):
    features = np.concatenate([random_features(family, scale=scale) for scale in (0.1, 2.0, 8.0)])
    found = facts(family, event, features)
    log_p = found["table"].astype(float)
    np.testing.assert_allclose(found["entropy"], -(np.exp(log_p) * log_p).sum(-1), rtol=1e-4, atol=1e-6)


@each_with_exact_mode
def test_mode_is_the_most_probable_value(family, event):
    found = facts(family, event, random_features(family))
    np.testing.assert_array_equal(found["mode"], all_values(event)[found["table"].argmax(-1)])


def p_value(family, event: EventSpec, features: jax.Array, temperature: float, expected: np.ndarray) -> float:
    """Of the hypothesis that samples at one point follow the probabilities `expected` of all values."""
    many = np.broadcast_to(features, (NUM, family.num_params))
    seeds = range(5)
    samples = np.stack([facts(family, event, many, seed, temperature)["sample"] for seed in seeds])
    num = NUM * len(seeds)
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
def test_frequencies_of_samples_are_the_tempered_probabilities(family, event):
    features = random_features(family, 1, scale=0.6, seed=3)
    log_p = log_probs(family, event, features)[0]
    for temperature in (1.0, 2.5):
        assert p_value(family, event, features, temperature, special.softmax(log_p / temperature)) > 1e-4
        wrong = special.softmax(log_p / (temperature * 1.3))  # the test can tell a wrong temperature
        assert p_value(family, event, features, temperature, wrong) < 1e-4


@each_logit_family
def test_a_cold_sample_is_the_mode_and_a_hot_one_uniform(family, event):
    features = random_features(family, POINTS)
    cold, warm = (facts(family, event, features, 4, temperature) for temperature in (1e-6, 1.0))
    np.testing.assert_array_equal(cold["sample"], cold["mode"])
    assert (warm["sample"] != warm["mode"]).any()
    uniform = np.full(len(all_values(event)), 1 / len(all_values(event)))
    assert p_value(family, event, features[:1], 1e6, uniform) > 1e-4


@pytest.mark.slow
@each_family
def test_samples_are_a_function_of_the_key(family, event):
    features = random_features(family, POINTS)
    first, again, other = (facts(family, event, features, seed)["sample"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@functools.partial(jax.jit, static_argnums=0)
def scores(family, features, value):
    """log p, and the gradients of log p and of the entropy."""
    log_p, gradient = jax.vmap(jax.value_and_grad(family.log_prob))(features, value)
    return log_p, gradient, jax.grad(lambda f: family.entropy(f).sum())(features)


@each_family
def test_extreme_logits_stay_finite(family, event):
    features = np.concatenate([np.float32(size) * np.sign(random_features(family)) for size in (1e2, 1e4, 1e6)])
    found = facts(family, event, features)
    for value in (found["mode"], (found["mode"] + 1) % event.num_levels):
        results = scores(
            family, np.resize(features, (POINTS, family.num_params)), np.resize(value, (POINTS, *value.shape[1:]))
        )
        assert all(np.isfinite(result).all() for result in results)
        if type(family) in (Bernoulli, Categorical):
            assert np.abs(results[1]).max() <= 1
    assert (found["entropy"] >= -1e-6).all()
    assert ((found["sample"] >= 0) & (found["sample"] < event.num_levels)).all()
    assert (found["log_prob"] > -50).all()  # nothing impossible is drawn


@pytest.mark.slow
@each_family
def test_gradient_of_the_score_has_mean_zero(family, event):
    """E[d log p / d features] = 0: the gradient belongs to a normalised density."""
    features, values = random_features(family, 1), all_values(event)
    many = np.resize(values, (POINTS, *values.shape[1:]))
    gradients = np.asarray(scores(family, np.resize(features, (POINTS, family.num_params)), many)[1])[: len(values)]
    probabilities = np.exp(log_probs(family, event, features)[0])
    assert np.abs(gradients).max() > 0.1
    np.testing.assert_allclose(probabilities @ gradients, 0, atol=1e-6)


@pytest.mark.slow
@each_family
def test_features_of_low_precision_are_scored_in_float32(family, event):
    """The types of every family and event; the values where a value is a vector."""
    low = random_features(family, POINTS, scale=5.0).astype(jnp.bfloat16)
    value = jax.eval_shape(family.sample, KEY, low)
    for result in (jax.eval_shape(family.log_prob, low, value), jax.eval_shape(family.entropy, low)):
        assert result.dtype == jnp.float32
    if event in (EVENTS["levels_vector"], EVENTS["binary_vector"]) and not isinstance(family, Categorical):
        values, expected = all_values(event), facts(family, event, low.astype(np.float32))["table"]
        found = jax.jit(family.log_prob)(low[:, None], np.broadcast_to(values, (POINTS, *values.shape)))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@each_logit_family
def test_dimensions_of_a_value_are_independent(family, event):
    """Changing one scalar of a value changes the sum by that scalar's own term."""
    features, values = random_features(family, 1), all_values(event).reshape(-1, event.value_size)
    table = log_probs(family, event, features)[0].reshape((event.num_levels,) * event.value_size)
    marginals = [np.exp(table).sum(tuple(set(range(table.ndim)) - {axis})) for axis in range(table.ndim)]
    product = np.prod([m[values[:, axis]] for axis, m in enumerate(marginals)], 0)
    np.testing.assert_allclose(np.exp(table).ravel(), product, rtol=1e-5)
