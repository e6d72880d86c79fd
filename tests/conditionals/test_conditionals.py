"""Families of discrete values beyond their laws: against their formulas, at any temperature, at extreme features, and
as any table; and the sentences for events that a family cannot describe.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_family
from every_family import each_family
from scipy import special

from arjax.conditionals import CONDITIONALS, make_conditional
from arjax.conditionals.categorical import Bernoulli, Categorical, level_embedding
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.testing.conditional import VALUES, random_features
from arjax.testing.examples import all_values
from arjax.testing.statistics import chi_square

KEY = jax.random.key(0)
#: Every registered family as it is by default, and in other forms; `nested` is a model, see tests/models.
CALLS = [
    *(name for name in CONDITIONALS.names() if name != "nested"),
    "discretized_logistic_mixture(components=3, coupling='none')",
]
#: Their other values say it in the slow suite: of a scalar and a vector, of two values and of more, one is enough.
OTHERS = (
    ("bernoulli", "binary"),
    *(("categorical", values) for values in ("binary", "binary_vector", "levels", "levels_vector")),
    *(("ordinal", values) for values in ("binary", "binary_vector", "levels")),
    *(("mixture_of_products", values) for values in ("binary", "binary_vector", "levels", "tokens_vector")),
    ("discretized_logistic_mixture", "levels"),
    *((CALLS[-1], values) for values in ("levels", "levels_vector")),
)
DISCRETE = {name: event for name, event in VALUES.items() if event.is_discrete}


#: Families whose features are logits of independent scalars: a temperature T gives p^(1/T).
each_logit_family = each_family(("bernoulli", "categorical", "ordinal"), DISCRETE, OTHERS)
#: Features in one batch: every test of a family runs the same compiled program.
NUM, POINTS = 8192, 128


@functools.partial(jax.jit, static_argnums=0)
def _facts(family, features, values, temperature) -> dict[str, jax.Array]:
    """log p of every value, the mode and the entropy at the first points; a sample and its log p at every point."""
    sample = family.sample(KEY, features, temperature)
    return {
        "table": family.log_prob(features[:POINTS, None], jnp.broadcast_to(values, (POINTS, *values.shape))),
        "mode": family.mode(features[:POINTS]),
        "entropy": family.entropy(features[:POINTS]),
        "sample": sample,
        "log_prob": family.log_prob(features, sample),
    }


def facts(family, event: EventSpec, features: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
    """`_facts` at features [B, F], repeated up to the batch of all tests."""
    many = np.resize(features, (NUM, family.num_params))
    return jax.tree.map(np.asarray, _facts(family, many, all_values(event, grid=False), np.float32(temperature)))


def p_value(event: EventSpec, samples: np.ndarray, expected: np.ndarray) -> float:
    """Of the hypothesis that samples at one point follow the probabilities `expected` of all values."""
    codes = samples.reshape(NUM, -1) @ event.num_levels ** np.arange(event.value_size)[::-1]
    return chi_square(np.bincount(codes, minlength=len(expected)), expected)


@each_logit_family
def test_temperatures_are_powers_of_the_probabilities(family, event):
    features = random_features(family, 1, 0.6, seed=3)
    log_p = facts(family, event, features)["table"][0].astype(float)
    warm, hot = (facts(family, event, features, temperature)["sample"] for temperature in (2.5, 1e6))
    assert p_value(event, warm, special.softmax(log_p / 2.5)) > 1e-4
    assert p_value(event, warm, special.softmax(log_p / 3.25)) < 1e-4  # the test can tell a wrong temperature
    assert p_value(event, hot, np.full(len(log_p), 1 / len(log_p))) > 1e-4
    many = random_features(family, POINTS, 2.0)
    cold, warm = (facts(family, event, many, temperature) for temperature in (1e-6, 1.0))
    np.testing.assert_array_equal(cold["sample"][:POINTS], cold["mode"])
    assert (warm["sample"][:POINTS] != warm["mode"]).any()


@functools.partial(jax.jit, static_argnums=0)
def scores(family, features, value):
    """log p, and the gradients of log p and of the entropy."""
    log_p, gradient = jax.vmap(jax.value_and_grad(family.log_prob))(features, value)
    return log_p, gradient, jax.grad(lambda f: family.entropy(f).sum())(features)


@each_family(CALLS, DISCRETE, OTHERS)
def test_extreme_logits_stay_finite(family, event):
    signs = np.sign(random_features(family, POINTS, 1.0))
    features = signs * np.repeat(np.float32([1e2, 1e4, 1e6, 1e2]), POINTS // 4)[:, None]
    found = facts(family, event, features)
    for value in (found["mode"], (found["mode"] + 1) % event.num_levels):
        results = scores(family, features, value)
        assert all(np.isfinite(result).all() for result in results)
        if type(family) in (Bernoulli, Categorical):
            assert np.abs(results[1]).max() <= 1
    assert (found["entropy"] >= -1e-6).all()
    assert ((found["sample"] >= 0) & (found["sample"] < event.num_levels)).all()
    assert (found["log_prob"] > -50).all()  # nothing impossible is drawn


CAPPED = ("categorical(soft_cap=20)", "ordinal(soft_cap=20)")
#: Families that have every distribution over this number of values.
ANY_TABLE = [("bernoulli", 2), *itertools.product(("categorical", "ordinal", *CAPPED), (2, 5))]


@pytest.mark.parametrize(("call", "num_levels"), [*itertools.product((*CALLS, *CAPPED), (2, 5))])
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


def test_tables_at_the_limits_of_a_family():
    """Some values are impossible, and a small ordinal family has not every distribution."""
    table = jnp.log(jnp.array([0.5, 0.0, 0.25, 0.25, 0.0]))
    for call in ("categorical", "categorical(soft_cap=20)"):
        family = make_conditional(call, VALUES["levels"])
        np.testing.assert_allclose(np.exp(family.log_table(family.from_log_table(table))), np.exp(table), atol=1e-5)
    capped = make_conditional("categorical(soft_cap=2)", VALUES["levels"])
    table = jnp.array([-1.5, -1.5, -1.7, -1.8, -60.0])
    found = capped.log_table(capped.from_log_table(table))
    np.testing.assert_allclose(found - found[0], [0, 0, -0.2, -0.3, -4], atol=0.02)  # twice the cap
    with pytest.raises(UserError, match="'ordinal' cannot be any distribution over its values"):
        make_conditional("ordinal(size=2)", VALUES["levels"]).from_log_table(table)
    with pytest.raises(UserError, match="cannot be any distribution over its values"):
        make_conditional("categorical", EventSpec((3,), (1,), "levels", 5)).from_log_table(table)


LOGITS = np.array([-30.0, -12.0, -3.0, -0.5, 0.0, 1e-3, 2.0, 9.0, 30.0])


def test_bernoulli_formula():
    """The entropy keeps its digits in the tails."""
    features, ones = np.float32(LOGITS)[:, None], np.ones(len(LOGITS), np.int32)
    log_p, log_q = special.log_expit(LOGITS), special.log_expit(-LOGITS)
    entropy = -(np.exp(log_p) * log_p + np.exp(log_q) * log_q)
    np.testing.assert_allclose(of_family(Bernoulli(), "log_prob", features, ones), log_p, rtol=1e-5)
    np.testing.assert_allclose(of_family(Bernoulli(), "log_prob", features, 0 * ones), log_q, rtol=1e-5)
    np.testing.assert_allclose(of_family(Bernoulli(), "entropy", features), entropy, rtol=1e-5)


def test_categorical_formula():
    features = np.array([[0.0, 1.0, -2.0, 0.5], [100.0, 0.0, -100.0, 99.0]], np.float32)
    log_p = of_family(Categorical(4), "log_prob", features[:, None], np.arange(4)[None].repeat(2, 0))
    np.testing.assert_allclose(log_p, special.log_softmax(features.astype(float), -1), rtol=1e-5)


def test_soft_cap_bounds_the_logits():
    family = make_conditional("categorical(soft_cap=3)", EventSpec((4,), (), "tokens", 4))
    features = np.array([0.5, 8.0, -200.0, 2.0], np.float32)
    expected = special.log_softmax(3 * np.tanh(features.astype(float) / 3))
    log_p = of_family(family, "log_prob", np.tile(features, (4, 1)), np.arange(4))
    np.testing.assert_allclose(log_p, expected, rtol=1e-5)
    np.testing.assert_allclose(of_family(family, "log_table", features), expected, rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.jit(jax.vmap(lambda key: family.sample(key, features)))(keys)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 4000, np.exp(expected), atol=0.03)


def test_features_of_a_vector_value_stand_scalar_by_scalar():
    value = np.asarray([2, 0])
    features = np.asarray([0.0, 1.0, 5.0, 7.0, 1.0, 0.0])  # levels of the first scalar, then of the second
    assert of_family(Categorical(3, (2,)), "log_prob", features, value) > -0.05
    assert of_family(Categorical(3, (2,)), "mode", features).tolist() == [2, 0]
    assert of_family(Bernoulli((2, 2)), "mode", np.asarray([1.0, -1.0, -1.0, 1.0])).tolist() == [[1, 0], [0, 1]]


def test_ordinal_features_are_cosines_over_the_levels():
    """One feature tilts from the first level to the last; V - 1 of them give any probabilities."""
    family = make_conditional("ordinal(size=1)", EventSpec((4,), (), "levels", 5))
    slope = np.diff(np.asarray(of_family(family, "log_table", np.ones(1))))
    assert (slope < 0).all()
    np.testing.assert_allclose(slope, np.diff(np.cos(np.pi * (np.arange(5) + 0.5) / 5)), atol=1e-6)
    wanted = np.log([0.1, 0.4, 0.05, 0.25, 0.2])
    full = make_conditional("ordinal", EventSpec((4,), (), "levels", 5))
    assert full.num_params == 4
    features = np.linalg.lstsq(level_embedding(5, 4), wanted - wanted.mean(), rcond=None)[0]
    np.testing.assert_allclose(of_family(full, "log_table", features), wanted, atol=1e-5)


REAL_FAMILIES = ("gaussian", "gaussian_mixture", "logistic_mixture", "student_t_mixture", "spline")
REAL, LEVELS, TOKENS = (
    EventSpec((4,), kind=kind, num_levels=n) for kind, n in (("real", 0), ("levels", 5), ("tokens", 9))
)


@pytest.mark.parametrize(
    ("text", "event", "message"),
    [
        ("bernoulli", LEVELS, r"^the conditional 'bernoulli' needs binary data, not levels: take categorical"),
        ("bernoulli", REAL, r"^the conditional 'bernoulli' needs binary data, not real: take gaussian"),
        ("categorical", REAL, r"^the conditional 'categorical' needs discrete data, not real"),
        ("ordinal", TOKENS, r".* needs levels in an order, not tokens: take categorical$"),
        ("discretized_logistic_mixture", TOKENS, "needs ordered levels, not tokens: take categorical$"),
        *((name, LEVELS, f"^the conditional '{name}' needs real data, not levels") for name in REAL_FAMILIES),
        ("bernouli", EventSpec((4,)), r"^unknown conditional 'bernouli', did you mean 'bernoulli'\?$"),
        ("bernoulli(2)", EventSpec((4,)), r"^cannot read 'bernoulli\(2\)'"),
    ],
)
def test_families_that_do_not_fit_are_one_sentence(text, event, message):
    with pytest.raises(UserError, match=message):
        make_conditional(text, event)
