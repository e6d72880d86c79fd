"""The draws of `as_is` through which gradients flow, and models that it refuses, by parts that are written down."""

import types

import jax
import numpy as np
import pytest
from refusals import refusal

from arjax.core.spec import EventSpec
from arjax.objectives import as_is, make_objective

KEY = jax.random.key(2)


@pytest.mark.parametrize("num", [pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_relaxed_draws_are_softmax_with_gumbel_noise(num, temperature):
    log_p = np.log(np.array([[0.2, 0.8], [0.5, 0.5]] if num == 2 else [[0.2, 0.3, 0.5]], np.float32))
    objective = make_objective(f"as_is(estimator='gumbel_softmax', temperature={temperature})")
    head = types.SimpleNamespace(log_table=lambda features: features)
    noisy = (log_p + np.asarray(jax.random.gumbel(KEY, log_p.shape))) / temperature
    weights = np.exp(noisy) / np.exp(noisy).sum(-1, keepdims=True)
    drawn = objective._draw(head, KEY, log_p)
    np.testing.assert_allclose(drawn, weights[:, 1:] if num == 2 else weights, rtol=1e-5)


def test_real_draws_are_those_of_the_conditional():
    head = types.SimpleNamespace(sample=lambda key, features: (key, features))
    assert make_objective("as_is(estimator='pathwise')")._draw(head, KEY, "features") == (KEY, "features")


def model_of(**conditional):
    of_conditional = {"has_table": True, "REPARAMETERISED": False} | conditional
    return types.SimpleNamespace(
        **{"traits": frozenset({"conditionals"}), "orders": None, "score_kind": "exact", "event": EventSpec((2,))},
        conditional=types.SimpleNamespace(**of_conditional),
        **{"factorization": None, "param_shapes": {}},
    )


def test_models_without_such_gradients(monkeypatch):
    monkeypatch.setattr(as_is, "relax", lambda model, params: ("network", params))
    joint = []
    monkeypatch.setattr(as_is, "scores_blocks", lambda conditional, factorization: bool(joint))

    def said(estimator, **conditional):
        return refusal(make_objective(f"as_is(estimator={estimator!r})").check, model_of(**conditional))

    lacks = "as_is(estimator='{}') needs a list of probabilities: take score"
    for estimator in ("straight_through", "gumbel_softmax"):
        assert said(estimator) == "" and said(estimator, has_table=False) == lacks.format(estimator)
    functions = "as_is(estimator='pathwise') needs draws that are functions of noise, as of a gaussian"
    assert said("pathwise") == functions and said("pathwise", REPARAMETERISED=True, has_table=False) == ""
    joint.append(True)
    blocks = "as_is has gradients through the draws of single sites, not of joint blocks: take score"
    for estimator in ("straight_through", "gumbel_softmax", "pathwise"):
        assert said(estimator, REPARAMETERISED=True) == blocks
    assert said("score") == ""
    bound = model_of()
    bound.score_kind = "bound"
    assert "is of the kind 'bound'" in refusal(make_objective("as_is").check, bound)


def test_tables_become_linear_maps_without_a_bias():
    table, other = np.arange(6, dtype=np.float32).reshape(3, 2), np.ones(2)
    params = {"in": {"table": {"embedding": table}, "scale": other}, "out": {"kernel": other}}
    expected = {"in": {"linear": {"kernel": 0, "bias": 0}, "scale": 0}, "out": {"kernel": 0}}
    mapped = as_is._mapped(params, expected)
    assert mapped["in"]["linear"]["kernel"] is table and mapped["in"]["linear"]["bias"].tolist() == [0, 0]
    assert mapped["in"]["scale"] is other and mapped["out"] == params["out"] and "table" not in mapped["in"]
    assert as_is._mapped({"table": other}, {"table": 0}) == {"table": other}


def test_networks_that_read_no_relaxed_values_are_named():
    sentence = "the network 'SimpleNamespace' cannot read relaxed values: take as_is(estimator='score')"
    assert str(as_is._unsuited(types.SimpleNamespace())) == sentence


@pytest.mark.parametrize(("call", "sentence"), [("as_is(samples=1)", "'score') needs samples of at least 2")])
def test_samples_and_temperatures_that_cannot_be(call, sentence, capsys):
    assert sentence in refusal(make_objective, call)
    make_objective("as_is(estimator='pathwise', samples=1)")
    make_objective("as_is(estimator='gumbel_softmax', temperature=0.5)")
    assert not capsys.readouterr().err
    make_objective("as_is(temperature=0.5)")
    assert "temperature=0.5 of as_is has no effect: 'score' relaxes no draws" in capsys.readouterr().err
