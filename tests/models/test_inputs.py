"""What a model is given by mistake ends in one sentence: it would otherwise come out as a plausible number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law_cases import random_like

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model

EVENT = EventSpec((2, 3), (), "levels", 5)
OPTIONS = {"width": 8, "num_layers": 1, "num_heads": 1, "dropout": 0.5}
X = np.arange(12).reshape(2, 2, 3) % 5
KEY = jax.random.key(0)
TOP = np.array([[True] * 3, [False] * 3])
#: Three real numbers and a context.
REAL, Z, C = EventSpec((3,), kind="real"), np.random.default_rng(0).normal(size=(2, 3)), np.ones((2, 2))


CONTEXTS = {"none": None, "label": np.array([0, 2]), "vector": np.eye(3, dtype=np.float32)[:2]}


@pytest.fixture(scope="module")
def model_and_params():
    model = make_model(EVENT, "transformer", **OPTIONS)
    return model, random_like(model.param_shapes)


#: What `arjax.models.checks` refuses is checked by every method that takes it.
SCORES = {
    "values too large": ({"x": X + 1}, "x of levels data must be 0 to 4, not 1 to 5"),
    "bytes too large": ({"x": (X + 1).astype(np.uint8)}, "not 1 to 5"),
    "fractions": ({"x": X + 0.5}, "must be integers, not float64"),
    "one example alone": ({"x": X[0]}, r"has shape \(2, 3\), but must have \(B, 2, 3\)"),
    "mask of one example": ({"mask": np.ones((2, 3))}, r"mask has shape \(2, 3\), but 2 examples need \(2, 2, 3\)"),
    "factorization of another grid": ({"factorization": make_factorization((6,))}, "the factorization is of"),
    "several keys": ({"key": jax.random.split(KEY)}, "a random key is one key"),
}


@pytest.mark.parametrize("name", SCORES)
def test_wrong_inputs_of_a_score(model_and_params, name):
    model, params = model_and_params
    arguments, message = SCORES[name]
    of_log_prob = {"mask", "factorization"} & arguments.keys()
    for method in (model.log_prob,) if of_log_prob else (model.log_prob, model.conditionals):
        with pytest.raises(UserError, match=message):  # values that are closed over are known while it is traced
            jax.eval_shape(lambda params, score=method: score(params, **{"x": X, **arguments}), params)


@pytest.mark.parametrize(
    ("kind", "context", "message"),
    [
        ("none", np.zeros(2), "has no context"),
        ("label", None, "needs a label context"),
        ("label", np.array([0, -1]), "must be 0 to 2, not -1 to 0"),
        ("label", np.array([0.0, 1.5]), "the context must be integers"),
        ("vector", np.ones((2, 2)), "but 2 examples need"),
        ("sequence", np.array([[0, 2, 3], [0, 1, -1]]), "must be -1 to 2, not -1 to 3"),
        ("sequence", np.array([[0, 1, 2], [0, -1, 1]]), "with -1 after its end, not before or between"),
    ],
)
def test_wrong_contexts(kind, context, message):
    spec = ContextSpec(kind, 0 if kind == "none" else 3, 3 if kind == "sequence" else 0)
    model = make_model(EVENT, "made", context=spec, hidden_sizes=(4,))
    params = random_like(model.param_shapes)
    for call in (
        lambda: model.log_prob(params, X, context=context),
        lambda: model.sample(params, KEY, 2, context=context),
    ):
        with pytest.raises(UserError, match=message):
            call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 2.0}, "whole number"),
        ({"temperature": 0}, "positive"),
        ({"temperature": "1"}, "positive"),
        ({"key": 7}, "a random key is one key"),
        ({"given": X[0] + 5, "observed": TOP}, "given of levels data must be 0 to 4"),
    ],
)
def test_wrong_inputs_of_samples(arguments, message):
    model = make_model(EVENT, "made", hidden_sizes=(4,))
    arguments = {"key": KEY, "num": 2} | arguments
    with pytest.raises(UserError, match=message):
        model.sample(random_like(model.param_shapes), **arguments)


def test_given_values_count_only_where_observed():
    model = make_model(EVENT, "made", hidden_sizes=(4,))
    params = random_like(model.param_shapes)
    marked, plain = np.where(TOP, X[0], -1), np.where(TOP, X[0], 0)
    samples = model.sample(params, KEY, 2, given=marked, observed=TOP)
    np.testing.assert_array_equal(samples, model.sample(params, KEY, 2, given=plain, observed=TOP))
    np.testing.assert_array_equal(samples[:, 0], np.broadcast_to(X[0, 0], (2, 3)))


def test_binary_values_are_0_and_1():
    model = make_model(EventSpec((4,)), "made", hidden_sizes=(4,))
    params = random_like(model.param_shapes)
    with pytest.raises(UserError, match="x of binary data must be 0 to 1, not 255 to 255"):
        model.log_prob(params, np.full((1, 4), 255, np.uint8))
    with pytest.raises(UserError, match="must be integers"):
        jax.jit(model.log_prob)(params, jnp.full((1, 4), 0.3))


@pytest.mark.parametrize("kind", CONTEXTS)
def test_transformed_and_converted_inputs_give_the_same_scores(kind):
    context = CONTEXTS[kind]
    spec = ContextSpec(kind, 0 if context is None else 3)
    model = make_model(EVENT, "made", context=spec, hidden_sizes=(4,))
    params = random_like(model.param_shapes)
    one_by_one = jax.vmap(lambda x, c: model.log_prob(params, x[None], context=None if c is None else c[None])[0])

    @jax.jit
    def converted(params):
        return (
            one_by_one(X, context),
            model.log_prob(params, X.tolist(), context=context, mask=np.ones_like(X).tolist()),
            model.log_prob(params, X.astype(np.uint8), context=context, key=jax.random.PRNGKey(0)),
        )

    expected = jax.jit(model.log_prob)(params, X, context=context)
    for found in converted(params):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_columns_of_a_context_are_checked_by_their_kinds():
    columns = (EventSpec((), (), "tokens", 3), EventSpec((), (), "real"))
    row = ContextSpec(row=EventSpec((2,), kind="columns", columns=columns))
    model = make_model(EVENT, "made", context=row, hidden_sizes=(4,))
    with pytest.raises(UserError, match="the context: column 0 must be whole numbers from 0 to 2, not 3"):
        model.log_prob(random_like(model.param_shapes), X, context=np.full((2, 2), 3.0))


DATES = np.full((2, 3), np.datetime64("2020-01-01"))


@pytest.fixture(scope="module")
def real_model():
    model = make_model(REAL, "made", hidden_sizes=(4,), context=ContextSpec("vector", 2))
    return model, random_like(model.param_shapes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": jnp.asarray(Z) + 1j}, "x must be real numbers, not complex64"),
        (
            {"x": np.where(Z[1, 1] == Z, np.nan, Z)},
            "x of real data must be finite as float32, not nan: a missing value",
        ),
        ({"x": np.where(Z[1, 1] == Z, 1e300, Z)}, r"x of real data must be finite as float32, not 1e\+300"),
        ({"x": DATES}, "x must be real numbers, not datetime64"),
        ({"x": [[1.0, 2.0], [3.0]]}, "x must be one array of numbers, and its rows have different lengths"),
        ({"x": None}, "x must be real numbers, not of type NoneType"),
        ({"x": KEY}, "x must be real numbers, not key"),
        ({"context": C * np.nan}, "the context must be finite as float32, not nan"),
        ({"context": [[1.0], [1.0, 2.0]]}, "the context must be one array of numbers"),
        ({"mask": np.full((2, 3), -1)}, "mask must be 0 or 1 everywhere, not -1"),
    ],
)
def test_numbers_that_are_none_or_too_large(real_model, arguments, message):
    model, params = real_model
    given = {"x": Z, "context": C} | arguments
    with pytest.raises(UserError, match=message):
        model.log_prob(params, **given)
    if "mask" not in arguments:
        with pytest.raises(UserError, match=message):
            model.conditionals(params, **given)
    if "x" not in arguments or given["x"] is None:
        return
    evidence = np.array([True, True, True])
    with pytest.raises(UserError, match=message.replace("x ", "given ")):
        model.sample(params, KEY, 2, given=given["x"], observed=evidence, context=C)
    if "different" in message or "must be real" in message:
        with pytest.raises(UserError, match=message):
            model.conditional_log_prob(params, given["x"], query=evidence, evidence=~evidence, context=C)


def test_what_is_missing_may_be_marked_by_nan(real_model):
    model, params = real_model
    query, evidence = np.array([False, True, False]), np.array([True, False, False])
    marked, more = np.where(query | evidence, Z, np.nan), {"query": query, "evidence": evidence, "context": C}
    asked = jax.jit(lambda params: [model.conditional_log_prob(params, x, **more) for x in (marked, Z)])
    np.testing.assert_array_equal(*asked(params))
    drawn = model.sample(params, KEY, 2, given=np.where(evidence, Z, np.nan), observed=evidence, context=C)
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_model((5,), "made"), r"an EventSpec such as .* belongs here, not \(5,\)"),
        (lambda: make_model(EVENT, "made", context="label"), "a ContextSpec such as .* belongs here, not 'label'"),
        (lambda: make_model(EVENT, "made", hidden_sizes=(4,)).init(0), "a random key is one key"),
        (lambda: make_model(EVENT, None), "unknown network None: give its name"),
        (lambda: make_model(EVENT, "made", ordering=3), "3"),
        (lambda: make_model(EVENT, "made", partition=None), "None"),
        (lambda: make_model(EVENT, "made", conditional=7), "7"),
        (lambda: make_model(EVENT, "made", data=[[1, 2], [3]]), "data must be one array of numbers"),
        (lambda: make_model(EVENT, "made", data=np.zeros((4, 3))), "data has shape"),
    ],
)
def test_wrong_inputs_of_a_model(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_values_that_the_event_lacks_are_no_data_for_an_ordering():
    with pytest.raises(UserError, match="the examples of binary data"):
        make_model(EventSpec((4,)), "fvsbn", ordering="variance", data=np.full((3, 4), 5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "params must be the nested dict of arrays that model.init makes, not of type NoneType"),
        ({}, "these are not the parameters of this model: they lack '"),
        (
            random_like(make_model(REAL, "made", hidden_sizes=(4,), context=ContextSpec("vector", 3)).param_shapes),
            "has the shape .*, not ",
        ),
    ],
)
def test_parameters_of_something_else(real_model, wrong, message):
    model, _ = real_model
    calls = (
        lambda: model.log_prob(wrong, Z, context=C),
        lambda: model.sample(wrong, KEY, 2, context=C),
        lambda: model.conditional_log_prob(wrong, Z, query=[1, 0, 0], evidence=[0, 0, 0], context=C),
    )
    for call in calls:
        with pytest.raises(UserError, match=message):
            call()


def test_a_call_without_parameters_says_where_they_come_from(real_model):
    model, _ = real_model
    calls = (
        lambda: model.log_prob(Z, context=C),
        lambda: model.log_prob(x=Z, context=C),
        lambda: model.conditionals(Z),
        lambda: model.sample(KEY, 2),
        lambda: model.conditional_log_prob(Z, query=[1, 0, 0], evidence=[0, 0, 0]),
    )
    for call in calls:
        with pytest.raises(UserError, match=r"of its own: model\.init\(key\) or arjax\.fit_arrays gives them"):
            call()


def test_parameters_of_joint_conditionals_are_looked_at_too():
    event = EventSpec((2,), (2,))
    model = make_model(event, "made", hidden_sizes=(4,), conditional="nested(hidden_sizes=(4,), features=2)")
    params, x = random_like(model.param_shapes), np.zeros((1, 2, 2), int)
    assert np.isfinite(jax.jit(model.log_prob)(params, x)).all()
    inner = {**params["conditional"], "more": np.ones(2)}
    for wrong in ({**params, "conditional": inner}, {k: v for k, v in params.items() if k != "conditional"}):
        with pytest.raises(UserError, match=r"they (lack|hold) 'conditional"):
            model.log_prob(wrong, x)


def test_parameters_are_looked_at_without_a_pass(real_model):
    """Shapes are read once; after that a check neither traces nor reads values."""
    model, params = real_model
    shapes = model.param_shapes
    assert model.param_shapes is shapes
    assert jax.tree.map(lambda a: a.shape, shapes) == jax.tree.map(lambda a: a.shape, params)
