"""What a model is given by mistake ends in one sentence: it would otherwise come out as a plausible number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.errors import UserError
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.spec import ContextSpec, EventSpec

pytestmark = pytest.mark.usefixtures("quick_compilation")

EVENT = EventSpec((2, 3), (), "levels", 5)
OPTIONS = {"width": 8, "num_layers": 1, "num_heads": 1, "dropout": 0.5}
X = np.arange(12).reshape(2, 2, 3) % 5
KEY = jax.random.key(0)
TOP = np.array([[True] * 3, [False] * 3])


CONTEXTS = {"none": None, "label": np.array([0, 2]), "vector": np.eye(3, dtype=np.float32)[:2]}


@pytest.fixture(scope="module")
def model_and_params():
    model = make_model(EVENT, "transformer", **OPTIONS)
    return model, model.init(KEY)


SCORES = {
    "values too large": ({"x": X + 1}, "x of levels data must be 0 to 4, not 1 to 5"),
    "values too small": ({"x": X - 1}, "must be 0 to 4, not -1 to 3"),
    "bytes too large": ({"x": (X + 1).astype(np.uint8)}, "not 1 to 5"),
    "fractions": ({"x": X + 0.5}, "must be integers, not float64"),
    "one example alone": ({"x": X[0]}, r"has shape \(2, 3\), but must have \(B, 2, 3\)"),
    "flat": ({"x": X.reshape(2, 6)}, "but must have"),
    "an axis too many": ({"x": X[..., None]}, "but must have"),
    "no examples": ({"x": X[:0]}, "but must have"),
    "mask of one example": ({"mask": np.ones((2, 3))}, r"mask has shape \(2, 3\), but 2 examples need \(2, 2, 3\)"),
    "mask of a row": ({"mask": np.ones(3)}, "mask has shape"),
    "factorization of another grid": ({"factorization": make_factorization((6,))}, "the factorization is of"),
    "a number for a key": ({"train": True, "key": 0}, "a random key is one key"),
    "several keys": ({"train": True, "key": jax.random.split(KEY)}, "a random key is one key"),
    "dropout without a key": ({"train": True}, "needs a random `key`"),
}


@pytest.mark.parametrize("name", SCORES)
def test_wrong_inputs_of_a_score(model_and_params, name):
    model, params = model_and_params
    arguments, message = SCORES[name]
    for method in (model.log_prob,) if "mask" in arguments else (model.log_prob, model.conditionals):
        with pytest.raises(UserError, match=message):
            method(params, **{"x": X, **arguments})


@pytest.mark.parametrize(
    ("kind", "context", "message"),
    [
        ("none", np.zeros(2), "has no context"),
        ("label", None, "needs a label context"),
        ("label", np.array([0]), r"has shape \(1,\), but 2 examples need \(2,\)"),
        ("label", 1, "but 2 examples need"),
        ("label", np.array([0, 3]), "the context must be 0 to 2, not 0 to 3"),
        ("label", np.array([0, -1]), "must be 0 to 2, not -1 to 0"),
        ("label", np.array([0.0, 1.5]), "the context must be integers"),
        ("vector", np.ones(3), "but 2 examples need"),
        ("vector", np.ones((1, 3)), "but 2 examples need"),
        ("vector", np.ones((2, 2)), "but 2 examples need"),
        ("sequence", np.array([[0, 2, 3], [0, 1, -1]]), "must be -1 to 2, not -1 to 3"),
        ("sequence", np.array([[0, 1, 2], [0, -1, 1]]), "with -1 after its end, not before or between"),
    ],
)
def test_wrong_contexts(kind, context, message):
    spec = ContextSpec(kind, 0 if kind == "none" else 3, 3 if kind == "sequence" else 0)
    model = make_model(EVENT, "made", context=spec, hidden_sizes=(4,))
    params = model.init(KEY)
    with pytest.raises(UserError, match=message):
        model.log_prob(params, X, context=context)
    if np.ndim(context) == 2 or context is None or kind == "none" or "must be" in message:
        with pytest.raises(UserError):
            model.sample(params, KEY, 2, context=context)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 2.0}, "whole number"),
        ({"num": True}, "whole number"),
        ({"num": 0}, "at least 1"),
        ({"temperature": 0}, "positive"),
        ({"temperature": float("nan")}, "positive"),
        ({"temperature": float("inf")}, "positive"),
        ({"temperature": "1"}, "positive"),
        ({"key": 7}, "a random key is one key"),
        ({"given": X[0] + 5, "observed": TOP}, "given of levels data must be 0 to 4"),
        ({"given": X[0] + 0.7, "observed": TOP}, "must be integers"),
    ],
)
def test_wrong_inputs_of_samples(arguments, message):
    model = make_model(EVENT, "made", hidden_sizes=(4,))
    arguments = {"key": KEY, "num": 2} | arguments
    with pytest.raises(UserError, match=message):
        model.sample(model.init(KEY), **arguments)


def test_given_values_count_only_where_observed():
    model = make_model(EVENT, "made", hidden_sizes=(4,))
    params = model.init(KEY)
    marked, plain = np.where(TOP, X[0], -1), np.where(TOP, X[0], 0)
    samples = model.sample(params, KEY, 2, given=marked, observed=TOP)
    np.testing.assert_array_equal(samples, model.sample(params, KEY, 2, given=plain, observed=TOP))
    np.testing.assert_array_equal(samples[:, 0], np.broadcast_to(X[0, 0], (2, 3)))


def test_binary_values_are_0_and_1():
    model = make_model(EventSpec((4,)), "made", hidden_sizes=(4,))
    params = model.init(KEY)
    with pytest.raises(UserError, match="x of binary data must be 0 to 1, not 255 to 255"):
        model.log_prob(params, np.full((1, 4), 255, np.uint8))
    with pytest.raises(UserError, match="must be integers"):
        jax.jit(model.log_prob)(params, jnp.full((1, 4), 0.3))


@pytest.mark.parametrize("kind", CONTEXTS)
def test_transformed_and_converted_inputs_give_the_same_scores(kind):
    context = CONTEXTS[kind]
    spec = ContextSpec(kind, 0 if context is None else 3)
    model = make_model(EVENT, "made", context=spec, hidden_sizes=(4,))
    params = model.init(KEY)
    expected = model.log_prob(params, X, context=context)
    one_by_one = jax.vmap(lambda x, c: model.log_prob(params, x[None], context=None if c is None else c[None])[0])
    for found in (
        jax.jit(model.log_prob)(params, X, context=context),
        one_by_one(X, context),
        model.log_prob(params, X.tolist(), context=context, mask=np.ones_like(X).tolist()),
        model.log_prob(params, X.astype(np.uint8), context=context, key=jax.random.PRNGKey(0)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
