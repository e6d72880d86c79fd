"""Families of discrete values beyond their laws: at any temperature, at extreme features, and as any table."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from arjax.conditionals import CONDITIONALS, Bernoulli, Categorical, make_conditional
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
OTHERS = {
    "bernoulli": ("binary",),
    "categorical": ("binary", "binary_vector", "levels", "levels_vector"),
    "ordinal": ("binary", "binary_vector", "levels"),
    "mixture_of_products": ("binary", "binary_vector", "levels", "tokens_vector"),
    "discretized_logistic_mixture": ("levels",),
    "discretized_logistic_mixture(components=3, coupling='none')": ("levels", "levels_vector"),
}


def each_family(calls):
    """Parameters: every family with every kind of discrete values that it can describe."""
    fitting = []
    for call, (name, event) in itertools.product(calls, VALUES.items()):
        try:
            family = make_conditional(call, event)
        except UserError:
            continue
        if event.is_discrete:
            marks = pytest.mark.slow if name in OTHERS.get(call, ()) else ()
            fitting.append(pytest.param(family, event, id=f"{call}-{name}", marks=marks))
    return pytest.mark.parametrize(("family", "event"), fitting)


#: Families whose features are logits of independent scalars: a temperature T gives p^(1/T).
each_logit_family = each_family(("bernoulli", "categorical", "ordinal"))
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


@each_family(CALLS)
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
    with pytest.raises(UserError, match="'ordinal' cannot be any distribution over its values"):
        make_conditional("ordinal(size=2)", VALUES["levels"]).from_log_table(table)
