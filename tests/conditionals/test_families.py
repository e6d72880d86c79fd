"""Each family against its formula, and the sentences for events that it cannot describe."""

import jax
import numpy as np
import pytest
from compiled import of_family
from scipy import special

from arjax.conditionals import Bernoulli, Categorical, Gaussian, make_conditional
from arjax.conditionals.ordinal import level_embedding
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

LOGITS = np.array([-30.0, -12.0, -3.0, -0.5, 0.0, 1e-3, 2.0, 9.0, 30.0])


def test_bernoulli_formula():
    features = np.float32(LOGITS)[:, None]
    ones = np.ones(len(LOGITS), np.int32)
    np.testing.assert_allclose(of_family(Bernoulli(), "log_prob", features, ones), special.log_expit(LOGITS), rtol=1e-5)
    np.testing.assert_allclose(
        of_family(Bernoulli(), "log_prob", features, 0 * ones), special.log_expit(-LOGITS), rtol=1e-5
    )


def test_bernoulli_entropy_keeps_its_digits_in_the_tails():
    p, q = special.expit(LOGITS), special.expit(-LOGITS)
    expected = -(p * special.log_expit(LOGITS) + q * special.log_expit(-LOGITS))
    entropy = of_family(Bernoulli(), "entropy", np.float32(LOGITS)[:, None])
    np.testing.assert_allclose(entropy, expected, rtol=1e-5)
    np.testing.assert_allclose(of_family(Bernoulli(), "entropy", np.zeros(1)), np.log(2), rtol=1e-6)


def test_categorical_formula():
    features = np.array([[0.0, 1.0, -2.0, 0.5], [100.0, 0.0, -100.0, 99.0]], np.float32)
    for value in range(4):
        expected = special.log_softmax(features.astype(float), -1)[:, value]
        np.testing.assert_allclose(
            of_family(Categorical(4), "log_prob", features, np.full(2, value)), expected, rtol=1e-5
        )
    np.testing.assert_allclose(of_family(Categorical(4), "entropy", np.zeros(4)), np.log(4), rtol=1e-6)


def test_soft_cap_bounds_the_logits():
    family = make_conditional("categorical(soft_cap=3)", EventSpec((4,), (), "tokens", 4))
    features = np.array([0.5, 8.0, -200.0, 2.0], np.float32)
    expected = special.log_softmax(3 * np.tanh(features.astype(float) / 3))
    for value in range(4):
        np.testing.assert_allclose(of_family(family, "log_prob", features, value), expected[value], rtol=1e-5)
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


@pytest.mark.parametrize(
    ("text", "event", "expected"),
    [
        ("bernoulli", EventSpec((4,), (3, 2)), (Bernoulli((3, 2)), 6)),
        ("categorical()", EventSpec((4,), (3,), "levels", 5), (Categorical(5, (3,)), 15)),
        ("categorical", EventSpec((4,)), (Categorical(2), 2)),
        ("gaussian(min_log_scale=-2)", EventSpec((4,), (2,), "real"), (Gaussian((2,), -2.0), 4)),
        ("", EventSpec((4,), (2,), "real"), (Gaussian((2,)), 4)),
    ],
)
def test_families_fit_the_event(text, event, expected):
    family = make_conditional(text, event)
    assert (family, family.num_params) == expected
    assert hash(family) == hash(expected[0])  # static arguments of compiled programs


REAL_FAMILIES = ("gaussian", "gaussian_mixture", "logistic_mixture", "student_t_mixture", "beta", "spline")
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
