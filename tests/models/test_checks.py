"""What a model checks before it computes: values, masks, contexts, keys, ends and parameters, at their limits."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.models import ModelChoice, make_model
from arjax.models.checks import (
    as_context,
    check_end,
    check_factorization,
    check_key,
    check_likelihood,
    check_params,
    is_one_context,
    public,
)
from arjax.models.draws import keys_of
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
        with pytest.raises(UserError, match="but 2 examples need"):
            as_context(label, given, 2, **options)


def test_keys_are_single():
    for key in (jax.random.key(0), jax.random.PRNGKey(0), np.array([0, 1], np.uint32)):
        check_key(key)
    for wrong in (0, None, jax.random.split(jax.random.key(0)), np.array([0, 1]), np.zeros((2, 2), np.uint32), "key"):
        with pytest.raises(UserError, match=r"^a random key is one key"):
            check_key(wrong)


def test_samples_need_one_key_and_a_whole_number():
    keys = jax.random.split(jax.random.key(0))
    for key, num in ((0, 1), (keys, 1), (keys[0], 0), (keys[0], True), (keys[0], 1.0)):
        with pytest.raises(UserError):
            keys_of(key, num)


def test_ends_are_tokens_of_sequences():
    assert check_end(TOKENS, None) is None and [check_end(TOKENS, end) for end in (0, np.int64(4))] == [0, 4]
    for wrong in (-1, 5, 1.0, True):
        with pytest.raises(UserError, match="a token from 0 to 4"):
            check_end(TOKENS, wrong)
    for event in (LEVELS, EventSpec((4,)), EventSpec((2, 2), kind="tokens", num_levels=3)):
        assert check_end(event, None) is None
        with pytest.raises(UserError, match="sequences of tokens have an end"):
            check_end(event, 0)


def test_parameters_are_those_of_the_model():
    expected = {"a": {"kernel": jax.ShapeDtypeStruct((2, 3), jnp.float32)}, "b": jax.ShapeDtypeStruct((), jnp.float32)}
    kernel = np.zeros((2, 3), np.float32)
    check_params(expected, {"a": {"kernel": kernel}, "b": np.float32(1)})
    for wrong, sentence in (
        ({"a": {"kernel": kernel}}, "they lack 'b'"),
        ({"a": {}, "b": np.float32(1)}, "they lack 'a/kernel'"),
        ({"a": {"kernel": kernel}, "b": np.float32(1), "c": kernel}, "they hold 'c', which it does not have"),
        ({"a": kernel, "b": np.float32(1)}, "they lack 'a/kernel'"),
        ({"a": {"kernel": kernel.T}, "b": np.float32(1)}, r"'a/kernel' has the shape \(3, 2\), not \(2, 3\)"),
        ({"a": {"kernel": "x"}, "b": np.float32(1)}, "'a/kernel' should be an array of real numbers, not of type str"),
        (
            {"a": {"kernel": kernel > 0}, "b": np.float32(1)},
            "'a/kernel' should be an array of real numbers, not of type bool",
        ),
        ({"a": {"kernel": kernel}, "b": {"kernel": kernel}}, "they lack 'b'"),
        ({"a": {"kernel": kernel}, "b": [kernel, kernel]}, "'b' should be an array of real numbers, not of type list"),
        ({"a": {"kernel": kernel}, "b": None}, "'b' should be an array"),
        ({"a": {"kernel": kernel}, "b": 1.0}, "'b' should be an array of real numbers, not of type float"),
        (
            {"a": {"kernel": kernel}, "b": np.complex64(1)},
            "'b' should be an array of real numbers, not of type complex64",
        ),
    ):
        with pytest.raises(UserError, match=f"^these are not the parameters of this model: {sentence}"):
            check_params(expected, wrong)
    with pytest.raises(UserError, match=r"^params must be the nested dict"):
        check_params(expected, kernel)


def test_public_methods_take_parameters_and_known_names():
    @public
    def method(self, params, x=0, *, mask=None):
        return params, x, mask

    assert method(None, {}, 3) == ({}, 3, None) and method(None, params={}, mask=1) == ({}, 0, 1)
    with pytest.raises(UserError, match="method takes no 'mark', did you mean 'mask'"):
        method(None, {}, mark=1)


def test_likelihoods_are_asked_for():
    check_likelihood(types.SimpleNamespace(score_kind="bound"), "it")
    with pytest.raises(UserError, match=r"^it needs a likelihood"):
        check_likelihood(types.SimpleNamespace(score_kind="none"), "it")


def test_the_networks_that_can_are_named_though_one_of_them_fails(monkeypatch):
    """One of a user may fail on grids that it does not serve, in its own way."""
    monkeypatch.setattr(NETWORKS.get("lstm"), "check", staticmethod(lambda *args: 1 / 0))
    with pytest.raises(UserError, match=r"networks that can: .*made") as told:
        make_model(EventSpec((5,)), "pixelcnn_pp")
    assert ", lstm," not in str(told.value)


@pytest.mark.parametrize("name", autoregressive_networks())
def test_networks_check_other_factorizations_with_the_options_they_were_made_with(name):
    """And so does a network inside of another one."""
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
    for wrong, sentence in (
        (lambda: whole.part("a", other), "the a of the kind 'latent': .* training"),
        (lambda: whole.part("b", other), "the b of the kind 'latent': it must be of 2 sites"),
        (lambda: whole.part("b", TOKENS, label), "its context must be ContextSpec"),
        (lambda: whole.part("several"), "under one order"),
        (lambda: whole.part("c"), "'latent' needs the part 'c'"),
        (lambda: whole.only("b"), "'latent' has b, not 'a'"),
    ):
        with pytest.raises(UserError, match=sentence):
            wrong()
    assert whole.part("b", TOKENS, label, needs_context=False) is made
