"""Independent sites, separate networks, FVSBN and NADE against their definitions, in plain numpy loops."""

from __future__ import annotations

import functools
import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from numpy_layers import random_like
from scipy import special

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model

BINARY = EventSpec((7,))
LEVELS = EventSpec((5,), (2,), "levels", 3)
LABEL = ContextSpec("label", 4)


def random_x(event: EventSpec, num: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(0, event.num_levels, (num, *event.shape))


def inputs_of(one: np.ndarray, event: EventSpec) -> np.ndarray:
    """[D, n]: bits as they are, levels one-hot."""
    if event.num_levels == 2:
        return one.reshape(event.num_sites, -1)
    return np.eye(event.num_levels)[one].reshape(event.num_sites, -1)


def check(model, expected_of_one, *, context=None) -> None:
    """The features of the model are `expected_of_one(params, inputs_Dn, steps_D, c)` [D, F] for each example."""
    params, x = random_like(model.param_shapes, 1.0), random_x(model.event)
    contexts = [None] * len(x) if context is None else context
    steps = np.asarray(model.factorization.step)
    expected = [
        expected_of_one(params, inputs_of(one, model.event), steps, c) for one, c in zip(x, contexts, strict=True)
    ]
    features = cases.parallel(
        model.network, params, x, model.factorization, None if context is None else {"label": context}
    )
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)


def site_bias(params, c) -> np.ndarray:
    bias = params["bias"]
    return bias if c is None else bias + params["context"]["table"]["embedding"][c].reshape(bias.shape)


def linear(params, inputs_Dn, steps_D, num_features) -> np.ndarray:
    """sum of W_ij x_j over the sites j of earlier steps."""
    num_sites, n = inputs_Dn.shape
    W = params["kernel"].reshape(num_sites, n, num_sites, num_features)
    out = np.zeros((num_sites, num_features))
    for i in range(num_sites):
        for j in range(num_sites):
            if steps_D[j] < steps_D[i]:
                out[i] += inputs_Dn[j] @ W[j, :, i]
    return out


def fvsbn(params, inputs_Dn, steps_D, c) -> np.ndarray:
    constant = site_bias(params["site"], c)
    return constant + linear(params["earlier"], inputs_Dn, steps_D, constant.shape[1])


def nade(params, inputs_Dn, steps_D, c, *, act=special.expit) -> np.ndarray:
    """Algorithm 1 of Larochelle & Murray (2011), with the sites of a step in the place of one site."""
    out = np.array(site_bias(params["site"], c))
    a = params["hidden_bias"].astype(float)
    if c is not None:
        a = a + params["hidden_context"]["table"]["embedding"][c]
    for t in range(steps_D.max() + 1):
        h = act(a)
        for i in np.flatnonzero(steps_D == t):
            out[i] += h @ params["out_kernel"][i]
        for i in np.flatnonzero(steps_D == t):
            a = a + inputs_Dn[i] @ params["in_kernel"][i]
    return out


def nade_and_fvsbn(params, inputs_Dn, steps_D, c) -> np.ndarray:
    out = nade(params, inputs_Dn, steps_D, c)
    return out + linear(params["earlier"], inputs_Dn, steps_D, out.shape[1])


def separate(params, inputs_Dn, steps_D, c) -> np.ndarray:
    """A perceptron per site that is given its predecessors alone."""
    W, V, depth = params["hidden_0_kernel"], params["out_kernel"], sum("hidden" in name for name in params) // 2
    num_sites, n = inputs_Dn.shape
    added = np.zeros(params["hidden_0_bias"].shape)
    if c is not None:
        added = params["context"]["table"]["embedding"][c].reshape(added.shape)
    out = []
    for i in range(num_sites):
        seen = steps_D < steps_D[i]
        h = inputs_Dn[seen].ravel() @ W[i].reshape(num_sites, n, W.shape[-1])[seen].reshape(seen.sum() * n, W.shape[-1])
        h = np.maximum(h + params["hidden_0_bias"][i] + added[i], 0)
        for layer in range(1, depth):
            h = np.maximum(h @ params[f"hidden_{layer}_kernel"][i] + params[f"hidden_{layer}_bias"][i], 0)
        out.append(h @ V[i] + params["out_bias"][i])
    return np.array(out)


DEFINITIONS = {
    "fvsbn": ({}, fvsbn),
    "nade": ({"hidden_size": 6}, nade),
    "nade, direct": ({"hidden_size": 6, "direct": True, "steps_per_chunk": 3}, nade_and_fvsbn),
    "nade, relu": (
        {"hidden_size": 6, "activation": "relu", "steps_per_chunk": 1},
        functools.partial(nade, act=lambda a: np.maximum(a, 0)),
    ),
    "separate": ({"hidden_sizes": (6,)}, separate),
    "separate, deep": ({"hidden_sizes": (6, 5, 4)}, separate),
}


EVENTS = {"binary": BINARY, "levels_vector": LEVELS}
ORDERS = [("raster", (1,)), ("random(seed=3)", (1,)), ("random(seed=1)", (2, 1)), ("raster", ())]


def every_definition():
    """Under all orders of all events: for each definition and event another one of the four, and the rest is slow."""
    for i, (name, event) in enumerate(itertools.product(DEFINITIONS, EVENTS)):
        for k, order in enumerate(ORDERS):
            yield pytest.param(name, *order, event, marks=() if k == i % len(ORDERS) else pytest.mark.slow)


@pytest.mark.parametrize(("name", "ordering", "sizes", "event"), list(every_definition()))
def test_features_follow_the_definition(name, ordering, sizes, event):
    """Single sites, blocks of uneven sizes, and one block of everything."""
    event = EVENTS[event]
    partition = "sites" if sizes == (1,) else f"sizes(sizes={(*sizes, event.num_sites - sum(sizes))})"
    options, definition = DEFINITIONS[name]
    model = make_model(event, name.partition(",")[0], ordering=ordering, partition=partition, **options)
    check(model, definition)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFINITIONS)
def test_context_enters_as_defined(name):
    options, definition = DEFINITIONS[name]
    model = make_model(BINARY, name.partition(",")[0], context=LABEL, ordering="random(seed=3)", **options)
    check(model, definition, context=np.array([3, 0, 1, 1]))


@pytest.mark.slow
def test_independent_sites_are_a_table_and_the_best_one_is_the_frequencies():
    model = make_model(BINARY, "independent")
    params, x = random_like(model.param_shapes, 1.0), random_x(BINARY, 50)
    frequency = x.mean(0)
    params["site"]["bias"][:, 0] = np.log(frequency / (1 - frequency))
    value, gradient = jax.jit(jax.value_and_grad(lambda p: model.log_prob(p, x).mean()))(params)
    expected = (x * np.log(frequency) + (1 - x) * np.log(1 - frequency)).sum(1).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    np.testing.assert_allclose(gradient["site"]["bias"], 0, atol=1e-5)
    assert not model.network.dependencies(model.factorization).any()


@pytest.mark.slow
def test_memory_of_nade_does_not_grow_with_all_its_hidden_states():
    """The gradient keeps one a per chunk: far less than one per step."""
    event, size, batch = EventSpec((256,)), 64, 32
    model = make_model(event, "nade", hidden_size=size)
    shapes = model.param_shapes
    x = jax.ShapeDtypeStruct((batch, 256), np.int32)
    gradient = jax.jit(jax.grad(lambda p, x: model.log_prob(p, x).mean())).lower(shapes, x).compile()
    of_all_steps = 4 * batch * 256 * size
    assert gradient.memory_analysis().temp_size_in_bytes < of_all_steps


def test_nade_drops_a_unit_in_all_steps_of_an_example():
    """With W = 0 and V = 1, all sites of an example have one and the same sum over the units that are kept."""
    model = make_model(BINARY, "nade", hidden_size=10, dropout=0.5)
    params = jax.tree.map(np.zeros_like, random_like(model.param_shapes, 1.0))
    params["out_kernel"] += 1
    x = random_x(BINARY, 8)
    features = jax.jit(lambda p, key: model.features(p, x, train=True, key=key))(params, jax.random.key(0))[..., 0]
    kept = np.asarray(features)[:, 0]  # of sigma(0) = 1/2, at twice the size: the number of units kept
    np.testing.assert_allclose(features, np.repeat(kept[:, None], 7, 1), rtol=1e-5)
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-4)
    assert len(set(np.round(kept))) > 1


@pytest.mark.slow
def test_a_step_of_nade_costs_no_more_on_long_sequences():
    def flops(num_sites):
        model = make_model(EventSpec((num_sites,)), "nade", hidden_size=32)
        params, x = model.param_shapes, np.zeros((4, num_sites), np.int32)

        def step(params, a, x, t):
            carry = (a, np.zeros((4, num_sites, 1), np.float32))
            return model.network.apply({"params": params}, carry, x, t, model.factorization, method="step")[1]

        return jax.jit(step).lower(params, np.zeros((4, 32), np.float32), x, 3).compile().cost_analysis()["flops"]

    assert flops(400) < 1.1 * flops(40)
