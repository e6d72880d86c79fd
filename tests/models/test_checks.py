"""What a model checks before it computes, and what it is given by mistake: one sentence, else a plausible number."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from built import built
from law_cases import random_like
from refusals import each_refused, refusal

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.models import ModelChoice, make_model
from arjax.models.checks import as_context, check_end, check_factorization, check_key, check_params, is_one_context
from arjax.models.kinds import Recipe
from arjax.networks import NETWORKS
from arjax.networks.beside import Beside
from arjax.testing import EVENTS
from arjax.testing.models import autoregressive_networks, supported_model

LEVELS, TOKENS = EventSpec((2, 3), (2,), "levels", 4), EventSpec((4,), kind="tokens", num_levels=5)


def test_contexts_of_one_part_and_of_one_example():
    label = ContextSpec("label", 4)
    assert as_context(NO_CONTEXT, None, 2) is None and is_one_context(NO_CONTEXT, None)
    for given in ([3, 0], {"label": np.array([3, 0])}):
        parts = as_context(label, given, 2)
        assert list(parts) == ["label"] and parts["label"].tolist() == [3, 0] and parts["label"].dtype == jnp.int32
        assert not is_one_context(label, given)
    assert is_one_context(label, 3) and as_context(label, 3, 2, one_for_all=True)["label"].tolist() == [3, 3]
    for given, options in ((3, {}), ([1], {}), ([1] * 3, {"one_for_all": True})):
        assert "but 2 examples need" in refusal(as_context, label, given, 2, **options)


def test_keys_are_single():
    for key in (jax.random.key(0), jax.random.PRNGKey(0), np.array([0, 1], np.uint32)):
        check_key(key)
    for wrong in (0, None, jax.random.split(jax.random.key(0)), np.array([0, 1]), np.zeros((2, 2), np.uint32), "key"):
        assert "a random key is one key" in refusal(check_key, wrong)


def test_ends_are_tokens_of_sequences():
    assert check_end(TOKENS, None) is None and [check_end(TOKENS, end) for end in (0, np.int64(4))] == [0, 4]
    for wrong in (-1, 5, 1.0, True):
        assert "a token from 0 to 4" in refusal(check_end, TOKENS, wrong)
    for event in (LEVELS, EventSpec((4,)), EventSpec((2, 2), kind="tokens", num_levels=3)):
        assert check_end(event, None) is None
        assert "sequences of tokens have an end" in refusal(check_end, event, 0)


def test_parameters_are_those_of_the_model():
    expected = {"a": {"kernel": jax.ShapeDtypeStruct((2, 3), jnp.float32)}, "b": jax.ShapeDtypeStruct((), jnp.float32)}
    kernel = np.zeros((2, 3), np.float32)
    check_params(expected, {"a": {"kernel": kernel}, "b": np.float32(1)})
    wrong = [
        ({"a": {"kernel": kernel}}, "they lack 'b'"),
        ({"a": {}, "b": np.float32(1)}, "they lack 'a/kernel'"),
        ({"a": {"kernel": kernel}, "b": np.float32(1), "c": kernel}, "they hold 'c', which it does not have"),
        ({"a": kernel, "b": np.float32(1)}, "they lack 'a/kernel'"),
        ({"a": {"kernel": kernel.T}, "b": np.float32(1)}, "'a/kernel' has the shape (3, 2), not (2, 3)"),
        ({"a": {"kernel": kernel}, "b": {"kernel": kernel}}, "they lack 'b'"),
        ({"a": {"kernel": kernel}, "b": None}, "'b' should be an array"),
    ]
    for leaf, name in (("x", "str"), (kernel > 0, "bool"), ([kernel], "list"), (1.0, "float"), (1j, "complex")):
        wrong.append(
            ({"a": {"kernel": kernel}, "b": leaf}, f"'b' should be an array of real numbers, not of type {name}")
        )
    for params, sentence in wrong:
        assert f"these are not the parameters of this model: {sentence}" in refusal(check_params, expected, params)
    assert "params must be the nested dict" in refusal(check_params, expected, kernel)


def test_the_networks_that_can_are_named_though_one_of_them_fails(monkeypatch):
    """One of a user may fail on grids that it does not serve, in its own way."""
    monkeypatch.setattr(NETWORKS.get("lstm"), "check", staticmethod(lambda *args: 1 / 0))
    with pytest.raises(UserError, match=r"networks that can: .*made") as told:
        make_model(EventSpec((5,)), "pixelcnn_pp")
    assert ", lstm," not in str(told.value)


@pytest.mark.parametrize("name", autoregressive_networks())
def test_networks_check_other_factorizations_with_the_options_they_were_made_with(name):
    model = supported_model(name, EVENTS["tokens"], "raster", "sites")
    for network in (model.network, Beside.of(model.network, "noise", NO_CONTEXT, 1)):
        check_factorization(network, model.factorization)
        with pytest.raises(UserError, match=r"^the factorization is of \(1, 3\), the grid is"):
            check_factorization(network, make_factorization((1, 3)))


def test_parts_learn_from_the_examples_of_the_same_event():
    learned, made = ModelChoice(options={"ordering": "chow_liu"}, network="made"), make_model(TOKENS, "made")
    rows, other = np.random.default_rng(0).integers(0, 2, (9, 4)), EventSpec((2,))
    parts = {"a": learned, "b": made, "several": ModelChoice("autoregressive", {"orders": "uniform"}, "deep_nade")}
    whole = Recipe(TOKENS, choice=ModelChoice("latent", parts=parts), examples=rows)
    assert whole.part("a").event == whole.part("a", TOKENS).event == TOKENS and whole.part("b") is made
    assert whole.part("a", other, examples=rows[:, :2]).event == other
    assert whole.part("several", several_orders=True).orders is not None
    label = ContextSpec("label", 3)
    for call, sentence in (
        (lambda: whole.part("a", other), "the a of the kind 'latent': .* training"),
        (lambda: whole.part("b", other), "the b of the kind 'latent': it must be of 2 sites"),
        (lambda: whole.part("b", TOKENS, label), "its context must be ContextSpec"),
        (lambda: whole.part("several"), "under one order"),
        (lambda: whole.part("c"), "'latent' needs the part 'c'"),
        (lambda: whole.only("b"), "'latent' has b, not 'a'"),
    ):
        with pytest.raises(UserError, match=sentence):
            call()
    assert whole.part("b", TOKENS, label, needs_context=False) is made


EVENT, REAL, BITS = EventSpec((2, 3), (), "levels", 5), EventSpec((3,), kind="real"), EventSpec((4,))
X, Z, C = np.arange(12).reshape(2, 2, 3) % 5, np.random.default_rng(0).normal(size=(2, 3)), np.ones((2, 2))
KEY, TOP = jax.random.key(0), np.array([[True] * 3, [False] * 3])
VECTOR, LABEL, SEQUENCE = ContextSpec("vector", 2), ContextSpec("label", 3), ContextSpec("sequence", 3, 3)
COLUMNS = EventSpec((), (), "tokens", 3), EventSpec((), (), "real")
ROW = ContextSpec(row=EventSpec((2,), kind="columns", columns=COLUMNS))
small = functools.cache(functools.partial(built, hidden_sizes=(4,)))


#: Event, context, arguments of a score, and what is told.
SCORES = [
    (EVENT, NO_CONTEXT, {"x": X + 1}, "x of levels data must be 0 to 4, not 1 to 5"),
    (EVENT, NO_CONTEXT, {"x": X + 0.5}, "must be integers, not float64"),
    (EVENT, NO_CONTEXT, {"x": X[0]}, r"has shape \(2, 3\), but must have \(B, 2, 3\)"),
    (EVENT, NO_CONTEXT, {"x": X[:0]}, r"has shape \(0, 2, 3\), but must have \(B, 2, 3\)"),
    (EVENT, NO_CONTEXT, {"mask": np.full((2, 2, 3), 0.5)}, "mask must be 0 or 1 everywhere, not 0.5"),
    (EVENT, NO_CONTEXT, {"mask": np.ones((2, 3))}, r"mask has shape \(2, 3\), but 2 examples need \(2, 2, 3\)"),
    (EVENT, NO_CONTEXT, {"mask": np.full((2, 2, 3), -1)}, "mask must be 0 or 1 everywhere, not -1"),
    (EVENT, NO_CONTEXT, {"factorization": make_factorization((6,))}, "the factorization is of"),
    (EVENT, NO_CONTEXT, {"factorization": "raster"}, "a factorization is one as from make_factorization, not"),
    (EVENT, NO_CONTEXT, {"key": jax.random.split(KEY)}, "a random key is one key"),
    (BITS, NO_CONTEXT, {"x": np.full((1, 4), 255, np.uint8)}, "x of binary data must be 0 to 1, not 255"),
    (EVENT, NO_CONTEXT, {"context": np.zeros(2)}, "has no context"),
    (EVENT, LABEL, {"context": None}, "needs a label context: give context="),
    (EVENT, LABEL, {"context": [0, -1]}, "must be 0 to 2, not -1 to 0"),
    (EVENT, LABEL, {"context": [0.0, 1.5]}, "the context must be integers"),
    (EVENT, VECTOR, {"context": np.ones((2, 3))}, "but 2 examples need"),
    (EVENT, VECTOR, {"context": C * np.nan}, "the context must be finite as float32, not nan"),
    (EVENT, VECTOR, {"context": [[1.0], [1.0, 2.0]]}, "the context must be one array of numbers"),
    (EVENT, SEQUENCE, {"context": [[0, 2, 3], [0, 1, -1]]}, "must be -1 to 2, not -1 to 3"),
    (EVENT, SEQUENCE, {"context": [[0, 1, 2], [0, -1, 1]]}, "with -1 after its end, not before or between"),
    (EVENT, ROW, {"context": np.full((2, 2), 3.0)}, "column 0 must be whole numbers from 0 to 2, not 3"),
    (REAL, NO_CONTEXT, {"x": jnp.asarray(Z) + 1j}, "x must be real numbers, not complex64"),
    (REAL, NO_CONTEXT, {"x": np.where(Z[1, 1] == Z, np.nan, Z)}, "must be finite as float32, not nan: a missing value"),
    (REAL, NO_CONTEXT, {"x": np.where(Z[1, 1] == Z, 1e300, Z)}, r"must be finite as float32, not 1e\+300"),
    (REAL, NO_CONTEXT, {"x": np.full((2, 3), np.datetime64("2020-01-01"))}, "x must be real numbers, not datetime64"),
    (REAL, NO_CONTEXT, {"x": [[1.0, 2.0], [3.0]]}, "must be one array of numbers, and its rows have different lengths"),
    (REAL, NO_CONTEXT, {"x": None}, "x must be real numbers, not of type NoneType"),
    (REAL, NO_CONTEXT, {"x": KEY}, "x must be real numbers, not key"),
]


@pytest.mark.parametrize(("event", "context", "arguments", "message"), SCORES)
def test_wrong_inputs_of_a_score(event, context, arguments, message):
    """Values that a function closes over are known while it is traced."""
    (model, params), arguments = small(event, context=context), {"x": X} | arguments
    of_log_prob = {"mask", "factorization"} & arguments.keys()
    for method in (model.log_prob,) if of_log_prob else (model.log_prob, model.conditionals):
        with pytest.raises(UserError, match=message):
            jax.eval_shape(lambda params, method=method: method(params, **arguments), params)
    if "context" in arguments:
        with pytest.raises(UserError, match=message):
            model.sample(params, KEY, 2, context=arguments["context"])
    if event is REAL:
        with pytest.raises(UserError, match=message):
            model.conditional_log_prob(params, arguments["x"], query=np.ones(3), evidence=np.zeros(3))
        if arguments["x"] is not None:
            with pytest.raises(UserError, match=message.replace("x ", "given ")):
                model.sample(params, KEY, 2, given=arguments["x"], observed=np.ones(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"num": num}, "whole number") for num in (2.0, 0, True)),
        ({"temperature": 0}, "positive"),
        ({"temperature": "1"}, "positive"),
        ({"key": 7}, "a random key is one key"),
        ({"given": X[0] + 5, "observed": TOP}, "given of levels data must be 0 to 4"),
    ],
)
def test_wrong_inputs_of_samples(arguments, message):
    model, params = small(EVENT)
    with pytest.raises(UserError, match=message):
        model.sample(params, **{"key": KEY, "num": 2} | arguments)


def test_given_values_count_only_where_observed():
    model, params = small(EVENT)
    marked, plain = np.where(TOP, X[0], -1), np.where(TOP, X[0], 0)
    samples = model.sample(params, KEY, 2, given=marked, observed=TOP)
    np.testing.assert_array_equal(samples, model.sample(params, KEY, 2, given=plain, observed=TOP))
    np.testing.assert_array_equal(samples[:, 0], np.broadcast_to(X[0, 0], (2, 3)))


@pytest.mark.parametrize("context", [None, np.array([0, 2]), np.eye(3, 2, dtype=np.float32)[:2]])
def test_transformed_and_converted_inputs_give_the_same_scores(context):
    model, params = small(EVENT, context=NO_CONTEXT if context is None else LABEL if context.ndim == 1 else VECTOR)
    one_by_one = jax.vmap(lambda x, c: model.log_prob(params, x[None], context=None if c is None else c[None])[0])

    @jax.jit
    def converted(params):
        return (
            one_by_one(X, context),
            model.log_prob(params, X.tolist(), context=context, mask=np.ones_like(X).tolist()),
            model.log_prob(params, X.astype(np.uint8), context=context, key=jax.random.PRNGKey(0)),
        )

    expected = jax.jit(model.log_prob)(params, X, context=context)
    for scores in converted(params):
        np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_what_is_missing_may_be_marked_by_nan():
    model, params = small(REAL, context=VECTOR)
    query, evidence = np.array([False, True, False]), np.array([True, False, False])
    marked, more = np.where(query | evidence, Z, np.nan), {"query": query, "evidence": evidence, "context": C}
    asked = jax.jit(lambda params: [model.conditional_log_prob(params, x, **more) for x in (marked, Z)])
    np.testing.assert_array_equal(*asked(params))
    drawn = model.sample(params, KEY, 2, given=np.where(evidence, Z, np.nan), observed=evidence, context=C)
    assert np.isfinite(drawn).all()


test_wrong_inputs_of_a_model = each_refused(
    (lambda: make_model((5,), "made"), r"an EventSpec such as .* belongs here, not \(5,\)"),
    (lambda: make_model(EVENT, "made", context="label"), "a ContextSpec such as .* belongs here, not 'label'"),
    (lambda: make_model(EVENT, "made", hidden_sizes=(4,)).init(0), "a random key is one key"),
    (lambda: make_model(EVENT, None), "unknown network None: give its name"),
    (lambda: make_model(EVENT, "made", ordering=3), "3"),
    (lambda: make_model(EVENT, "made", partition=None), "None"),
    (lambda: make_model(EVENT, "made", conditional=7), "7"),
    (lambda: make_model(EVENT, "made", data=[[1, 2], [3]]), "data must be one array of numbers"),
    (lambda: make_model(EVENT, "made", data=np.zeros((4, 3))), "data has shape"),
    (lambda: make_model(BITS, "fvsbn", ordering="variance", data=np.full((3, 4), 5)), "the examples of binary data"),
)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (None, "params must be the nested dict of arrays that model.init makes, not of type NoneType"),
        (Z, r"of its own: model\.init\(key\) or arjax\.fit_arrays gives them"),
        ({}, "these are not the parameters of this model: they lack '"),
        (random_like(small(REAL, context=ContextSpec("vector", 3))[0].param_shapes), "has the shape .*, not "),
    ],
)
def test_parameters_of_something_else(params, message):
    model, _ = small(REAL, context=VECTOR)
    for call in (
        lambda: model.log_prob(params, Z, context=C),
        lambda: model.log_prob(params, x=Z, context=C),
        lambda: model.conditionals(params, Z, context=C),
        lambda: model.sample(params, KEY, 2, context=C),
        lambda: model.conditional_log_prob(params, Z, query=[1, 0, 0], evidence=[0, 0, 0], context=C),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_parameters_of_joint_conditionals_are_looked_at_too():
    """Shapes are read once; after that a check neither traces nor reads values."""
    model, params = built(EventSpec((2,), (2,)), hidden_sizes=(4,), conditional="nested(hidden_sizes=(4,), features=2)")
    x = np.zeros((1, 2, 2), int)
    assert np.isfinite(jax.jit(model.log_prob)(params, x)).all()
    assert model.param_shapes is model.param_shapes
    inner = {**params["conditional"], "more": np.ones(2)}
    for wrong in ({**params, "conditional": inner}, {k: v for k, v in params.items() if k != "conditional"}):
        with pytest.raises(UserError, match=r"they (lack|hold) 'conditional"):
            model.log_prob(wrong, x)
