"""A model is an argument of jitted functions: equal models share a program, and so do all orders."""

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.core import EventSpec, UserError
from arjax.models import make_model
from arjax.networks import NETWORKS

EVENT = EventSpec((3, 4), (), "levels", 3)
X = np.random.default_rng(0).integers(0, 3, (5, 3, 4)).astype(np.int32)


def build(network="made", event=EVENT, **options):
    """A small model."""
    return make_model(event, network, **{**NETWORKS.get(network).SMALL, **options})


def params_of(model):
    return cases.random_like(model.param_shapes)


def counted(function):
    """The jitted function, and how often it was traced."""
    traces = []

    def traced(*args):
        traces.append(1)
        return function(*args)

    return jax.jit(traced), traces


@pytest.mark.parametrize("network", ["made", "lstm", pytest.param("gated_pixelcnn", marks=pytest.mark.slow)])
def test_one_program_serves_equal_models_and_all_orders(network):
    score, traces = counted(lambda model, params, x: model.log_prob(params, x))
    orders = ("raster", "raster", "symmetry(flip=(0,))", "symmetry(flip=(0, 1))")
    models = [build(network, ordering=order) for order in orders]
    params = params_of(models[0])
    scores = [np.asarray(score(model, params, X)) for model in models]
    assert len(traces) == 1
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2]) and not np.allclose(scores[2], scores[3])
    np.testing.assert_allclose(scores[3], jax.jit(models[3].log_prob)(params, X), rtol=1e-5)


@pytest.mark.slow
def test_equal_nested_conditionals_share_a_program():
    event = EventSpec((3,), (4,))
    options = {"conditional": "nested(network='made', hidden_sizes=(8,), ordering='random(seed=1)')"}
    score, traces = counted(lambda model, params, x: model.log_prob(params, x))
    models = [build("rnn", event, **options) for _ in range(2)]
    assert models[0].conditional == models[1].conditional
    assert hash(models[0].conditional) == hash(models[1].conditional)
    other = options["conditional"].replace("seed=1", "seed=2")
    assert models[0].conditional != build("rnn", event, conditional=other).conditional
    params = params_of(models[0])
    for model in models:
        score(model, params, np.zeros((2, 3, 4), np.int32))
    assert len(traces) == 1


@pytest.mark.parametrize("objective_orders", ["pool(num=3)", "uniform"])
def test_a_distribution_over_orders_is_part_of_the_pytree(objective_orders):
    model = build(orders=objective_orders)
    draw, traces = counted(lambda model, key: model.orders.draw(key).order)
    order = draw(model, jax.random.key(1))
    assert sorted(np.asarray(order)) == list(range(12)) and len(traces) == 1
    assert jax.tree.structure(model) == jax.tree.structure(build(orders=objective_orders))


def test_queries_say_that_they_need_the_orders_outside_of_jit():
    top = np.arange(12).reshape(3, 4) < 4
    queries = {
        "sample": lambda model, params: model.sample(params, jax.random.key(0), 1, given=X[0], observed=top),
        "score": lambda model, params: model.conditional_log_prob(params, X, query=~top, evidence=top),
    }
    for options in ({}, {"orders": "uniform"}):
        model = build("independent" if not options else "made", **options)
        params = params_of(model)
        for query in queries.values():
            with pytest.raises(UserError, match=r"must be known outside `jit`.*close over the model"):
                jax.eval_shape(query, model, params)
            jax.eval_shape(lambda params, query=query, model=model: query(model, params), params)
